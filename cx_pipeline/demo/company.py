"""Exports in which no customer is named: ads, weather, staff; and the devices' telemetry.

The platforms claim what they caused and a share of what would have happened anyway; their
claims overlap. They count more clicks than the shop has visits: some leave before a page is there.
Keeps out: what the ads truly caused (that is the truth folder's).
"""

import csv
import io
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from cx_pipeline.demo.catalogue import (
    CAMPAIGNS,
    COUNTRY_POSITION,
    ORDER_VALUE,
    SERVICE_STAFF,
    STAFF_PER_STORE,
    STORES,
)
from cx_pipeline.demo.erp import serial_numbers
from cx_pipeline.demo.formatting import digits, look_up, timestamp_column
from cx_pipeline.demo.names import COUNTRIES, FAMILY, FEMALE, MALE
from cx_pipeline.demo.purchases import PHONE, STORE, Columns, Purchases, take
from cx_pipeline.demo.randomness import Floats, Integers
from cx_pipeline.demo.world import World

META_HEADER = (
    "account_id,account_name,account_currency,campaign_id,campaign_name,date_start,date_stop,"
    "impressions,inline_link_clicks,spend,purchases,purchase_value,attribution_setting\n"
)
GOOGLE_HEADER = (
    "customer.id,customer.descriptive_name,customer.currency_code,customer.time_zone,campaign.id,"
    "campaign.name,segments.date,metrics.impressions,metrics.clicks,metrics.cost_micros,"
    "metrics.conversions,metrics.conversions_value\n"
)
AMAZON_HEADER = (
    "date,profileId,campaignId,campaignName,campaignBudgetCurrencyCode,impressions,clicks,cost,"
    "purchases30d,sales30d\n"
)
_KRONER_PER_EURO = 7.46
_KRONER_PER_POUND = 8.70
_SIGNALS = ("reading", "usage", "low_supply", "error")
_METRICS = ("filter_remaining", "runtime", "filter_remaining", "error_code")
_UNITS = ("percent", "hours", "percent", "code")


class AdLedger:
    """Counts, over all chunks, what campaigns truly brought and what was ordered anyway."""

    def __init__(self, world: World) -> None:
        self._world = world
        shape = (world.days,)
        self.visits = np.zeros((len(CAMPAIGNS), *shape))
        self.caused = np.zeros((len(CAMPAIGNS), *shape))
        self.caused_value = np.zeros((len(CAMPAIGNS), *shape))
        self.other = np.zeros((len(COUNTRIES), *shape))

    def add(self, orders: Columns, visits: Integers) -> None:
        """Count one chunk's orders, and its visits by campaign and day."""
        self.visits += visits
        orders = take(orders, orders["placed_at"] >= self._world.begins)
        placed = (orders["channel"] != STORE) & (orders["channel"] != PHONE)
        day = self._world.day_of(orders["placed_at"])
        factor = np.array([country.price_factor for country in COUNTRIES])
        kroner = orders["total"] / 100 / factor[orders["country"]]
        caused = orders["campaign"] >= 0
        campaign = orders["campaign"][caused]
        np.add.at(self.caused, (campaign, day[caused]), 1)
        np.add.at(self.caused_value, (campaign, day[caused]), kroner[caused])
        other = placed & ~caused
        np.add.at(self.other, (orders["country"][other], day[other]), 1)


def ad_rows(world: World, ledger: AdLedger) -> tuple[dict[str, dict[int, list[str]]], list[dict]]:
    """Return the lines of each platform by month, and the truth of each campaign and day."""
    dice = world.dice
    lines: dict[str, dict[int, list[str]]] = {"meta": {}, "google": {}, "amazon": {}}
    truth = []
    for number, campaign in enumerate(CAMPAIGNS):
        days = np.arange(world.days)
        spend = world.spend[number][: world.days]
        anyway = sum(ledger.other[COUNTRY_POSITION[code]] for code in campaign.countries)
        overlap: Floats = anyway * campaign.overlap * (spend > 0)
        claimed = ledger.caused[number] + np.floor(overlap + dice.uniform("claim", [number], days))
        value = ledger.caused_value[number] + (claimed - ledger.caused[number]) * ORDER_VALUE
        per_thousand = 150 + 80 * dice.uniform("price", [number], days)
        rate = 1.1 + 0.3 * dice.uniform("clicks per visit", [number], days)
        part = dice.uniform("last click", [number], days)
        clicks = np.floor(ledger.visits[number] * rate + part).astype(np.int64)
        impressions = np.maximum((spend / per_thousand * 1_000).astype(np.int64), clicks)
        for day in range(world.days):
            when = world.start + timedelta(days=day)
            if spend[day] <= 0:
                continue
            month = when.year * 12 + when.month - 1
            line = _platform_line(
                campaign.platform, number, when, int(impressions[day]), int(clicks[day]),
                float(spend[day]), float(claimed[day]), float(value[day]),
            )  # fmt: skip
            lines[campaign.platform].setdefault(month, []).append(line)
            truth.append(
                {
                    "platform": campaign.platform,
                    "campaign_id": campaign.campaign_id,
                    "date": when,
                    "spend_dkk": round(float(spend[day]), 2),
                    "caused_orders": int(ledger.caused[number, day]),
                    "caused_value_dkk": round(float(ledger.caused_value[number, day]), 2),
                    "claimed_orders": float(claimed[day]),
                }
            )
    return lines, truth


