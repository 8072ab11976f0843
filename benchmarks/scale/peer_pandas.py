"""The task in pandas."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.scale.company import LAST_DAY
from benchmarks.scale.task import (
    CHANNELS,
    E164,
    EMAIL,
    FEEDS,
    HANGING,
    KNOWN_BY,
    RECORDS,
    SILENCE_MINUTES,
    Feed,
    Steps,
    blocked,
    components,
)

NOBODY = np.uint64(0)
"""Instead of a missing hash: a column of numbers with gaps would become one of floats."""


def run_pandas(
    exports: str, scratch: str, memory_gib: float, threads: int, started_at: float
) -> dict[str, Any]:
    """Do the task; pandas takes the memory that it needs, and one core but for reading."""
    steps, place, patterns = Steps(), Path(scratch), blocked()
    with steps.step("normalise"):
        frames = [_contacts_of(feed, Path(exports), patterns) for feed in FEEDS]
        orders = pd.concat(
            [
                frame[["touchpoint_id", "best", "is_known"]]
                for feed, frame in zip(FEEDS, frames, strict=True)
                if feed.prefix == "order"
            ]
        )
        for item in HANGING:
            rows = _read(Path(exports), item.export, [item.key, "order_id", item.happened_at])
            rows["touchpoint_id"] = "order:" + rows["order_id"]
            rows = rows.merge(orders, on="touchpoint_id")
            rows["touchpoint_id"] = f"{item.prefix}:" + rows[item.key]
            rows = rows.rename(columns={item.happened_at: "occurred_at"})
            rows = rows.assign(channel=item.channel, event_name=item.prefix)
            rows = rows.assign(other=NOBODY, visitor=NOBODY)
            frames.append(rows.drop(columns=[item.key, "order_id"]))
        contacts = pd.concat(frames, ignore_index=True)
        del frames, orders
        for name in ("channel", "event_name"):
            contacts[name] = contacts[name].astype("category")
        records = [_pairs_of(export, Path(exports), patterns) for export in RECORDS]
    with steps.step("bind"):
        pairs = contacts.loc[contacts["best"] != NOBODY, ["best", "other", "is_known"]]
        pairs = pd.concat([pairs.drop_duplicates(), *records]).drop_duplicates()
        best = pairs["best"].to_numpy()
        other = np.where(pairs["other"] == NOBODY, best, pairs["other"].to_numpy())
        keys, customer, is_known = components(best, other, pairs["is_known"].to_numpy())
        del pairs, records
    with steps.step("sessionise"):
        visits = contacts.loc[contacts["visitor"] != NOBODY, ["visitor", "occurred_at"]]
        visits = visits.sort_values(["visitor", "occurred_at"], ignore_index=True)
        silence = visits["occurred_at"].diff() > pd.Timedelta(minutes=SILENCE_MINUTES)
        is_start = silence | (visits["visitor"] != visits["visitor"].shift())
        grouped = visits.groupby(is_start.cumsum(), sort=False)
        sessions = grouped.agg(
            visitor=("visitor", "first"),
            started_at=("occurred_at", "first"),
            ended_at=("occurred_at", "last"),
            event_count=("occurred_at", "size"),
        )
        del visits, silence, is_start, grouped
    with steps.step("fold"):
        contacts["customer"] = _customer_of(contacts["best"], keys, customer)
        sessions["customer"] = _customer_of(sessions["visitor"], keys, customer)
        kept = ["touchpoint_id", "customer", "channel", "event_name", "occurred_at", "amount_ore"]
        contacts[kept].to_parquet(place / "touchpoints.parquet", index=False)
        sessions.drop(columns="visitor").to_parquet(place / "sessions.parquet", index=False)
        customers = _folded(contacts, sessions, np.unique(customer[is_known]))
        customers.to_parquet(place / "customers.parquet")
    totals = {
        "touchpoints": len(contacts),
        "anonymous_touchpoints": len(contacts) - customers["contacts"].sum(),
        "sessions": len(sessions),
        "customers": len(customers),
        "orders": customers["orders"].sum(),
        "amount_ore": customers["amount_ore"].sum(),
        "contacts_squared": (customers["contacts"] ** 2).sum(),
        "sessions_squared": (customers["sessions"] ** 2).sum(),
        "recency_days": customers["recency_days"].sum(),
    }
    return steps.result(totals, place)


def _read(exports: Path, export: str, columns: list[str]) -> pd.DataFrame:
    return pd.read_parquet(exports / export, columns=columns)


def _normalised(values: pd.Series, name: str, pattern: str) -> pd.Series:
    """Return the hash of an identifier, NOBODY where there is none."""
    values = values.str.strip()
    if name == "email":
        values = values.where(values.str.fullmatch(EMAIL)).str.lower()
    elif name == "phone":
        values = values.str.replace("[ ()-]", "", regex=True).str.replace("^00", "+", regex=True)
        values = values.where(values.str.startswith("+", na=True), "+45" + values)
        values = values.where(values.str.fullmatch(E164))
    # Without the anchors: fullmatch has them, and Arrow does not take a pattern that has both.
    usable = values.notna() & (values != "") & ~values.str.match(pattern, na=False)
    hashes = pd.util.hash_pandas_object(f"{name}:" + values, index=False)
    return hashes.where(usable, NOBODY)


def _contacts_of(feed: Feed, exports: Path, patterns: dict[str, str]) -> pd.DataFrame:
    columns = [feed.key, feed.happened_at, *feed.identifiers]
    columns += [feed.event_name] if feed.event_name else []
    columns += [feed.amount, "status"] if feed.amount else []
    rows = _read(exports, feed.export, columns)
    if feed.has_repeats:
        rows = rows.drop_duplicates(feed.key)
    hashes = [_normalised(rows[name], name, patterns[name]) for name in feed.identifiers]
    best, other = hashes[0], NOBODY
    is_known = pd.Series(False, index=rows.index)
    for name, value in zip(feed.identifiers, hashes, strict=True):
        if name in KNOWN_BY:
            is_known |= value != NOBODY
    if len(hashes) > 1:
        other = hashes[1].where(best != NOBODY, NOBODY)
        best = best.where(best != NOBODY, hashes[1])
    made = pd.DataFrame({"touchpoint_id": f"{feed.prefix}:" + rows[feed.key]})
    made["channel"] = feed.channel
    made["event_name"] = rows[feed.event_name] if feed.event_name else feed.prefix
    time = rows[feed.happened_at]
    if feed.is_text_time:
        time = pd.to_datetime(time, format="%Y-%m-%dT%H:%M:%SZ")
    made["occurred_at"] = time.astype("datetime64[us]")
    made = made.assign(best=best, other=other, is_known=is_known, visitor=NOBODY)
    if feed.visitor:
        made["visitor"] = hashes[feed.identifiers.index(feed.visitor)]
    if feed.amount:
        ore = (rows[feed.amount] * 100).round().astype("Int64")
        made["amount_ore"] = ore.where(rows["status"] != "cancelled")
    return made


def _pairs_of(export: str, exports: Path, patterns: dict[str, str]) -> pd.DataFrame:
    names = RECORDS[export]
    rows = _read(exports, export, list(names))
    best, *others = (_normalised(rows[name], name, patterns[name]) for name in names)
    pairs = [pd.DataFrame({"best": best, "other": other}) for other in others]
    made = pd.concat(pairs, ignore_index=True).assign(is_known=True)
    return made[made["best"] != NOBODY]


def _customer_of(hashes: pd.Series, keys: np.ndarray, customer: np.ndarray) -> np.ndarray:
    """Return the customer of each hash, -1 of NOBODY."""
    places = np.searchsorted(keys, hashes.to_numpy()).clip(max=len(keys) - 1)
    return np.where(hashes == NOBODY, -1, customer[places])


def _folded(contacts: pd.DataFrame, sessions: pd.DataFrame, known: np.ndarray) -> pd.DataFrame:
    contacts = contacts[["customer", "occurred_at", "amount_ore", "channel"]]
    customers = contacts.groupby("customer").agg(
        first_at=("occurred_at", "min"),
        last_at=("occurred_at", "max"),
        contacts=("occurred_at", "size"),
        orders=("amount_ore", "count"),
        amount_ore=("amount_ore", "sum"),
    )
    by_channel = contacts.groupby(["customer", "channel"], observed=True).size().unstack()
    by_channel = by_channel.reindex(columns=list(CHANNELS)).add_suffix("_contacts")
    customers = customers.join(by_channel)
    customers["sessions"] = sessions.groupby("customer").size()
    customers = customers.reindex(pd.Index(known, name="customer"))
    counts = ["contacts", "orders", "amount_ore", "sessions", *by_channel.columns]
    customers[counts] = customers[counts].fillna(0).astype("int64")
    last_day = pd.Timestamp(LAST_DAY)
    customers["recency_days"] = (last_day - customers["last_at"].dt.normalize()).dt.days
    return customers
