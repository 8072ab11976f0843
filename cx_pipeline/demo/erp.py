"""The ERP: one SQLite file, Copenhagen time without a zone, `updated_at` on every row.

Its rows change (an order is shipped, delivered, returned), so the file is written anew each
time, aside, and then put in place.
Keeps out: tills and the CRM, which have their own systems.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

import adbc_driver_sqlite.dbapi
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cx_pipeline.demo.catalogue import (
    CARRIERS,
    CATEGORIES,
    LEASED_DEVICES,
    STORES,
    SUBSCRIPTION_FEE,
)
from cx_pipeline.demo.formatting import (
    DAY_SECONDS,
    dates,
    decimals,
    digits,
    join_text,
    look_up,
    timestamps,
)
from cx_pipeline.demo.identifiers import Identifiers
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import PHONE, STORE, Purchases
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.world import HOME_ZONE, NEVER, World, to_local

CURRENCIES = tuple(country.currency for country in COUNTRIES)
ORDER_PREFIX = "SO"
RETURN_REASONS = ("FIT", "DEFECT", "REGRET", "WRONG")
_PAYMENT_CODES = ("KORT", "MOBIL", "FAKT", "GAVE")
_VOUCHERS = ("WEB10", "CLUB10")
"""Codes of a tenth off: everybody's, and the club members'."""
_TEXT_IN_AMOUNT = 0.0006
"""Share of payments whose amount somebody overwrote with a remark."""

_SCHEMA = {
    "customers": "customer_no text, name text, address text, zip text, city text, country text, "
    "email text, phone text, crm_ref text, created text, blocked integer, updated_at text",
    "orders": "order_no text, customer_no text, contact_email text, order_date text, "
    "sales_channel text, status integer, currency text, amount_incl_vat numeric, "
    "vat_amount numeric, freight numeric, discount numeric, voucher_code text, "
    "promised_date text, pickup_store text, updated_at text",
    "order_lines": "line_id text, order_no text, line_no integer, item_no text, qty numeric, "
    "unit_price numeric, discount numeric, line_amount numeric, updated_at text",
    "payments": "payment_no text, order_no text, pay_date text, method text, amount numeric, "
    "currency text, updated_at text",
    "deliveries": "delivery_no text, order_no text, carrier text, shipped text, promised text, "
    "delivered text, state text, updated_at text",
    "returns": "return_no text, order_no text, line_id text, item_no text, qty numeric, "
    "return_date text, refund numeric, currency text, reason_code text, updated_at text",
    "contracts": "contract_no text, customer_no text, type text, item_no text, serial_no text, "
    "start_date text, end_date text, cancel_date text, monthly_fee numeric, currency text, "
    "state text, updated_at text",
    "devices": "serial_no text, contract_no text, customer_no text, item_no text, "
    "registered text, updated_at text",
    "products": "item_no text, description text, item_group text, brand text, pack_qty integer, "
    "consumable text, price numeric, currency text, updated_at text",
    "stores": "store_no text, name text, country text, city text, time_zone text, opened text, "
    "updated_at text",
}


class ErpFile:
    """The SQLite file while it is being written."""

    def __init__(self, path: Path) -> None:
        """Begin a new file beside `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._aside = path.with_suffix(".part")
        self._aside.unlink(missing_ok=True)
        with sqlite3.connect(self._aside) as connection:
            for table, columns in _SCHEMA.items():
                connection.execute(f"create table {table} ({columns})")
        connection.close()
        self.row_count = 0

    def add(self, tables: Iterable[tuple[str, pa.Table]]) -> None:
        """Append rows to tables."""
        with adbc_driver_sqlite.dbapi.connect(str(self._aside)) as connection:
            with connection.cursor() as cursor:
                for table, rows in tables:
                    self.row_count += rows.num_rows
                    if rows.num_rows:
                        cursor.adbc_ingest(table, rows, mode="append")
            connection.commit()

    def finish(self) -> None:
        """Put the file in place."""
        self._aside.replace(self._path)


def _local(seconds: Integers) -> pa.Array:
    """Return Copenhagen time as text, empty where nothing has happened."""
    known = seconds < NEVER
    text = timestamps(to_local(np.where(known, seconds, 0), HOME_ZONE))
    return pc.if_else(pa.array(known), text, pa.scalar(None, pa.utf8()))


def _amounts(cents: Integers) -> pa.Array:
    return pa.array(cents / 100.0)


def _texts(values: Iterable[str]) -> pa.Array:
    return pa.array(list(values), pa.utf8())


def catalogue_tables(world: World) -> list[tuple[str, pa.Table]]:
    """Return goods and stores."""
    products = world.products
    stamp = pa.array([f"{world.start} 04:00:00"] * (products.count + len(LEASED_DEVICES)))
    goods = pa.table(
        {
            "item_no": [*products.number, *[device.product_number for device in LEASED_DEVICES]],
            "description": [*products.name, *[device.name for device in LEASED_DEVICES]],
            "item_group": [
                *[CATEGORIES[category] for category in products.category],
                *["leased devices" for _ in LEASED_DEVICES],
            ],
            "brand": [*products.brand, *["Kilden" for _ in LEASED_DEVICES]],
            "pack_qty": [*products.pack_size.tolist(), *[1 for _ in LEASED_DEVICES]],
            "consumable": [
                *["J" if days else "N" for days in products.pack_days],
                *["N" for _ in LEASED_DEVICES],
            ],
            "price": [*products.list_price.tolist(), *[4_995 for _ in LEASED_DEVICES]],
            "currency": ["DKK"] * len(stamp),
            "updated_at": stamp,
        }
    )
    stores = pa.table(
        {
            "store_no": [store.number for store in STORES],
            "name": [f"Store {store.city}" for store in STORES],
            "country": [store.country for store in STORES],
            "city": [store.city for store in STORES],
            "time_zone": [
                next(c.time_zone for c in COUNTRIES if c.code == store.country) for store in STORES
            ],
            "opened": [store.opened for store in STORES],
            "updated_at": [f"{world.start} 04:00:00"] * len(STORES),
        }
    )
    return [("products", goods), ("stores", stores)]


def customer_table(world: World, people: People, identifiers: Identifiers) -> pa.Table:
    """Return the customers' records: the first of everyone, then the second of some guests."""
    dice = world.dice
    parts = []
    for number, email, made_at in (
        (identifiers.erp_number, identifiers.erp_email, identifiers.erp_at),
        (identifiers.second_erp_number, identifiers.guest_email, identifiers.second_erp_at),
    ):
        rows = np.flatnonzero(made_at < world.now)
        at = made_at[rows]
        second = number is identifiers.second_erp_number
        index = people.index[rows]
        linked = people.in_crm[rows] & dice.chance("crm reference", 0.55, index) & (not second)
        phone = people.has_phone[rows] & dice.chance("erp phone", 0.9, index, [int(second)])
        picked = rows.tolist()
        parts.append(
            pa.table(
                {
                    "customer_no": number.take(pa.array(rows)),
                    "name": _texts(f"{people.given[r]} {people.family[r]}" for r in picked),
                    "address": _texts(people.street[r] for r in picked),
                    "zip": _texts(people.postal_code[r] for r in picked),
                    "city": _texts(people.town[r] for r in picked),
                    "country": look_up([c.code for c in COUNTRIES], people.country[rows]),
                    "email": email.take(pa.array(rows)),
                    "phone": look_up(people.phone_e164, np.where(phone, rows, -1)),
                    "crm_ref": look_up(identifiers.crm_id, np.where(linked, rows, -1)),
                    "created": timestamps(to_local(at, HOME_ZONE), "%d.%m.%Y", with_seconds=False),
                    "blocked": np.zeros(len(rows), dtype=np.int64),
                    "updated_at": _local(at),
                }
            )
        )
    return pa.concat_tables(parts)


def chunk_tables(
    world: World, people: People, purchases: Purchases, identifiers: Identifiers
) -> tuple[list[tuple[str, pa.Table]], list[dict[str, str]]]:
    """Return the rows of one chunk of customers, and the defects planted in them."""
    dice, orders, lines = world.dice, purchases.orders, purchases.lines
    in_erp = orders["channel"] != STORE
    rows = np.flatnonzero(in_erp)
    key = orders["key"][rows]
    person = orders["row"][rows]
    order_no = digits(orders["number"], 11, ORDER_PREFIX)
    placed = orders["placed_at"][rows]
    shipped, delivered = orders["shipped_at"][rows], orders["delivered_at"][rows]
    cancelled = orders["cancelled"][rows]
    returned = np.full(len(orders["key"]), NEVER)
    np.minimum.at(returned, lines["order"], lines["returned_at"])
    came_back = returned[rows]
    currency = look_up(CURRENCIES, orders["country"][rows])
    cancelled_at = np.where(cancelled, placed + 5_400, NEVER)
    stages = ((0, 10), (1, 30), (2, 40), (3, 80), (4, 90))
    moments = (placed, shipped, delivered, came_back, cancelled_at)
    status = np.full(len(rows), stages[0][1])
    updated = placed.copy()
    for (_, code), moment in zip(stages[1:], moments[1:], strict=True):
        reached = moment < world.now
        status = np.where(reached, code, status)
        updated = np.where(reached, np.maximum(updated, moment), updated)

    size = people.size
    numbers = pa.concat_arrays([identifiers.erp_number, identifiers.second_erp_number])
    customer_no = look_up(numbers, person + np.where(identifiers.is_guest_order[rows], size, 0))
    collects = orders["collects"][rows]
    promised = orders["promised_day"][rows] * DAY_SECONDS
    order_table = pa.table(
        {
            "order_no": order_no.take(pa.array(rows)),
            "customer_no": customer_no,
            "contact_email": identifiers.order_email(orders).take(pa.array(rows)),
            "order_date": _local(placed),
            "sales_channel": look_up(
                ["WEB", "TEL"], (orders["channel"][rows] == PHONE).astype(int)
            ),
            "status": status,
            "currency": currency,
            "amount_incl_vat": _amounts(orders["total"][rows]),
            "vat_amount": _amounts(orders["vat"][rows]),
            "freight": _amounts(orders["freight"][rows]),
            "discount": _amounts(orders["discount"][rows]),
            "voucher_code": look_up(
                _VOUCHERS,
                np.where(orders["discount"][rows] > 0, people.is_member[person].astype(int), -1),
            ),
            "promised_date": dates(promised),
            "pickup_store": look_up(
                [store.number for store in STORES], np.where(collects, orders["store"][rows], -1)
            ),
            "updated_at": _local(updated),
        }
    )

    mine = np.flatnonzero(in_erp[lines["order"]])
    order = lines["order"][mine]
    line_id = join_text(
        order_no.take(pa.array(order)), "-", pa.array(lines["number"][mine]).cast(pa.utf8())
    )
    item = look_up(world.products.number, lines["product"][mine])
    line_table = pa.table(
        {
            "line_id": line_id,
            "order_no": order_no.take(pa.array(order)),
            "line_no": lines["number"][mine],
            "item_no": item,
            "qty": lines["quantity"][mine],
            "unit_price": _amounts(lines["price"][mine]),
            "discount": _amounts(lines["discount"][mine]),
            "line_amount": _amounts(lines["amount"][mine]),
            "updated_at": _local(orders["placed_at"][order]),
        }
    )

    back = np.flatnonzero(lines["returned_at"][mine] < world.now)
    back_order = order[back]
    back_at = lines["returned_at"][mine][back]
    refund = lines["amount"][mine][back]
    back_currency = look_up(CURRENCIES, orders["country"][back_order])
    return_table = pa.table(
        {
            "return_no": join_text("RT", line_id.take(pa.array(back))),
            "order_no": order_no.take(pa.array(back_order)),
            "line_id": line_id.take(pa.array(back)),
            "item_no": item.take(pa.array(back)),
            "qty": lines["quantity"][mine][back],
            "return_date": _local(back_at),
            "refund": _amounts(refund),
            "currency": back_currency,
            "reason_code": look_up(RETURN_REASONS, lines["return_reason"][mine][back]),
            "updated_at": _local(back_at),
        }
    )

    paid = np.flatnonzero(~cancelled)
    invoiced = dice.chance("invoice customer", 0.12, people.index[person[paid]])
    method = dice.pick("pays with", (0.66, 0.30, 0.0, 0.04), key[paid])
    method = np.where(invoiced, 2, method)
    pay_at = np.where(invoiced, placed[paid] + 9 * DAY_SECONDS, placed[paid] + 60)
    spoilt = dice.chance("remark in amount", _TEXT_IN_AMOUNT, key[paid])
    paid_at = np.full(len(orders["key"]), NEVER)
    paid_at[rows[paid[~spoilt]]] = pay_at[~spoilt]
    done = pay_at < world.now
    spoilt = spoilt[done]
    paid, method, pay_at = paid[done], method[done], pay_at[done]
    amount = pc.utf8_trim(decimals(orders["total"][rows][paid]), " ")
    amount = pc.if_else(pa.array(spoilt), pa.scalar("se bilag"), amount)
    payment_no = join_text("P", order_table["order_no"].combine_chunks().take(pa.array(paid)))
    payment_table = pa.table(
        {
            "payment_no": payment_no,
            "order_no": order_table["order_no"].take(pa.array(paid)),
            "pay_date": _local(pay_at),
            "method": look_up(_PAYMENT_CODES, method),
            "amount": amount,
            "currency": currency.take(pa.array(paid)),
            "updated_at": _local(pay_at),
        }
    )
    # Only a payment that the books hold can be paid back.
    refund_at = np.maximum(back_at, paid_at[back_order]) + DAY_SECONDS
    where = np.flatnonzero(refund_at < world.now)
    refund_table = pa.table(
        {
            "payment_no": join_text("R", line_id.take(pa.array(back[where]))),
            "order_no": order_no.take(pa.array(back_order[where])),
            "pay_date": _local(refund_at[where]),
            "method": look_up(_PAYMENT_CODES, np.zeros(len(where), dtype=np.int64)),
            "amount": decimals(-refund[where]),
            "currency": back_currency.take(pa.array(where)),
            "updated_at": _local(refund_at[where]),
        }
    )

    sent = np.flatnonzero(shipped < world.now)
    arrived = delivered[sent] < world.now
    carriers = [name for country in COUNTRIES for name, _ in CARRIERS[country.code]]
    carrier = look_up(carriers, orders["country"][rows][sent] * 2 + orders["carrier"][rows][sent])
    carrier = pc.if_else(pa.array(collects[sent]), pa.scalar("COLLECT"), carrier)
    state = np.where(arrived, np.where(collects[sent], 2, 1), 0)
    delivery_table = pa.table(
        {
            "delivery_no": join_text(
                "D", order_table["order_no"].combine_chunks().take(pa.array(sent))
            ),
            "order_no": order_table["order_no"].take(pa.array(sent)),
            "carrier": carrier,
            "shipped": _local(shipped[sent]),
            "promised": dates(promised[sent]),
            "delivered": _local(np.where(arrived, delivered[sent], NEVER)),
            "state": look_up(["SHIPPED", "DELIVERED", "COLLECTED"], state),
            "updated_at": _local(np.where(arrived, delivered[sent], shipped[sent])),
        }
    )
    contract_table, device_table = _leases(world, people, purchases, identifiers)
    defects = [
        {
            "source": "erp",
            "table": "payments",
            "file": "erp.sqlite",
            "kind": "text in a number",
            "record": record,
            "detail": "amount holds 'se bilag'",
        }
        for record in payment_no.filter(pa.array(spoilt)).to_pylist()
    ]
    tables = [
        ("customers", customer_table(world, people, identifiers)),
        ("orders", order_table),
        ("order_lines", line_table),
        ("payments", payment_table),
        ("payments", refund_table),
        ("deliveries", delivery_table),
        ("returns", return_table),
        ("contracts", contract_table),
        ("devices", device_table),
    ]
    return tables, defects


def serial_numbers(purchases: Purchases) -> pa.Array:
    """Return the serial number of each leased device."""
    return digits(purchases.leases.number, 7, "WP-2")


def _leases(
    world: World, people: People, purchases: Purchases, identifiers: Identifiers
) -> tuple[pa.Table, pa.Table]:
    """Return contracts (leases and care subscriptions) and the devices under them."""
    dice, leases = world.dice, purchases.leases
    begun = np.flatnonzero(leases.started_at < world.now)
    serial = serial_numbers(purchases).take(pa.array(begun))
    lease_no = digits(leases.number[begun], 7, "L")
    started, cancelled = leases.started_at[begun], leases.cancelled_at[begun]
    ended = cancelled < world.now
    person = leases.person[begun]
    price = np.array([c.price_factor for c in COUNTRIES])
    fees = np.array([device.monthly_fee for device in LEASED_DEVICES])
    fee = np.round(fees[leases.device[begun]] * price[people.country[person]] * 100)
    item = look_up([d.product_number for d in LEASED_DEVICES], leases.device[begun])
    customer_no = identifiers.erp_number.take(pa.array(person))
    currency = look_up(CURRENCIES, people.country[person])

    def contract(
        number: pa.Array,
        customer: pa.Array,
        kind: str,
        product: pa.Array,
        device: pa.Array,
        start: Integers,
        cancel: Integers,
        monthly: Integers,
        money: pa.Array,
    ) -> pa.Table:
        over = cancel < world.now
        nothing = pa.scalar(None, pa.utf8())
        # Agreed for a year, and on from year to year until it is cancelled.
        years = 1 + (np.minimum(cancel, world.now) - start) // (365 * DAY_SECONDS)
        return pa.table(
            {
                "contract_no": number,
                "customer_no": customer,
                "type": pa.array([kind] * len(start), pa.utf8()),
                "item_no": product,
                "serial_no": device,
                "start_date": dates(start),
                "end_date": dates(start + years * 365 * DAY_SECONDS),
                "cancel_date": pc.if_else(
                    pa.array(over), dates(np.where(over, cancel, start)), nothing
                ),
                "monthly_fee": _amounts(monthly),
                "currency": money,
                "state": look_up(["ACTIVE", "CANCELLED"], over.astype(int)),
                "updated_at": _local(
                    np.where(over, cancel, start + (years - 1) * 365 * DAY_SECONDS)
                ),
            }
        )

    subscribes = dice.chance("care subscription", 0.06, people.index)
    subscribes &= identifiers.erp_at < world.now
    rows = np.flatnonzero(subscribes)
    index = people.index[rows]
    since = np.minimum(identifiers.erp_at[rows], NEVER // 2) + 20 * DAY_SECONDS
    stops = dice.chance("care stops", 0.25, index)
    care_cancelled = np.where(
        stops, since + ((60 + 600 * dice.uniform("care kept", index)) * DAY_SECONDS).astype(int),
        NEVER,
    )  # fmt: skip
    live = since < world.now
    rows, since, care_cancelled = rows[live], since[live], care_cancelled[live]
    care_fee = np.round(SUBSCRIPTION_FEE * price[people.country[rows]] * 100)
    empty = pa.array([None] * len(rows), pa.utf8())
    contracts = pa.concat_tables(
        [
            contract(
                lease_no, customer_no, "LEASE", item, serial, started, cancelled, fee, currency
            ),
            contract(
                digits(people.number[rows], 7, "S"),
                identifiers.erp_number.take(pa.array(rows)),
                "SUBSCRIPTION",
                empty,
                empty,
                since,
                care_cancelled,
                care_fee,
                look_up(CURRENCIES, people.country[rows]),
            ),
        ]
    )
    devices = pa.table(
        {
            "serial_no": serial,
            "contract_no": lease_no,
            "customer_no": customer_no,
            "item_no": item,
            "registered": _local(started + 3 * DAY_SECONDS),
            "updated_at": _local(np.where(ended, cancelled, started + 3 * DAY_SECONDS)),
        }
    )
    keep = pa.array(started + 3 * DAY_SECONDS < world.now)
    return contracts, devices.filter(keep)
