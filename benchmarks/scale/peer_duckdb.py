"""The hand-written script: DuckDB SQL that does only what cannot be left out."""

from pathlib import Path
from typing import Any

import duckdb

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
    TOTALS,
    Feed,
    Steps,
    blocked,
    components,
)


def run_script(
    exports: str, scratch: str, memory_gib: float, threads: int, started_at: float
) -> dict[str, Any]:
    """Do the task.

    Args:
        exports: Folder of the exports.
        scratch: Empty folder for what is written.
        memory_gib: What DuckDB may take.
        threads: Cores to use.
        started_at: When the process was started; not used.
    """
    steps, place = Steps(), Path(scratch)
    with duckdb.connect(str(place / "script.duckdb")) as connection:
        connection.execute(f"set memory_limit = '{memory_gib:.2f}GiB'")
        connection.execute("set threads = $1", [threads])
        connection.execute("set preserve_insertion_order = false")
        for name, pattern in blocked().items():
            connection.execute(f"set variable blocked_{name} = $1", [pattern])
        with steps.step("normalise"):
            _normalise(connection, exports)
        with steps.step("bind"):
            _bind(connection)
        with steps.step("sessionise"):
            _sessionise(connection)
        with steps.step("fold"):
            _fold(connection, place)
        totals = connection.execute(
            f"""
            select
                (select count(*) from contacts),
                (select count(*) from contacts) - sum(contacts),
                (select count(*) from sessions),
                count(*), sum(orders), sum(amount_ore), sum(contacts * contacts),
                sum(sessions * sessions), sum(recency_days)
            from read_parquet('{place}/customers.parquet')
            """
        ).fetchall()[0]
    (place / "script.duckdb").unlink()
    return steps.result(dict(zip(TOTALS, totals, strict=True)), place)


def _normalised(name: str) -> str:
    if name == "email":
        value = f"if(regexp_full_match(trim(email), '{EMAIL}'), lower(trim(email)), null)"
    elif name == "phone":
        digits = "regexp_replace(regexp_replace(phone, '[ ()-]', '', 'g'), '^00', '+')"
        value = f"if({digits}[1] = '+', {digits}, '+45' || {digits})"
        value = f"if(regexp_full_match({value}, '{E164}'), {value}, null)"
    else:
        value = f"nullif(trim({name}), '')"
    # Not hash(): of a million e-mail addresses 7,776 share one with another (DuckDB 1.5.5).
    usable = f"not regexp_matches({value}, getvariable('blocked_{name}'))"
    return f"if({usable}, md5_number_lower('{name}:' || {value}), null)"


def _files(exports: str, export: str) -> str:
    return f"read_parquet('{exports}/{export}/*.parquet')"


def _contacts_of(feed: Feed, exports: str) -> str:
    hashes = [f"{_normalised(name)} as h_{name}" for name in feed.identifiers]
    names = [f"h_{name}" for name in feed.identifiers]
    known = [f"h_{name} is not null" for name in feed.identifiers if name in KNOWN_BY]
    time = (
        f"strptime({feed.happened_at}, '%Y-%m-%dT%H:%M:%SZ')"
        if feed.is_text_time
        else feed.happened_at
    )
    rows = _files(exports, feed.export)
    if feed.has_repeats:
        # A window over all rows would cost more than the rest: only repeated keys are ranked.
        rows = f"""
            (
                select * from {rows}
                where hash({feed.key}) not in (from repeated)
                union all
                select distinct on ({feed.key}) * from {rows}
                where hash({feed.key}) in (from repeated)
            )
        """
    amount = (
        f"if(status = 'cancelled', null, round({feed.amount} * 100)::bigint)"
        if feed.amount
        else "null::bigint"
    )
    other = f"if({names[0]} is null, null, {names[1]})" if len(names) > 1 else "null"
    return f"""
        select
            '{feed.prefix}:' || {feed.key} as touchpoint_id,
            '{feed.channel}' as channel,
            {feed.event_name or f"'{feed.prefix}'"} as event_name,
            {time} as occurred_at,
            {amount} as amount_ore,
            coalesce({", ".join(names)}) as best,
            {other} as other,
            {" or ".join(known)} as is_known,
            {f"h_{feed.visitor}" if feed.visitor else "null"} as visitor,
        from (select *, {", ".join(hashes)} from {rows})
    """


