"""The customer 360, experience and identity rooms, on chosen rows and on the demo company."""

import shutil

import duckdb

from tests.conftest import run_dbt


def test_the_unit_tests_of_these_rooms_hold(demo_company, tmp_path):
    rooms = (f"{room},test_type:unit" for room in ("identity", "experience", "customer_360"))
    results = run_dbt(demo_company.data_dir, "test", "--select", *rooms, artifacts=tmp_path)
    assert {result.status for result in results} == {"pass"}
    assert len(results) >= 9


def test_customers_that_are_refreshed_alone_say_what_to_refresh_with_them(demo_company, tmp_path):
    shutil.copy(demo_company.data_dir / "warehouse.duckdb", tmp_path)
    touched = "customer_360.int_customer_360__touched_profiles"
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        connection.execute(
            f"delete from {touched} where customer_id = (select min(customer_id) from {touched})"
        )
    run = ("run", "--full-refresh", "--select", "customers_as_built")
    (result,) = run_dbt(tmp_path, *run, check=False)
    assert result.status == "error"
    assert "refresh both together" in result.message


def test_a_customer_has_at_least_60_columns_and_none_names_or_reaches_the_person(demo_company):
    columns = {
        name
        for (name,) in demo_company.query(
            "select column_name from information_schema.columns "
            "where table_schema = 'customer_360' and table_name = 'customers'"
        )
    }
    assert len(columns) >= 60
    assert not columns & {"email", "phone", "first_name", "last_name", "street", "birth_date"}


def test_what_was_watched_is_not_told_of_those_who_object_to_analytics(demo_company, tmp_path):
    # In so small a company hardly anybody objects; one customer in 400 does.
    shutil.copy(demo_company.data_dir / "warehouse.duckdb", tmp_path)
    compiled = demo_company.data_dir / "target/compiled/cx_pipeline/models/customer_360"
    customers = (compiled / "customers_as_built.sql").read_text()
    watched = "touchpoint_count_90d, session_count_90d, email_open_count_90d"
    with duckdb.connect(str(tmp_path / "warehouse.duckdb")) as connection:
        ((objector, orders),) = connection.execute(
            "select customer_id, order_count from customer_360.customers "
            "where touchpoint_count_90d > 0 and order_count > 0 order by customer_id limit 1"
        ).fetchall()
        connection.execute(
            "insert into consent.permissions "
            "select $1, purpose, channel, 'withdrawn', 'objected: withdrawn', false "
            "from consent.purposes where purpose = 'analytics'",
            [objector],
        )
        connection.execute(f"create temp table customers as {customers}")
        of_objector = connection.execute(
            f"select is_analytics_permitted, order_count, {watched} from temp.customers "
            "where customer_id = $1",
            [objector],
        ).fetchall()
        wrong = connection.execute(
            "select customer_id from temp.customers "
            f"where is_analytics_permitted is distinct from (coalesce({watched}) is not null)"
        ).fetchall()
    assert of_objector == [(False, orders, None, None, None)]
    assert wrong == []


def test_nobody_is_reachable_without_permission_and_an_address(demo_company):
    wrong = demo_company.query(
        "select customer_id from customer_360.customers where "
        "is_reachable_by_email and not (is_marketing_email_permitted and has_email) "
        "or is_reachable_by_sms and not (is_marketing_sms_permitted and has_phone) "
        "or is_reachable_by_post and not (is_marketing_post_permitted and has_postal_address)"
    )
    assert wrong == []
    ((reachable,),) = demo_company.query(
        "select count(*) from customer_360.customers where is_reachable_for_marketing"
    )
    assert reachable > 50


def test_whoever_is_reachable_by_email_has_a_permitted_address_of_their_own(demo_company):
    """Told from the published state: a word of the own address, else of the customer."""
    wrong = demo_company.ask_warehouse(
        "select customers.customer_id from customer_360.customers as customers "
        "where customers.is_reachable_by_email and not exists ("
        "select 1 from identity.customer_xref as own "
        "inner join consent.consent_state as state on state.customer_id = own.customer_id "
        "and coalesce(state.contact_point_key, own.profile_key) = own.profile_key "
        "where own.is_current and own.customer_id = customers.customer_id "
        "and own.identifier_type = 'email' and state.purpose = 'marketing' "
        "and state.channel = 'email' and state.is_permitted)"
    )
    assert wrong == []


def test_a_letter_reaches_whoever_permits_it_and_has_a_postal_address(demo_company):
    """Told from the contact records and the statements of consent."""
    reachable = demo_company.query(
        "select customer_id from customer_360.customers where is_reachable_by_post order by 1"
    )
    assert reachable == demo_company.ask_warehouse(
        "select distinct xref.customer_id from staging.stg_contacts as contacts "
        "inner join identity.customer_xref as xref using (profile_key) "
        "inner join consent.permissions as permissions using (customer_id) "
        "where xref.is_current and contacts.street <> '' "
        "and (contacts.postal_code <> '' or contacts.city <> '') "
        "and permissions.purpose = 'marketing' and permissions.channel = 'post' "
        "and permissions.is_permitted order by 1"
    )
    by_post_alone = demo_company.query(
        "select is_reachable_for_marketing from customer_360.customers where is_reachable_by_post "
        "and not (is_reachable_by_email or is_reachable_by_sms or is_reachable_by_push "
        "or is_reachable_by_phone)"
    )
    assert set(by_post_alone) == {(True,)}
