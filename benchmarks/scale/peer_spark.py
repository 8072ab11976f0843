"""The task in Spark on one machine: all cores in one Java process."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as f

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

PARTITIONS_A_CORE = 4
"""Spark's default of 200 is for a cluster: on two cores most of the time would be empty tasks."""


def run_spark(
    exports: str, scratch: str, memory_gib: float, threads: int, started_at: float
) -> dict[str, Any]:
    """Do the task; a step ends with its result on disk, for Spark would else do it when asked.

    Args:
        exports: Folder of the exports.
        scratch: Empty folder for what is written.
        memory_gib: Heap of the Java process.
        threads: Cores to use.
        started_at: When the process was started; not used.
    """
    steps, place, patterns = Steps(), Path(scratch), blocked()
    spark = (
        SparkSession.builder.master(f"local[{threads}]")
        .config("spark.driver.memory", f"{int(memory_gib * 1024)}m")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(place / "spill"))
        .config("spark.sql.warehouse.dir", str(place / "warehouse"))
        .config("spark.sql.shuffle.partitions", str(threads * PARTITIONS_A_CORE))
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    written = {name: str(place / name) for name in ("contacts", "pairs", "sessions", "touchpoints")}
    with steps.step("normalise"):
        _normalise(spark, Path(exports), written["contacts"], patterns)
    contacts = spark.read.parquet(f"{written['contacts']}/*")
    with steps.step("bind"):
        pairs = contacts.where("best is not null").select(
            "best", f.coalesce("other", "best").alias("other"), "is_known"
        )
        for export in RECORDS:
            pairs = pairs.union(_pairs_of(spark, Path(exports), export, patterns))
        pairs.distinct().write.parquet(written["pairs"])
        found = pq.read_table(written["pairs"])
        keys, customer, is_known = components(
            *(found[name].to_numpy() for name in ("best", "other", "is_known"))
        )
        table = pa.table({"key": keys, "customer": customer, "is_known": is_known})
        pq.write_table(table, place / "customer_of.parquet")
        del found, table, keys, customer, is_known
        customer_of = spark.read.parquet(str(place / "customer_of.parquet"))
    with steps.step("sessionise"):
        sessions = _sessions_of(contacts)
        sessions.join(customer_of, sessions["visitor"] == customer_of["key"], "left").select(
            "customer", "started_at", "ended_at", "event_count"
        ).write.parquet(written["sessions"])
    with steps.step("fold"):
        contacts.join(customer_of, contacts["best"] == customer_of["key"], "left").select(
            "touchpoint_id", "customer", "channel", "event_name", "occurred_at", "amount_ore"
        ).write.parquet(written["touchpoints"])
        touchpoints = spark.read.parquet(written["touchpoints"])
        sessions = spark.read.parquet(written["sessions"])
        _folded(touchpoints, sessions, customer_of).write.parquet(str(place / "customers"))
    customers = spark.read.parquet(str(place / "customers"))
    totals = (
        customers.agg(
            f.count("*").alias("customers"),
            f.sum("contacts").alias("contacts"),
            f.sum("orders").alias("orders"),
            f.sum("amount_ore").alias("amount_ore"),
            f.sum(f.col("contacts") * f.col("contacts")).alias("contacts_squared"),
            f.sum(f.col("sessions") * f.col("sessions")).alias("sessions_squared"),
            f.sum("recency_days").alias("recency_days"),
        )
        .collect()[0]
        .asDict()
    )
    counted = touchpoints.count()
    totals |= {
        "touchpoints": counted,
        "anonymous_touchpoints": counted - totals["contacts"],
        "sessions": sessions.count(),
    }
    spark.stop()
    return steps.result(totals, place)


def _read(spark: SparkSession, exports: Path, export: str) -> DataFrame:
    return spark.read.parquet(str(exports / export))


def _normalised(name: str, pattern: str) -> Column:
    """Return the hash of an identifier, null where there is none."""
    value = f.trim(name)
    if name == "email":
        value = f.when(value.rlike(f"^(?:{EMAIL})$"), f.lower(value))
    elif name == "phone":
        value = f.regexp_replace(f.regexp_replace(value, "[ ()-]", ""), "^00", "+")
        value = f.when(value.startswith("+"), value).otherwise(f.concat(f.lit("+45"), value))
        value = f.when(value.rlike(f"^(?:{E164})$"), value)
    usable = (value != "") & ~value.rlike(pattern)
    # A null has a hash too.
    return f.when(usable, f.xxhash64(f.concat(f.lit(f"{name}:"), value)))


