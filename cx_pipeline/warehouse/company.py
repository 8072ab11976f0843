"""What config/company.yml says of the company as a whole."""

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.config_files import read_config


class Quarantine(BaseModel):
    """How much bad input a run tolerates."""

    model_config = ConfigDict(extra="forbid")

    max_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of a table's rows that may be set aside."
    )


class Company(BaseModel):
    """One company: its money, clock, home country and tolerance."""

    model_config = ConfigDict(extra="forbid")

    company: str = Field(description="Name; a data folder belongs to one company.")
    base_currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217.")
    time_zone: str = Field(default="UTC", description="IANA zone in which days are counted.")
    country: str = Field(
        pattern="^[A-Z]{2}$", description="Region of phone numbers without a prefix."
    )
    exchange_rates: dict[str, Decimal] = Field(
        default_factory=dict, description="Units of base currency for one unit of another."
    )
    session_timeout_minutes: int = Field(
        default=30, gt=0, description="Silence that ends a web session."
    )
    quarantine: Quarantine = Quarantine()
    as_of: Literal["data"] = Field(
        default="data", description="Recency counts from the latest day in the data."
    )


def read_company(settings: Settings) -> Company:
    """Read company.yml.

    Raises:
        ConfigError: The file is missing or says something it cannot; names file and line.
    """
    return read_config(settings.config_file("company.yml"), Company)


class DataFolderTakenError(RuntimeError):
    """The data folder holds another company's lake."""


def claim_data_folder(settings: Settings) -> None:
    """Write the company's name into an unclaimed data folder; refuse another company's.

    Raises:
        DataFolderTakenError: The folder belongs to another company.
    """
    name = read_company(settings).company
    path = settings.data_dir / "company"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.write_text(name)
    elif (owner := path.read_text()) != name:
        raise DataFolderTakenError(
            f"{settings.data_dir} holds the data of {owner!r}, but {settings.config_dir} describes "
            f"{name!r}. Give this company a folder of its own with --data."
        )
