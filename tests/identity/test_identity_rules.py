"""config/identity_rules.yml: what it blocks and what it refuses to hold."""

from pathlib import Path

import duckdb
import pytest

from cx_pipeline.settings import PROJECT_DIR, Settings
from cx_pipeline.warehouse.config_files import ConfigError
from cx_pipeline.warehouse.identity_rules import (
    IDENTIFIER_TYPES,
    IdentityRules,
    blocked_patterns,
    read_identity_rules,
)

OWN_RULES = read_identity_rules(Settings(config_dir=PROJECT_DIR / "config"))


def is_blocked(name: str, value: str) -> bool:
    """As staging asks it."""
    pattern = blocked_patterns(OWN_RULES)[name]
    return duckdb.execute("select regexp_full_match($1, $2, 'i')", [value, pattern]).fetchall()[0][
        0
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crm_id", "0"),
        ("crm_id", "-1"),
        ("crm_id", "NULL"),
        ("loyalty_id", "n/a"),
        ("email", "noreply@shop.dk"),
        ("phone", "+4500000000"),
        ("cookie_id", "00000000-0000-0000-0000-000000000000"),
        ("device_id", "KIOSK-17"),
    ],
)
def test_values_that_name_nobody_are_blocked(name, value):
    assert is_blocked(name, value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("crm_id", "C-100"),
        ("crm_id", "10000000"),
        ("email", "anna.test@shop.dk"),
        ("email", "testa@shop.dk"),
        ("phone", "+4520304050"),
        ("device_id", "a-kiosk-less-tablet"),
    ],
)
def test_values_that_name_somebody_are_not(name, value):
    assert not is_blocked(name, value)


def test_a_value_with_a_dot_is_blocked_as_it_stands():
    rules = IdentityRules.model_validate(
        {
            "blocked": {"values": ["a.b+c"]},
            "identifiers": {name: {} for name in IDENTIFIER_TYPES},
        }
    )
    pattern = blocked_patterns(rules)["email"]
    assert duckdb.execute(
        "select regexp_full_match('A.b+C', $1, 'i'), regexp_full_match('axb+c', $1, 'i')", [pattern]
    ).fetchall() == [(True, False)]


def write_rules(folder: Path, text: str) -> Settings:
    (folder / "identity_rules.yml").write_text(text)
    return Settings(config_dir=folder)


ALL_TYPES = "".join(f"  {name}: {{links: true}}\n" for name in IDENTIFIER_TYPES)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (f"identifiers:\n{ALL_TYPES}  tax_number: {{links: true}}\n", "unknown identifier type"),
        ("identifiers:\n  crm_id: {links: true}\n", "identifiers lacks loyalty_id"),
        (f"blocked: {{patterns: ['(']}}\nidentifiers:\n{ALL_TYPES}", "line 1.*no regular expr"),
        (f"blocked: {{patterns: ['']}}\nidentifiers:\n{ALL_TYPES}", "blocks every value"),
        (f"blocked: {{values: ['']}}\nidentifiers:\n{ALL_TYPES}", "a blocked value is empty"),
        (f'blocked: {{values: ["it\'s"]}}\nidentifiers:\n{ALL_TYPES}', "as a pattern instead"),
        (f"identifiers:\n{ALL_TYPES.replace('links', 'link', 1)}", "line 2.*link"),
        (ALL_TYPES.replace("{links: true}", "{max_customers: 0}"), "line"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_with_file_and_reason(tmp_path, text, complaint):
    with pytest.raises(ConfigError, match=rf"(?s)identity_rules.yml.*{complaint}"):
        read_identity_rules(write_rules(tmp_path, text))