def _normalise(spark: SparkSession, exports: Path, target: str, patterns: dict[str, str]) -> None:
    for number, feed in enumerate(FEEDS):
        rows = _contacts_of(_read(spark, exports, feed.export), feed, patterns)
        rows.write.parquet(f"{target}/{number}")
    orders = spark.read.parquet(
        *(f"{target}/{number}" for number, feed in enumerate(FEEDS) if feed.prefix == "order")
    ).select(f.col("touchpoint_id").alias("order"), "best", "is_known")
    for number, item in enumerate(HANGING, len(FEEDS)):
        rows = _read(spark, exports, item.export)
        rows = rows.withColumn("order", f.concat(f.lit("order:"), "order_id"))
        rows.join(orders, "order").select(
            f.concat(f.lit(f"{item.prefix}:"), item.key).alias("touchpoint_id"),
            f.lit(item.channel).alias("channel"),
            f.lit(item.prefix).alias("event_name"),
            f.col(item.happened_at).cast("timestamp").alias("occurred_at"),
            f.lit(None).cast("long").alias("amount_ore"),
            "best",
            f.lit(None).cast("long").alias("other"),
            "is_known",
            f.lit(None).cast("long").alias("visitor"),
        ).write.parquet(f"{target}/{number}")


def _contacts_of(rows: DataFrame, feed: Feed, patterns: dict[str, str]) -> DataFrame:
    if feed.has_repeats:
        rows = rows.dropDuplicates([feed.key])
    for name in feed.identifiers:
        rows = rows.withColumn(f"h_{name}", _normalised(name, patterns[name]))
    hashes = [f.col(f"h_{name}") for name in feed.identifiers]
    is_known = f.lit(False)
    for name, value in zip(feed.identifiers, hashes, strict=True):
        if name in KNOWN_BY:
            is_known |= value.isNotNull()
    nobody = f.lit(None).cast("long")
    ore = nobody
    if feed.amount:
        amount = f.round(f.col(feed.amount) * 100).cast("long")
        ore = f.when(f.col("status") != "cancelled", amount)
    time = f.col(feed.happened_at)
    if feed.is_text_time:
        time = f.to_timestamp(time, "yyyy-MM-dd'T'HH:mm:ssX")
    return rows.select(
        f.concat(f.lit(f"{feed.prefix}:"), feed.key).alias("touchpoint_id"),
        f.lit(feed.channel).alias("channel"),
        (f.col(feed.event_name) if feed.event_name else f.lit(feed.prefix)).alias("event_name"),
        time.cast("timestamp").alias("occurred_at"),
        ore.alias("amount_ore"),
        f.coalesce(*hashes).alias("best"),
        (f.when(hashes[0].isNotNull(), hashes[1]) if len(hashes) > 1 else nobody).alias("other"),
        is_known.alias("is_known"),
        (f.col(f"h_{feed.visitor}") if feed.visitor else nobody).alias("visitor"),
    )


def _pairs_of(
    spark: SparkSession, exports: Path, export: str, patterns: dict[str, str]
) -> DataFrame:
    best, *others = RECORDS[export]
    rows = _read(spark, exports, export)
    pairs = None
    for other in others:
        these = rows.select(
            _normalised(best, patterns[best]).alias("best"),
            _normalised(other, patterns[other]).alias("other"),
        )
        pairs = these if pairs is None else pairs.union(these)
    return pairs.where("best is not null").select(
        "best", f.coalesce("other", "best").alias("other"), f.lit(True).alias("is_known")
    )


def _sessions_of(contacts: DataFrame) -> DataFrame:
    by_time = Window.partitionBy("visitor").orderBy("occurred_at")
    visits = contacts.where("visitor is not null").select("visitor", "occurred_at")
    silence = f.col("occurred_at") - f.lag("occurred_at").over(by_time)
    is_start = silence > f.expr(f"interval {SILENCE_MINUTES} minute")
    visits = visits.withColumn("is_start", f.coalesce(is_start, f.lit(True)).cast("int"))
    up_to_now = by_time.rangeBetween(Window.unboundedPreceding, Window.currentRow)
    visits = visits.withColumn("session", f.sum("is_start").over(up_to_now))
    return visits.groupBy("visitor", "session").agg(
        f.min("occurred_at").alias("started_at"),
        f.max("occurred_at").alias("ended_at"),
        f.count("*").alias("event_count"),
    )


def _folded(touchpoints: DataFrame, sessions: DataFrame, customer_of: DataFrame) -> DataFrame:
    sums = touchpoints.groupBy("customer").agg(
        f.min("occurred_at").alias("first_at"),
        f.max("occurred_at").alias("last_at"),
        f.count("*").alias("contacts"),
        f.count("amount_ore").alias("orders"),
        f.sum("amount_ore").alias("amount_ore"),
        *(f.count_if(f.col("channel") == name).alias(f"{name}_contacts") for name in CHANNELS),
    )
    visits = sessions.groupBy("customer").agg(f.count("*").alias("sessions"))
    people = customer_of.where("is_known").select("customer").distinct()
    counts = ["contacts", "orders", "amount_ore", "sessions"]
    counts += [f"{name}_contacts" for name in CHANNELS]
    return (
        people.join(sums, "customer", "left")
        .join(visits, "customer", "left")
        .fillna(0, counts)
        .withColumn("recency_days", f.datediff(f.lit(LAST_DAY), "last_at"))
    )
