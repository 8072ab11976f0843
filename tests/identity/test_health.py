"""The figures behind identity's asset checks."""

from cx_pipeline.identity.health import Health, measure_health
from cx_pipeline.warehouse.identity_rules import IdentityRules
from tests.identity.records import Record, Warehouse, usual_rules


def health_of(records: list[Record], rules: IdentityRules) -> Health:
    warehouse = Warehouse(rules)
    with warehouse.connection:
        warehouse.land(records)
        warehouse.update()
        return measure_health(warehouse.connection, rules)


def test_plausible_identifiers_raise_no_concern():
    rules = usual_rules()
    people = [
        Record(1, {"crm_id": f"p{n}", "email": f"p{n}@home", "cookie_id": f"c{n}"})
        for n in range(10)
    ]
    health = health_of([*people, Record(1, {"cookie_id": "x"})], rules)
    assert (health.customers, health.known_customers) == (11, 10)
    assert (health.missing_keys, health.current_rows) == (0, 31)
    assert health.values_per_customer == {"crm_id": 1, "email": 1, "cookie_id": 1}
    assert not health.concerns


def test_a_type_that_does_not_tell_people_apart_raises_a_concern():
    rules = usual_rules()
    cookies = [Record(1, {"crm_id": "ann", "cookie_id": f"c{n}"}) for n in range(12)]
    (concern,) = health_of(cookies, rules).concerns
    assert concern.startswith("a customer with any cookie_id has 12.0 of them on average")


def test_many_customers_at_a_limit_raise_a_concern():
    rules = usual_rules(email={"max_per_customer": 2})
    records = [
        Record(1, {"crm_id": f"p{n}", "email": f"e{n}-{m}"}) for n in range(10) for m in range(2)
    ]
    health = health_of(records, rules)
    assert health.share_at_limit["email"] == 1
    assert "100% of the customers with any email" in health.concerns[0]


def test_a_key_without_a_customer_is_counted():
    warehouse = Warehouse(usual_rules())
    with warehouse.connection:
        warehouse.land([Record(1, {"crm_id": "ann", "email": "ann@home"})])
        warehouse.update()
        warehouse.connection.execute(
            "delete from identity.customer_xref where profile_key = 'email:ann@home'"
        )
        health = measure_health(warehouse.connection, usual_rules())
    assert (health.missing_keys, health.current_rows) == (1, 1)
