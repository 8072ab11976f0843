"""The tills: one Parquet file per store and day and one of the year before, in the store's time.

A receipt knows its cashier and, when the card was scanned, the club number; nobody logs in.
Keeps out: orders of the webshop, also those collected in a store.
"""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cx_pipeline.demo.catalogue import STAFF_PER_STORE, STORES
from cx_pipeline.demo.erp import CURRENCIES
from cx_pipeline.demo.formatting import DAY_SECONDS, digits, look_up, timestamp_column
from cx_pipeline.demo.identifiers import Identifiers
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import STORE, Purchases, is_known_at_till
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.world import World, by_country, to_local

TENDERS = ("CARD", "CASH", "GIFTCARD", "WALLET")
_ZERO_TYPED = 0.004
"""Share of receipts without a card where the cashier typed 0 as the club number."""


def receipt_numbers(purchases: Purchases, orders: Integers) -> pa.Array:
    """Return the receipt number of each store order."""
    return digits(purchases.orders["number"][orders], 11, "R")


def export_tills(
    world: World, people: People, purchases: Purchases, identifiers: Identifiers
) -> tuple[Integers, Integers, pa.Table, list[dict[str, str]]]:
    """Return file number (day and store), order in the file, rows, and the planted defects.

    Day -1 stands for all days before the first.
    """
    dice, orders, lines = world.dice, purchases.orders, purchases.lines
    sold = np.flatnonzero(orders["channel"][lines["order"]] == STORE)
    returned = sold[lines["returned_at"][sold] < world.now]
    line = np.concatenate([sold, returned])
    is_return = np.arange(len(line)) >= len(sold)
    order = lines["order"][line]
    sign = np.where(is_return, -1, 1)
    at = np.where(is_return, lines["returned_at"][line], orders["placed_at"][order])
    local = by_country(to_local, at, orders["country"][order])
    store = orders["store"][order]
    key = orders["key"][order]

    known = is_known_at_till(world, people, orders)[order]
    zero = ~known & dice.chance("zero typed", _ZERO_TYPED, key)
    club = pa.concat_arrays([identifiers.loyalty, pa.array(["0"])])
    who = np.where(known, orders["row"][order], np.where(zero, people.size, -1))
    employee = np.where(
        is_return,
        store * STAFF_PER_STORE + dice.below("return cashier", STAFF_PER_STORE, key),
        orders["employee"][order],
    )
    amount = lines["amount"][line] * sign
    vat_rate = np.array([c.vat for c in COUNTRIES])[orders["country"][order]]
    number = receipt_numbers(purchases, order)
    suffix = np.where(is_return, lines["number"][line], 0)
    transaction = pc.if_else(
        pa.array(is_return),
        pc.binary_join_element_wise(number, digits(suffix, 1, "X"), ""),
        number,
    )
    table = pa.table(
        {
            "store_no": look_up([place.number for place in STORES], store),
            "till_no": pa.array((1 + key % 3).astype(np.int16)),
            "transaction_no": transaction,
            "transaction_type": look_up(["SALE", "RETURN"], is_return.astype(int)),
            "original_transaction_no": pc.if_else(
                pa.array(is_return), number, pa.scalar(None, pa.utf8())
            ),
            "line_no": pa.array(lines["number"][line].astype(np.int16)),
            "sold_at": timestamp_column(local),
            "item_no": look_up(world.products.number, lines["product"][line]),
            "qty": pa.array((lines["quantity"][line] * sign).astype(np.int32)),
            "unit_price": pa.array(lines["price"][line] / 100),
            "discount": pa.array(lines["discount"][line] * sign / 100),
            "line_amount": pa.array(amount / 100),
            "vat_amount": pa.array(np.round(amount * vat_rate / (1 + vat_rate)) / 100),
            "currency": look_up(CURRENCIES, orders["country"][order]),
            "tender": look_up(TENDERS, dice.pick("tender", (0.7, 0.12, 0.05, 0.13), key)),
            "cashier_no": look_up(world.staff.number, employee),
            "club_no": look_up(club, who),
        }
    )
    day = local // DAY_SECONDS - world.begins // DAY_SECONDS
    # A return on the last evening's clock may fall on the day after.
    keep = np.flatnonzero(day < world.days)
    day = np.maximum(day, -1)
    defects = [
        {
            "source": "tills",
            "table": "lines",
            "file": "",
            "kind": "empty id",
            "record": record,
            "detail": "club_no is 0",
        }
        for record in sorted(set(number.filter(pa.array(zero)).to_pylist()))
    ]
    return (
        day[keep] * len(STORES) + store[keep],
        (local * 8 + lines["number"][line])[keep],
        table.take(pa.array(keep)),
        defects,
    )


def file_name(world: World, number: int, days: Sequence[str]) -> str:
    """Return folder and name of the file of a store and day."""
    day, store = divmod(number, len(STORES))
    name = days[day] if day >= 0 else "historik"
    return f"{STORES[store].number}/{STORES[store].number}_{name}.parquet"
