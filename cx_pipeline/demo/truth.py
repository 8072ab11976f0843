"""The truth folder: who is who, what drives what, when packs run out, what ads caused.

Writes:    people, identifiers (every identifier with its person), orders (whose, what was felt,
           which campaign caused it), packs (opened, running out), consent (state by purpose and
           channel), ads (caused and claimed by campaign and day), defects: one Parquet file each;
           drivers.json (effect sizes); the simulator adds world.json (seed, days, row counts)
Keeps out: itself out of every room; only tests and evaluations read it
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cx_pipeline.demo import catalogue, opinions
from cx_pipeline.demo.catalogue import CAMPAIGNS, CARRIERS, STORES, queue_minutes
from cx_pipeline.demo.consents import Consents, final_states
from cx_pipeline.demo.desk import reference_numbers
from cx_pipeline.demo.formatting import digits, look_up, timestamp_column
from cx_pipeline.demo.identifiers import VISITOR, Identifiers
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import Columns, Purchases
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.world import World


def person_ids(index: Integers) -> pa.Array:
    """Return the truth's names of persons; visitors who stay unknown have their own."""
    visitor = index >= VISITOR
    return pc.if_else(
        pa.array(visitor),
        digits(np.where(visitor, index - VISITOR, 0), 8, "visitor-"),
        digits(np.where(visitor, 0, index), 8, "person-"),
    )


