"""A house of five customers, with what a segment may read of them."""

from pathlib import Path
from typing import Any

import duckdb

from cx_pipeline.segments.conditions import (
    BOOLEAN,
    DATE,
    LIST,
    NUMBER,
    TEXT,
    Catalogue,
    Segment,
    SegmentFile,
    checked_against,
)
from cx_pipeline.warehouse.config_files import read_config

CATALOGUE = Catalogue(
    columns={
        "country": TEXT,
        "is_club_member": BOOLEAN,
        "order_count": NUMBER,
        "order_amount": NUMBER,
        "days_since_last_order": NUMBER,
        "last_order_date": DATE,
        "channels": LIST,
    },
    channels={
        "analytics": ("web", "store"),
        "marketing": ("email", "sms"),
    },
)

TABLES = """
create schema consent; create schema journey; create schema experience;
create schema customer_360;
create table journey.as_of as select date '2026-11-20' as as_of_date;
create table customer_360.customers as
select *, case when order_count > 0 then date '2026-11-20' - days_since_last_order end
    as last_order_date, customer_id <> 'eve' as is_analytics_permitted
from (values
    ('ann', 'DK', true, 8, 900.00, 10, ['web', 'store']),
    ('bob', 'NO', false, 1, 40.00, 200, ['web']),
    ('cai', null, null, 0, 0.00, null, []),
    ('dea', 'DK', true, 3, 300.00, 100, ['store']),
    ('eve', 'SE', false, 1, 40.00, 300, ['web'])
) as c (
    customer_id, country, is_club_member, order_count, order_amount, days_since_last_order,
    channels
);
create table customer_360.customer_profiles as
select * from (values ('ann', 'ann-mail'), ('ann', 'ann-phone'), ('bob', 'bob-mail'),
    ('cai', 'cai-mail'), ('dea', 'dea-mail'), ('eve', 'eve-mail'), (null, 'nobody'))
    as p (customer_id, profile_key);
create table journey.touchpoints as
select profile_key, event_name, touchpoint_type, cast(event_date as date) as event_date,
    'web' as channel
from (values
    ('ann-mail', 'product_viewed', 'web', '2026-11-20'),
    ('ann-phone', 'product_viewed', 'web', '2026-11-19'),
    ('bob-mail', 'product_viewed', 'web', '2026-10-21'),
    ('dea-mail', 'case_opened', 'case', '2026-11-01'),
    ('nobody', 'product_viewed', 'web', '2026-11-20'),
    (null, 'product_viewed', 'web', '2026-11-20')
) as t (profile_key, event_name, touchpoint_type, event_date);
create table journey.orders (
    profile_key varchar, event_date date, channel varchar, is_returned boolean, is_refund boolean,
    is_cancelled boolean
);
create table experience.cases (profile_key varchar, event_date date, is_open boolean);
create table experience.feedback as
select profile_key, cast(event_date as date) as event_date, metric, nps_group, score
from (values
    ('ann-mail', '2026-11-20', 'rating', null, 1.5),
    ('bob-mail', '2026-11-20', 'rating', null, 5.0),
    ('dea-mail', '2026-11-20', 'nps', 'detractor', 2.0)
) as f (profile_key, event_date, metric, nps_group, score);
create table consent.purposes as from (values
    ('analytics', 'web', false), ('analytics', 'store', false),
    ('marketing', 'email', true), ('marketing', 'sms', true)
) as p (purpose, channel, requires_consent);
create view consent.known_customers as select customer_id from customer_360.customers;
create table consent.permissions as
from (values
    ('eve', 'analytics', 'web', false), ('eve', 'analytics', 'store', false),
    ('bob', 'analytics', 'store', false), ('cai', 'analytics', 'web', true),
    ('ann', 'marketing', 'email', true), ('ann', 'marketing', 'sms', false),
    ('bob', 'marketing', 'email', false), ('dea', 'marketing', 'sms', true)
) as p (customer_id, purpose, channel, is_permitted);
"""


def open_house() -> duckdb.DuckDBPyConnection:
    """Return a new house."""
    con = duckdb.connect()
    con.execute(TABLES)
    return con


def segment(condition: dict[str, Any], **other: Any) -> Segment:
    """Declare a segment as a file would."""
    declared = {
        "name": "some_segment",
        "title": "Some",
        "description": "Some.",
        "owner": "us",
        "purpose": "analytics",
        "condition": condition,
        **other,
    }
    with checked_against(CATALOGUE):
        return Segment.model_validate(declared)


def read(tmp_path: Path, text: str) -> list[Segment]:
    """Read a segment file."""
    path = tmp_path / "segments.yml"
    path.write_text(text)
    with checked_against(CATALOGUE):
        return read_config(path, SegmentFile).segments