def _platform_line(
    platform: str,
    number: int,
    when: date,
    impressions: int,
    clicks: int,
    spend: float,
    claimed: float,
    value: float,
) -> str:
    campaign = CAMPAIGNS[number]
    if platform == "meta":
        return (
            f'act_4400110022,Demo Retail Nordic,DKK,{campaign.campaign_id},"{campaign.name}",'
            f"{when},{when},{impressions},{clicks},{spend:.2f},{claimed:.0f},{value:.2f},"
            "7d_click_1d_view\n"
        )
    if platform == "google":
        return (
            f"771-220-3344,Demo Retail Search,EUR,Europe/Copenhagen,{campaign.campaign_id},"
            f'"{campaign.name}",{when},{impressions},{clicks},'
            f"{spend / _KRONER_PER_EURO * 1e6:.0f},{claimed:.1f},{value / _KRONER_PER_EURO:.2f}\n"
        )
    return (
        f"{when:%Y%m%d},80011{number},{campaign.campaign_id},{campaign.name},GBP,{impressions},"
        f"{clicks},{spend / _KRONER_PER_POUND:.2f},{claimed:.0f},{value / _KRONER_PER_POUND:.2f}\n"
    )


def write_ads(world: World, folder: Path, ledger: AdLedger) -> tuple[list[dict], list[dict], int]:
    """Write one file per platform and month; return truth, planted defects and row count."""
    lines, truth = ad_rows(world, ledger)
    defects, rows = [], 0
    for platform, header in (
        ("meta", META_HEADER),
        ("google", GOOGLE_HEADER),
        ("amazon", AMAZON_HEADER),
    ):
        (folder / platform).mkdir(parents=True, exist_ok=True)
        for month, body in lines[platform].items():
            name = f"{platform}_{month // 12}-{month % 12 + 1:02d}.csv"
            body = sorted(body, key=_date_in(platform))
            tomorrow = world.until + timedelta(days=1)
            is_over = tomorrow.year * 12 + tomorrow.month - 1 > month
            if platform == "google" and is_over:
                # A finished month's report ends with its totals, which are no campaign's.
                body.append("Total,,,,,,,,,,,\n")
                defects.append(
                    {
                        "source": "ads",
                        "table": "google",
                        "file": name,
                        "kind": "totals row",
                        "record": "Total",
                        "detail": "no campaign and no date",
                    }
                )
            rows += len(body)
            (folder / platform / name).write_text(header + "".join(body), encoding="utf-8")
    return truth, defects, rows


def _date_in(platform: str) -> Callable[[str], str]:
    place = {"meta": 5, "google": 6, "amazon": 0}[platform]

    def key(line: str) -> str:
        return next(csv.reader(io.StringIO(line)))[place]

    return key