def _normalise(connection: duckdb.DuckDBPyConnection, exports: str) -> None:
    for feed in FEEDS:
        if feed.has_repeats:
            connection.execute(
                f"create temp table repeated as select hash({feed.key}) as key_hash "
                f"from {_files(exports, feed.export)} group by 1 having count(*) > 1"
            )
    union = " union all by name ".join(f"({_contacts_of(feed, exports)})" for feed in FEEDS)
    connection.execute(f"create table contacts as {union}")
    hanging = " union all by name ".join(
        f"""
            select
                '{item.prefix}:' || {item.key} as touchpoint_id,
                '{item.channel}' as channel,
                '{item.prefix}' as event_name,
                {item.happened_at} as occurred_at,
                orders.best,
                orders.is_known,
            from {_files(exports, item.export)} as given
            inner join orders on 'order:' || given.order_id = orders.touchpoint_id
        """
        for item in HANGING
    )
    connection.execute(
        "insert into contacts by name with orders as "
        "(select touchpoint_id, best, is_known from contacts where touchpoint_id[:6] = 'order:') "
        f"{hanging}"
    )
    pairs = []
    for export, (best, *others) in RECORDS.items():
        for other in others:
            pairs.append(
                f"select {_normalised(best)} as best, {_normalised(other)} as other "
                f"from {_files(exports, export)}"
            )
    connection.execute(f"create table record_pairs as {' union all '.join(pairs)}")


def _bind(connection: duckdb.DuckDBPyConnection) -> None:
    pairs = connection.execute(
        """
        select distinct best, coalesce(other, best) as other, is_known
        from contacts where best is not null
        union
        select coalesce(best, other) as best, coalesce(other, best) as other, true as is_known
        from record_pairs where coalesce(best, other) is not null
        """
    ).fetchnumpy()
    keys, customer, is_known = components(pairs["best"], pairs["other"], pairs["is_known"])
    found = {"key": keys, "customer": customer, "is_known": is_known}
    connection.register("found", found)
    connection.execute("create table customer_of as select * from found")
    connection.unregister("found")


def _sessionise(connection: duckdb.DuckDBPyConnection) -> None:
    connection.execute(
        f"""
        create table sessions as
        with starts as (
            select
                visitor,
                occurred_at,
                coalesce(
                    occurred_at - lag(occurred_at) over (partition by visitor order by occurred_at)
                    > interval {SILENCE_MINUTES} minute,
                    true
                ) as is_start,
            from contacts where visitor is not null
        ),

        numbered as (
            select
                visitor,
                occurred_at,
                sum(is_start::int) over (
                    partition by visitor order by occurred_at range unbounded preceding
                ) as session,
            from starts
        )

        select
            visitor,
            min(occurred_at) as started_at,
            max(occurred_at) as ended_at,
            count(*) as event_count,
        from numbered group by visitor, session
        """
    )


def _fold(connection: duckdb.DuckDBPyConnection, place: Path) -> None:
    connection.execute(
        f"""
        copy (
            select touchpoint_id, customer, channel, event_name, occurred_at, amount_ore
            from contacts left join customer_of on best = key
        ) to '{place}/touchpoints.parquet'
        """
    )
    connection.execute(
        f"""
        copy (
            select customer, started_at, ended_at, event_count
            from sessions left join customer_of on visitor = key
        ) to '{place}/sessions.parquet'
        """
    )
    channels = ", ".join(f"count(*) filter (channel = '{name}') as {name}" for name in CHANNELS)
    counts = ", ".join(f"coalesce({name}, 0) as {name}_contacts" for name in CHANNELS)
    connection.execute(
        f"""
        copy (
            with people as (select distinct customer from customer_of where is_known),
            sums as (
                select
                    customer,
                    min(occurred_at) as first_at,
                    max(occurred_at) as last_at,
                    count(*) as contacts,
                    count(amount_ore) as orders,
                    sum(amount_ore) as amount_ore,
                    {channels},
                from read_parquet('{place}/touchpoints.parquet') group by customer
            ),
            visits as (
                select customer, count(*) as sessions
                from read_parquet('{place}/sessions.parquet') group by customer
            )
            select
                customer,
                first_at,
                last_at,
                date '{LAST_DAY}' - last_at::date as recency_days,
                coalesce(contacts, 0) as contacts,
                coalesce(orders, 0) as orders,
                coalesce(amount_ore, 0)::bigint as amount_ore,
                coalesce(sessions, 0) as sessions,
                {counts},
            from people
            left join sums using (customer)
            left join visits using (customer)
        ) to '{place}/customers.parquet'
        """
    )
