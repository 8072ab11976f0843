"""The task in Polars: lazy and streaming where its plan allows."""

from pathlib import Path
from typing import Any

import polars as pl

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


def run_polars(
    exports: str, scratch: str, memory_gib: float, threads: int, started_at: float
) -> dict[str, Any]:
    """Do the task; Polars takes the memory that it needs, and the cores of its environment."""
    steps, place, patterns = Steps(), Path(scratch), blocked()
    normalised = place / "contacts"
    normalised.mkdir()
    with steps.step("normalise"):
        for number, feed in enumerate(FEEDS):
            contacts = _contacts_of(feed, exports, patterns)
            contacts.sink_parquet(normalised / f"{number}.parquet", engine="streaming")
        orders = pl.scan_parquet(normalised / "*.parquet")
        orders = orders.filter(pl.col("touchpoint_id").str.starts_with("order:"))
        orders = orders.select("touchpoint_id", "best", "is_known")
        for number, item in enumerate(HANGING, len(FEEDS)):
            rows = _scan(exports, item.export)
            rows = rows.with_columns(order=pl.lit("order:") + pl.col("order_id"))
            rows = rows.join(orders, left_on="order", right_on="touchpoint_id").select(
                touchpoint_id=pl.lit(f"{item.prefix}:") + pl.col(item.key),
                channel=pl.lit(item.channel),
                event_name=pl.lit(item.prefix),
                occurred_at=pl.col(item.happened_at).cast(pl.Datetime("us")),
                amount_ore=pl.lit(None, pl.Int64),
                best="best",
                other=pl.lit(None, pl.UInt64),
                is_known="is_known",
                visitor=pl.lit(None, pl.UInt64),
            )
            # Not into the folder that is being read.
            rows.sink_parquet(place / f"{number}.parquet", engine="streaming")
        for number in range(len(FEEDS), len(FEEDS) + len(HANGING)):
            (place / f"{number}.parquet").rename(normalised / f"{number}.parquet")
    contacts = pl.scan_parquet(normalised / "*.parquet")
    with steps.step("bind"):
        pairs = contacts.filter(pl.col("best").is_not_null()).select(
            "best", pl.col("other").fill_null(pl.col("best")), "is_known"
        )
        records = [_pairs_of(export, exports, patterns) for export in RECORDS]
        found = pl.concat([pairs.unique(), *records]).collect(engine="streaming")
        keys, customer, is_known = components(*(found[name].to_numpy() for name in found.columns))
        customer_of = pl.DataFrame({"key": keys, "customer": customer, "is_known": is_known}).lazy()
        del found
    with steps.step("sessionise"):
        _sessions_of(contacts, customer_of).sink_parquet(
            place / "sessions.parquet", engine="streaming"
        )
    with steps.step("fold"):
        contacts.join(customer_of, left_on="best", right_on="key", how="left").select(
            "touchpoint_id", "customer", "channel", "event_name", "occurred_at", "amount_ore"
        ).sink_parquet(place / "touchpoints.parquet", engine="streaming")
        customers = _folded(place, customer_of)
        customers.write_parquet(place / "customers.parquet")
    counts = pl.scan_parquet(place / "touchpoints.parquet").select(pl.len()).collect().item()
    totals = {
        "touchpoints": counts,
        "anonymous_touchpoints": counts - customers["contacts"].sum(),
        "sessions": pl.scan_parquet(place / "sessions.parquet").select(pl.len()).collect().item(),
        "customers": len(customers),
        "orders": customers["orders"].sum(),
        "amount_ore": customers["amount_ore"].sum(),
        "contacts_squared": customers["contacts"].cast(pl.Int64).pow(2).sum(),
        "sessions_squared": customers["sessions"].cast(pl.Int64).pow(2).sum(),
        "recency_days": customers["recency_days"].sum(),
    }
    return steps.result(totals, place)


def _scan(exports: str, export: str) -> pl.LazyFrame:
    return pl.scan_parquet(f"{exports}/{export}/*.parquet")


def _normalised(name: str, pattern: str) -> pl.Expr:
    """Return the hash of an identifier, null where there is none."""
    value = pl.col(name).str.strip_chars()
    if name == "email":
        value = pl.when(value.str.contains(f"^(?:{EMAIL})$")).then(value.str.to_lowercase())
    elif name == "phone":
        value = value.str.replace_all("[ ()-]", "").str.replace("^00", "+")
        value = pl.when(value.str.starts_with("+")).then(value).otherwise(pl.lit("+45") + value)
        value = pl.when(value.str.contains(f"^(?:{E164})$")).then(value)
    usable = (value != "") & ~value.str.contains(pattern)
    # A null has a hash too.
    return pl.when(usable).then((pl.lit(f"{name}:") + value).hash())


