"""The files of config/ that models need as tables: purposes, journey stages, exchange rates.

Reads:     config/purposes.yml, config/journey_stages.yml, config/company.yml
Keeps out: what a purpose permits (consent) and what a stage means (journey)
"""

from typing import Literal

import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.company import read_company
from cx_pipeline.warehouse.config_files import ConfigModel, read_config

REFERENCE_TABLES = {
    "purposes": "One row per purpose and channel of config/purposes.yml.",
    "event_stages": "One row per touchpoint type and event name of config/journey_stages.yml.",
    "exchange_rates": "One row per currency of config/company.yml.",
}
"""The tables that are made here, each with its grain."""

LegalBasis = Literal[
    "consent",
    "contract",
    "legal_obligation",
    "vital_interests",
    "public_interest",
    "legitimate_interests",
]
"""The six legal bases of article 6(1) of the GDPR."""

Channel = Literal["email", "sms", "push", "phone", "post", "store", "web", "ads"]
Stage = Literal["discover", "explore", "buy", "deliver", "inspire"]


class Purpose(ConfigModel):
    """One thing for which the company uses personal data."""

    name: str = Field(min_length=1, description="Name that people read.")
    data_use: str = Field(min_length=1, description="Data use in the words of fideslang.")
    legal_basis: LegalBasis
    requires_consent: bool = Field(
        description="Whether nothing is permitted without a granted consent."
    )
    expires_after_days: int | None = Field(
        default=None, gt=0, description="Days that a consent lasts; empty for no end."
    )
    channels: list[Channel] = Field(min_length=1)

    @model_validator(mode="after")
    def _consent_is_the_basis(self) -> "Purpose":
        if self.requires_consent != (self.legal_basis == "consent"):
            raise ValueError(
                "requires_consent must be true exactly when legal_basis is consent; change one"
            )
        return self


RELIED_ON = {
    "analytics": "it decides whose facts are published with their key",
    "marketing": "who leaves a mailing list refuses it",
    "surveys": "who leaves a survey's list refuses it",
}
"""Purposes that every company has, and what hangs on each."""


class PurposesConfig(ConfigModel):
    """The file config/purposes.yml."""

    purposes: dict[str, Purpose] = Field(min_length=1)

    @field_validator("purposes")
    @classmethod
    def _those_relied_on_are_declared(cls, purposes: dict[str, Purpose]) -> dict[str, Purpose]:
        for purpose, reason in RELIED_ON.items():
            if purpose not in purposes:
                raise ValueError(f'"{purpose}" is not declared, but {reason}; declare it')
        return purposes


class JourneyStagesConfig(ConfigModel):
    """The file config/journey_stages.yml: stage by touchpoint type and event name."""

    touchpoints: dict[str, dict[str, Stage]] = Field(min_length=1)

    @model_validator(mode="after")
    def _each_has_a_default(self) -> "JourneyStagesConfig":
        for touchpoint, events in self.touchpoints.items():
            if "*" not in events:
                raise ValueError(
                    f'{touchpoint} has no default; add "*": with the stage of all other events'
                )
        return self


def reference_tables(settings: Settings) -> dict[str, pa.Table]:
    """Return the tables that stand for files of config/, by name.

    Raises:
        ConfigError: A file cannot be used; names file and line.
    """
    purposes = read_config(settings.config_file("purposes.yml"), PurposesConfig).purposes
    stages = read_config(settings.config_file("journey_stages.yml"), JourneyStagesConfig)
    company = read_company(settings)
    rates = {
        **{code: float(rate) for code, rate in company.exchange_rates.items()},
        company.base_currency: 1.0,
    }
    return {
        "purposes": pa.Table.from_pylist(
            [
                {
                    "purpose": key,
                    "name": purpose.name,
                    "data_use": purpose.data_use,
                    "legal_basis": purpose.legal_basis,
                    "channel": channel,
                    "requires_consent": purpose.requires_consent,
                    "expires_after_days": purpose.expires_after_days,
                }
                for key, purpose in purposes.items()
                for channel in purpose.channels
            ],
            schema=pa.schema(
                [
                    ("purpose", pa.string()),
                    ("name", pa.string()),
                    ("data_use", pa.string()),
                    ("legal_basis", pa.string()),
                    ("channel", pa.string()),
                    ("requires_consent", pa.bool_()),
                    ("expires_after_days", pa.int64()),
                ]
            ),
        ),
        "event_stages": pa.Table.from_pylist(
            [
                {"touchpoint_type": touchpoint, "event_name": event, "stage": stage}
                for touchpoint, events in stages.touchpoints.items()
                for event, stage in events.items()
            ]
        ),
        "exchange_rates": pa.Table.from_pylist(
            [
                {"currency_code": code, "base_currency": company.base_currency, "rate": rate}
                for code, rate in rates.items()
            ]
        ),
    }
