"""What config/identity_rules.yml says: which identifiers link people's records, and how far.

Reads:     config/identity_rules.yml
Gives:     the rules to the identity room, and the blocked values to staging (a dbt var), which
           empties them before anything is hashed
Keeps out: how the rules are applied (cx_pipeline/identity)
"""

import re

import duckdb
from pydantic import Field, field_validator, model_validator

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.config_files import ConfigModel, read_config

IDENTIFIER_TYPES = (
    "crm_id",
    "loyalty_id",
    "erp_customer_number",
    "email",
    "phone",
    "device_id",
    "cookie_id",
)
"""The identifier types, the one that says most about who a person is first."""

PERSON_TYPES = IDENTIFIER_TYPES[:5]
"""The types that name a person; a device or a cookie alone is an anonymous visitor."""


class BlockedValues(ConfigModel):
    """Values that name nobody."""

    values: list[str] = Field(default_factory=list, description="Whole values, in any case.")
    patterns: list[str] = Field(
        default_factory=list,
        description="Regular expressions (RE2) that match the whole value, in any case.",
    )

    @field_validator("values", mode="before")
    @classmethod
    def _quote_bare_words(cls, values: object) -> object:
        """Take `-1` and `null` as the text they are in the file."""
        if not isinstance(values, list):
            return values
        return ["null" if value is None else str(value) for value in values]

    @field_validator("values")
    @classmethod
    def _not_empty(cls, values: list[str]) -> list[str]:
        for value in values:
            if not value.strip():
                raise ValueError("a blocked value is empty; empty identifiers need no rule")
            if re.search(r"[\\^\[\]']", value):
                raise ValueError(
                    f"'{value}' holds one of \\ ^ [ ] '; write it as a pattern instead"
                )
        return values

    @field_validator("patterns")
    @classmethod
    def _compile(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            if pattern == "":
                raise ValueError("an empty pattern blocks every value; remove it")
            try:
                duckdb.execute("select regexp_full_match('', $1)", [pattern]).fetchall()
            except duckdb.InvalidInputException as error:
                raise ValueError(
                    f"'{pattern}' is no regular expression (RE2 syntax, without look-around and "
                    f"back-references): {error}"
                ) from error
        return patterns


class IdentifierRule(ConfigModel):
    """How far one type of identifier is believed."""

    links: bool = Field(
        default=True, description="Whether two records that share such a value are one person's."
    )
    max_per_customer: int | None = Field(
        default=None, ge=1, description="Most values of this type that one customer may have."
    )
    max_customers: int | None = Field(
        default=None,
        ge=1,
        description="A value seen with more customers than this links nobody any more.",
    )
    blocked: BlockedValues = BlockedValues()


class IdentityRules(ConfigModel):
    """The rules of linking, by identifier type."""

    blocked: BlockedValues = Field(
        default=BlockedValues(), description="Values that name nobody, whatever their type."
    )
    identifiers: dict[str, IdentifierRule] = Field(
        default_factory=dict, description="One rule per identifier type."
    )

    @model_validator(mode="after")
    def _every_type_has_a_rule(self) -> "IdentityRules":
        unknown = sorted(set(self.identifiers) - set(IDENTIFIER_TYPES))
        if unknown:
            raise ValueError(
                f"unknown identifier type {', '.join(unknown)}; "
                f"choose among {', '.join(IDENTIFIER_TYPES)}"
            )
        missing = [name for name in IDENTIFIER_TYPES if name not in self.identifiers]
        if missing:
            raise ValueError(
                f"identifiers lacks {', '.join(missing)}; say `links: false` for a type "
                "that is not to be used"
            )
        return self


def read_identity_rules(settings: Settings) -> IdentityRules:
    """Read identity_rules.yml.

    Raises:
        ConfigError: The file is missing or says something it cannot; names file and line.
    """
    return read_config(settings.config_file("identity_rules.yml"), IdentityRules)


def blocked_patterns(rules: IdentityRules) -> dict[str, str]:
    """Return one regular expression per identifier type that matches its blocked values.

    It is to be matched against the whole value, in any case. Types without any blocked value have
    no entry. The syntax is RE2's, on every engine.
    """
    expressions = {}
    for name, rule in rules.identifiers.items():
        values = [*rules.blocked.values, *rule.blocked.values]
        patterns = [*rules.blocked.patterns, *rule.blocked.patterns]
        choices = [f"(?:{pattern})" for pattern in patterns] + [_literal(v) for v in values]
        if choices:
            expressions[name] = "|".join(choices)
    return expressions


def _literal(value: str) -> str:
    """Return `value` as an expression for itself.

    Characters are put in brackets rather than behind a backslash, which SQL dialects read
    differently inside a string.
    """
    return re.sub(r"[.+*?|(){}$]", lambda found: f"[{found.group()}]", value.strip())