def _contacts_of(feed: Feed, exports: str, patterns: dict[str, str]) -> pl.LazyFrame:
    rows = _scan(exports, feed.export)
    if feed.has_repeats:
        rows = rows.unique(feed.key, keep="any")
    rows = rows.with_columns(
        _normalised(name, patterns[name]).alias(f"h_{name}") for name in feed.identifiers
    )
    hashes = [pl.col(f"h_{name}") for name in feed.identifiers]
    known = [pl.col(f"h_{name}").is_not_null() for name in feed.identifiers if name in KNOWN_BY]
    time = pl.col(feed.happened_at)
    time = time.str.to_datetime("%Y-%m-%dT%H:%M:%SZ") if feed.is_text_time else time
    ore = pl.lit(None, pl.Int64)
    if feed.amount:
        amount = (pl.col(feed.amount) * 100).round().cast(pl.Int64)
        ore = pl.when(pl.col("status") != "cancelled").then(amount)
    nobody = pl.lit(None, pl.UInt64)
    return rows.select(
        touchpoint_id=pl.lit(f"{feed.prefix}:") + pl.col(feed.key),
        channel=pl.lit(feed.channel),
        event_name=pl.col(feed.event_name) if feed.event_name else pl.lit(feed.prefix),
        occurred_at=time.cast(pl.Datetime("us")),
        amount_ore=ore,
        best=pl.coalesce(hashes),
        other=pl.when(hashes[0].is_not_null()).then(hashes[1]) if len(hashes) > 1 else nobody,
        is_known=pl.any_horizontal(known),
        visitor=pl.col(f"h_{feed.visitor}") if feed.visitor else nobody,
    )


def _pairs_of(export: str, exports: str, patterns: dict[str, str]) -> pl.LazyFrame:
    best, *others = RECORDS[export]
    rows = _scan(exports, export)
    pairs = [
        rows.select(
            best=_normalised(best, patterns[best]), other=_normalised(other, patterns[other])
        )
        for other in others
    ]
    return (
        pl.concat(pairs)
        .filter(pl.col("best").is_not_null())
        .select("best", pl.col("other").fill_null(pl.col("best")), is_known=pl.lit(value=True))
    )


def _sessions_of(contacts: pl.LazyFrame, customer_of: pl.LazyFrame) -> pl.LazyFrame:
    visits = contacts.filter(pl.col("visitor").is_not_null()).select("visitor", "occurred_at")
    visits = visits.sort("visitor", "occurred_at")
    is_start = (pl.col("visitor") != pl.col("visitor").shift()) | (
        pl.col("occurred_at").diff() > pl.duration(minutes=SILENCE_MINUTES)
    )
    return (
        visits.with_columns(session=is_start.fill_null(value=True).cast(pl.UInt32).cum_sum())
        .group_by("session")
        .agg(
            visitor=pl.first("visitor"),
            started_at=pl.min("occurred_at"),
            ended_at=pl.max("occurred_at"),
            event_count=pl.len(),
        )
        .join(customer_of, left_on="visitor", right_on="key", how="left")
        .select("customer", "started_at", "ended_at", "event_count")
    )


def _folded(place: Path, customer_of: pl.LazyFrame) -> pl.DataFrame:
    sums = (
        pl.scan_parquet(place / "touchpoints.parquet")
        .group_by("customer")
        .agg(
            first_at=pl.min("occurred_at"),
            last_at=pl.max("occurred_at"),
            contacts=pl.len(),
            orders=pl.col("amount_ore").count(),
            amount_ore=pl.col("amount_ore").sum(),
            **{f"{name}_contacts": (pl.col("channel") == name).sum() for name in CHANNELS},
        )
    )
    visits = pl.scan_parquet(place / "sessions.parquet").group_by("customer")
    people = customer_of.filter("is_known").select("customer").unique()
    counts = ["contacts", "orders", "amount_ore", "sessions"]
    counts += [f"{name}_contacts" for name in CHANNELS]
    return (
        people.join(sums, on="customer", how="left")
        .join(visits.agg(sessions=pl.len()), on="customer", how="left")
        .with_columns(
            pl.col(counts).fill_null(0),
            recency_days=(
                pl.lit(LAST_DAY).str.to_date() - pl.col("last_at").dt.date()
            ).dt.total_days(),
        )
        .collect(engine="streaming")
    )
