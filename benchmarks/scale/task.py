"""What every peer does with the exports of a year, and must agree on.

1. normalise: identifiers as the rooms have them (trimmed, lower case, E.164, blocked values
   empty), times as UTC, money in whole øre; of a web event that came twice one row.
2. bind: identifiers on one row are one customer's, across rows; connected components.
3. sessionise: 30 minutes of silence end a visit of a browser or an app.
4. fold: one row per customer that is known by more than a browser or a phone: recency, frequency,
   monetary value, contacts by channel, visits.
Written to Parquet: touchpoints with their customer, sessions, customers.

An identifier is known by the 64-bit hash of its type and value, the hash that each engine has: no
peer computes the keyed SHA-256 that the rooms do. A parcel and a return are their order's customer.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from benchmarks.measuring import stopwatch
from cx_pipeline.settings import load_settings
from cx_pipeline.warehouse.identity_rules import blocked_patterns, read_identity_rules

SILENCE_MINUTES = 30
EMAIL = r"[^@\s]+@[^@\s]+\.[^@\s]+"
E164 = r"[+][0-9]{8,15}"
CHANNELS = ("web", "app", "email", "sms", "store", "post")
KNOWN_BY = {"crm_id", "loyalty_id", "erp_customer_number", "email", "phone"}
"""Identifiers that make a customer known; a cookie or a device alone does not."""

TOTALS = (
    "touchpoints",
    "anonymous_touchpoints",
    "sessions",
    "customers",
    "orders",
    "amount_ore",
    "contacts_squared",
    "sessions_squared",
    "recency_days",
)
"""What is compared: counts, and sums over the customers. The squares move when a single contact or
visit belongs to another customer."""


@dataclass(frozen=True)
class Feed:
    """An export of which each row is a contact."""

    export: str
    prefix: str
    key: str
    happened_at: str
    channel: str
    identifiers: tuple[str, ...]
    """At most two, the better one first."""
    event_name: str = ""
    """Column of the event's name; without one the prefix is its name."""
    is_text_time: bool = False
    amount: str = ""
    visitor: str = ""
    """Column of the browser or app, where rows are events of a visit."""
    has_repeats: bool = False


FEEDS = (
    Feed(
        "web/events",
        "web",
        "event_id",
        "occurred_at",
        "web",
        ("crm_id", "cookie_id"),
        event_name="event_name",
        is_text_time=True,
        visitor="cookie_id",
        has_repeats=True,
    ),
    Feed(
        "app/events",
        "app",
        "event_id",
        "occurred_at",
        "app",
        ("crm_id", "device_id"),
        event_name="event_name",
        is_text_time=True,
        visitor="device_id",
    ),
    Feed(
        "newsletter/events",
        "message",
        "event_id",
        "occurred_at",
        "email",
        ("email",),
        event_name="event_name",
        is_text_time=True,
    ),
    Feed(
        "sms/events",
        "message",
        "event_id",
        "occurred_at",
        "sms",
        ("crm_id", "phone"),
        event_name="event_name",
        is_text_time=True,
    ),
    Feed(
        "webshop/orders",
        "order",
        "order_id",
        "ordered_at",
        "web",
        ("email", "cookie_id"),
        amount="total_amount",
    ),
    Feed(
        "tills/receipts",
        "order",
        "order_id",
        "ordered_at",
        "store",
        ("loyalty_id", "phone"),
        amount="total_amount",
    ),
    Feed(
        "loyalty/visits", "visit", "store_visit_id", "visited_at", "store", ("loyalty_id", "phone")
    ),
    Feed("desk/tickets", "case", "case_id", "opened_at", "email", ("email",)),
    Feed("surveys/answers", "survey", "response_id", "answered_at", "email", ("crm_id",)),
)


@dataclass(frozen=True)
class Hanging:
    """An export of which each row is a contact of the customer of an order of the webshop."""

    export: str
    prefix: str
    key: str
    happened_at: str
    channel: str = "post"


HANGING = (
    Hanging("carrier/parcels", "delivery_shipped", "delivery_id", "shipped_at"),
    Hanging("carrier/parcels", "delivery_delivered", "delivery_id", "delivered_at"),
    Hanging("erp/returns", "return", "return_id", "returned_at"),
)

RECORDS = {
    "crm/contacts": ("crm_id", "email", "phone"),
    "crm/second_addresses": ("crm_id", "email"),
    "loyalty/members": ("loyalty_id", "email"),
    "erp/customers": ("crm_id", "erp_customer_number"),
}
"""Records of persons: no contacts, but they say which identifiers belong together."""


@dataclass
class Steps:
    """The seconds of each step of a peer."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        with stopwatch() as watch:
            yield
        self.seconds[name] = watch.seconds

    def result(self, totals: dict[str, int], folder: Path) -> dict[str, Any]:
        """Return what the parent process wants to know."""
        return {
            "seconds": sum(self.seconds.values()),
            "steps": self.seconds,
            "totals": {name: int(totals[name]) for name in TOTALS},
            # What they share is in each: some keep steps on the way there, the script does not.
            "disk_bytes": sum(
                path.stat().st_size
                for name in ("touchpoints", "sessions", "customers")
                for path in (*folder.glob(f"{name}.parquet"), *folder.glob(f"{name}/*.parquet"))
            ),
        }


def blocked() -> dict[str, str]:
    """Return the pattern of each type of identifier, of values that name nobody."""
    patterns = blocked_patterns(read_identity_rules(load_settings()))
    # Not every engine can be told to ignore the case beside the pattern.
    return {name: f"(?i)^(?:{pattern})$" for name, pattern in patterns.items()}


def components(
    best: np.ndarray, other: np.ndarray, is_known: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bind identifiers to customers.

    Args:
        best: Hash of an identifier.
        other: Hash of one that belongs to the same customer; the same again where there is none.
        is_known: Whether `best` makes a customer known.

    Returns:
        The identifiers, sorted; the number of each one's customer; whether that one is known.
    """
    keys, places = np.unique(np.concatenate([best, other]), return_inverse=True)
    ends = places[: len(best)], places[len(best) :]
    graph = coo_matrix((np.ones(len(best), dtype=bool), ends), shape=(len(keys), len(keys)))
    count, customer = connected_components(graph, directed=False)
    known = np.zeros(count, dtype=bool)
    known[customer[ends[0][is_known]]] = True
    return keys, customer.astype(np.int32), known[customer]