def write_weather(world: World, folder: Path) -> tuple[list[dict], int]:
    """Write one CSV per month with a row per store city and day; weather moves nothing."""
    dice = world.dice
    folder.mkdir(parents=True, exist_ok=True)
    months: dict[str, list[str]] = {}
    days = np.arange(world.days)
    defects = []
    for place, store in enumerate(STORES):
        cold = dice.normal("temperature", [place], days)
        wet = dice.uniform("rain", [place], days)
        warm = 1.5 if store.country in ("DE", "GB") else 0.0
        broken = dice.chance("sensor", 0.002, [place], days)
        for day in range(world.days):
            when = world.start + timedelta(days=day)
            season = -np.cos((when.timetuple().tm_yday - 20) / 365.25 * 2 * np.pi)
            mean = 8.5 + warm + 8.5 * season + 3 * cold[day]
            rain = 0.0 if wet[day] < 0.52 else -6 * np.log(1 - (wet[day] - 0.52) / 0.48 * 0.99)
            shown = f"{mean:.1f}"
            if broken[day]:
                shown = "n/a"
                defects.append(
                    {
                        "source": "weather",
                        "table": "days",
                        "file": f"weather_{when:%Y-%m}.csv",
                        "kind": "missing reading",
                        "record": f"{store.city} {when}",
                        "detail": "t_mean is n/a",
                    }
                )
            months.setdefault(f"{when:%Y-%m}", []).append(
                f"{when},{store.city},{store.country},{shown},{rain:.1f}\n"
            )
    for month, rows in months.items():
        text = "obs_date,station,country,t_mean,precip_mm\n" + "".join(sorted(rows))
        (folder / f"weather_{month}.csv").write_text(text, encoding="utf-8")
    return defects, sum(len(rows) for rows in months.values())


def write_staff(world: World, folder: Path) -> int:
    """Write the workforce system's list of employees."""
    staff, dice = world.staff, world.dice
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["employee_no,full_name,department,job_title,home_store,hire_date,end_date\n"]
    positions = np.arange(staff.count)
    given = dice.below("staff given", 20, positions)
    is_female = dice.chance("staff gender", 0.6, positions)
    family = dice.below("staff family", 40, positions)
    hired = dice.below("hired", 3_000, positions)
    stays = dice.uniform("stays", positions)
    # Of the warehouse, whose people serve nobody, some have left before the world begins.
    leaves = dice.chance("has left", 0.25, positions)
    leaves &= positions >= staff.first_service + SERVICE_STAFF
    for position in positions.tolist():
        store = int(staff.store[position])
        code = STORES[store].country if store >= 0 else "DK"
        names = FEMALE if is_female[position] else MALE
        name = f"{names[code].split()[given[position]]} {FAMILY[code].split()[family[position]]}"
        is_service = staff.first_service <= position < staff.first_service + SERVICE_STAFF
        department = "Retail" if store >= 0 else ("Customer Service" if is_service else "Logistics")
        title = "Store manager" if store >= 0 and position % STAFF_PER_STORE == 0 else "Assistant"
        days = 60 + int(hired[position])
        when = world.start - timedelta(days=days)
        if store >= 0:
            when = max(when, date.fromisoformat(STORES[store].opened))
        left = ""
        if leaves[position]:
            left = f"{when + timedelta(days=int(days * stays[position])):%d/%m/%Y}"
        lines.append(
            f"{staff.number[position]},{name},{department},{title},"
            f"{STORES[store].number if store >= 0 else ''},{when:%d/%m/%Y},{left}\n"
        )
    (folder / "employees.csv").write_text("".join(lines), encoding="utf-8")
    return len(lines) - 1


def export_signals(
    world: World, purchases: Purchases, signals: Columns
) -> tuple[Integers, Integers, pa.Table, list[dict[str, str]]]:
    """Return day, moment and rows of the devices' signals, and the planted defects."""
    key, kind = signals["key"], signals["kind"]
    number = digits(world.dice.scramble("signal", key, 43), 13, "sig-")
    # A device that lost its line sends a reading again, with another value.
    again = (kind == 0) & world.dice.chance("sent again", 0.0004, key)
    position = np.concatenate([np.arange(len(key)), np.flatnonzero(again)])
    is_again = np.arange(len(position)) >= len(key)
    value = signals["value"][position] + np.where(is_again, 0.5, 0.0)
    at = signals["at"][position]
    kind = kind[position]
    table = pa.table(
        {
            "signal_id": number.take(pa.array(position)),
            "serial": serial_numbers(purchases).take(pa.array(signals["lease"][position])),
            "reported_at": timestamp_column(at),
            "signal": look_up(_SIGNALS, kind),
            "metric": look_up(_METRICS, kind),
            "value": pa.array(value),
            "unit": look_up(_UNITS, kind),
        }
    )
    defects = [
        {
            "source": "devices",
            "table": "telemetry",
            "file": "",
            "kind": "duplicate key",
            "record": record,
            "detail": "the same signal with another value",
        }
        for record in number.filter(pa.array(again)).to_pylist()
    ]
    return world.day_of(at), at * 2 + is_again, table, defects