class Truth:
    """Collects the truth chunk by chunk."""

    def __init__(self, world: World, folder: Path) -> None:
        self._world = world
        self._folder = folder
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._defects: list[dict[str, str]] = []
        self._ads: list[dict[str, Any]] = []

    def _add(self, name: str, table: pa.Table) -> None:
        if name not in self._writers:
            self._writers[name] = pq.ParquetWriter(
                self._folder / f"{name}.parquet", table.schema, compression="zstd"
            )
        self._writers[name].write_table(table)

    def add_defects(self, defects: list[dict[str, str]]) -> None:
        """Record planted defects."""
        self._defects += defects

    def add_ads(self, rows: list[dict[str, Any]]) -> None:
        """Record what each campaign truly caused, by day."""
        self._ads += rows

    def add_people(self, people: People, purchases: Purchases, identifiers: Identifiers) -> None:
        """Record persons, households and every number and address of theirs."""
        world = self._world
        persons = person_ids(people.index)
        self._add(
            "people",
            pa.table(
                {
                    "person_id": persons,
                    "household_id": digits(people.household, 8, "household-"),
                    "country": look_up([c.code for c in COUNTRIES], people.country),
                    "joined_at": timestamp_column(people.joined_at),
                    "is_member": pa.array(people.is_member),
                    "has_account": pa.array(people.has_account),
                    "trait": pa.array(people.trait),
                    "shares_tablet": pa.array(people.shares_tablet),
                    "name_changed": pa.array(people.name_changed_at < world.now),
                }
            ),
        )
        known = people.in_crm & (people.joined_at < world.now)
        in_erp = identifiers.erp_at < world.now
        guest = identifiers.second_erp_at < world.now
        second = identifiers.second_crm_at < world.now
        renamed = known & (people.name_changed_at < world.now)
        erp_mail = [
            ("email", identifiers.erp_email, in_erp, "erp"),
            ("email", identifiers.guest_email, guest, "erp"),
        ]
        parts = []
        for kind, column, rows, system in (
            ("crm_id", identifiers.crm_id, known, "crm"),
            ("crm_id", identifiers.second_crm_id, second, "crm"),
            ("loyalty_id", identifiers.loyalty, known & people.is_member, "crm"),
            ("erp_customer_number", identifiers.erp_number, in_erp, "erp"),
            ("erp_customer_number", identifiers.second_erp_number, guest, "erp"),
            ("email", people.emails[0], known, "crm"),
            ("email", people.emails[1], second, "crm"),
            ("email", people.emails[3], renamed, "crm"),
            *erp_mail,
            ("phone", people.phone_e164, (known | in_erp) & people.has_phone, "crm"),
        ):
            chosen = pa.array(np.flatnonzero(rows))
            parts.append(
                pa.table(
                    {
                        "person_id": persons.take(chosen),
                        "identifier_type": pa.array([kind] * len(chosen), pa.utf8()),
                        "identifier_value": column.take(chosen),
                        "source": pa.array([system] * len(chosen), pa.utf8()),
                    }
                )
            )
        self._add("identifiers", pa.concat_tables(parts))

    def add_cookies(self, cookies: pa.Table) -> None:
        """Record which cookies and app installations a person used."""
        persons = person_ids(cookies["person"].to_numpy())
        for kind in ("cookie_id", "device_id"):
            values = cookies[kind].combine_chunks()
            has = pc.is_valid(values)
            chosen = persons.filter(has)
            table = pa.table(
                {
                    "person_id": chosen,
                    "identifier_type": pa.array([kind] * len(chosen), pa.utf8()),
                    "identifier_value": values.filter(has),
                    "source": pa.array(["webshop"] * len(chosen), pa.utf8()),
                }
            )
            table = table.group_by(table.column_names).aggregate([])
            self._add("identifiers", table.sort_by([(n, "ascending") for n in table.column_names]))

    def add_purchases(self, people: People, purchases: Purchases) -> None:
        """Record whose each order is and what was felt, and every pack's life."""
        orders, packs = purchases.orders, purchases.packs
        campaigns = pa.array([campaign.campaign_id for campaign in CAMPAIGNS])
        self._add(
            "orders",
            pa.table(
                {
                    "order_reference": reference_numbers(purchases),
                    "person_id": person_ids(orders["person"]),
                    "placed_at": timestamp_column(orders["placed_at"]),
                    "is_late": pa.array(orders["is_late"]),
                    "queue_minutes": pa.array(orders["queue"]),
                    "employee_id": look_up(self._world.staff.number, orders["employee"]),
                    "satisfaction": pa.array(orders["felt"]),
                    "caused_by_campaign": look_up(campaigns, orders["campaign"]),
                }
            ),
        )
        self._add(
            "packs",
            pa.table(
                {
                    "person_id": person_ids(people.index[packs["row"]]),
                    "product_id": look_up(self._world.products.number, packs["product"]),
                    "opened_at": timestamp_column(packs["opened_at"]),
                    "runs_out_at": timestamp_column(packs["run_out_at"]),
                    "buys_next_here": pa.array(packs["buys_next_here"]),
                }
            ),
        )

    def add_consents(self, people: People, consents: Consents) -> None:
        """Record the true state of each person, purpose and channel."""
        states: Columns = final_states(self._world, consents, people)
        self._add(
            "consent",
            pa.table(
                {
                    "person_id": person_ids(states["person"]),
                    "purpose": pa.array(states["purpose"].tolist(), pa.utf8()),
                    "channel": pa.array(states["channel"].tolist(), pa.utf8()),
                    "status": pa.array(states["status"].tolist(), pa.utf8()),
                    "since": timestamp_column(states["since"]),
                }
            ),
        )

    def _drivers(self) -> dict[str, Any]:
        world = self._world
        weekday, hour = np.divmod(np.arange(7 * 10), 10)
        queues = {
            store.number: queue_minutes(
                np.full(70, place), weekday, hour + 9.5
            ).reshape(7, 10).round(2).tolist()
            for place, store in enumerate(STORES)
        }  # fmt: skip
        return {
            "latent_effects": {
                "late_delivery": catalogue.LATE_EFFECT,
                "per_day_late": catalogue.DAYS_LATE_EFFECT,
                "queue_per_minute": catalogue.QUEUE_EFFECT_PER_MINUTE,
                "product_quality_per_standard_deviation": catalogue.QUALITY_EFFECT,
                "weather": catalogue.WEATHER_EFFECT,
            },
            "answer_scales": {
                "csat": {"middle": opinions.CSAT_MIDDLE, "slope": opinions.CSAT_SLOPE},
                "nps": {"middle": opinions.NPS_MIDDLE, "slope": opinions.NPS_SLOPE},
                "ces": {"middle": opinions.CES_MIDDLE, "slope": opinions.CES_SLOPE},
            },
            "churn_after_late_delivery": catalogue.CHURN_AFTER_LATE,
            "slower_next_gap_per_unhappy_point": catalogue.SLOWER_PER_UNHAPPY_POINT,
            "late_probability": {
                "base": catalogue.BASE_LATE_PROBABILITY,
                "peak": catalogue.PEAK_LATE_PROBABILITY,
                "carriers": {code: dict(entries) for code, entries in CARRIERS.items()},
            },
            "employee_effect": dict(
                zip(world.staff.number, world.staff.effect.round(4).tolist(), strict=True)
            ),
            "product_quality": dict(
                zip(world.products.number, world.products.quality.round(4).tolist(), strict=True)
            ),
            "queue_minutes_by_weekday_and_hour_from_9": queues,
            "blocked_identifiers": [f"KIOSK-{store.number}-1" for store in STORES],
        }

    def finish(self) -> int:
        """Write everything and return how many defects were planted."""
        for writer in self._writers.values():
            writer.close()
        if self._ads:
            pq.write_table(pa.Table.from_pylist(self._ads), self._folder / "ads.parquet")
        names = ("source", "table", "file", "kind", "record", "detail")
        defects = {name: pa.array([d[name] for d in self._defects], pa.utf8()) for name in names}
        pq.write_table(pa.table(defects), self._folder / "defects.parquet")
        text = json.dumps(self._drivers(), indent=2, ensure_ascii=False)
        (self._folder / "drivers.json").write_text(text + "\n", encoding="utf-8")
        return len(self._defects)
