"""Where this process keeps its data and secrets: the only reader of the environment.

Reads:     environment variables `CX_*` and, where it exists, a `.env` file in the working folder
Keeps out: what a business owner decides (that is `config/`)
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

PROJECT_DIR = Path(__file__).resolve().parent.parent
DBT_PROJECT_DIR = PROJECT_DIR / "dbt_project"


_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgt])(i?)b?|b)", re.IGNORECASE)
"""A number of bytes as DuckDB reads it: 8GB are 8 * 1000^3, 8GiB 8 * 1024^3."""


_CONFIG_FILES = tuple(path.name for path in (PROJECT_DIR / "config").glob("*.yml"))


class SettingsError(ValueError):
    """A setting that cannot be used: names the variable, the reason and what to do."""


class Settings(BaseSettings):
    """One process's paths, limits and secret; every field is the variable `CX_<NAME>`."""

    model_config = SettingsConfigDict(
        env_prefix="CX_", env_file=".env", env_ignore_empty=True, extra="ignore"
    )

    config_dir: Path = Field(
        default=PROJECT_DIR / "config", description="Folder of sources.yml and its neighbours."
    )
    data_dir: Path = Field(
        default=PROJECT_DIR / "data", description="Folder of lake, warehouse and published files."
    )
    identity_key: SecretStr = Field(
        default=SecretStr(""), description="Secret of the keyed hash behind every profile_key."
    )
    engine: Literal["duckdb", "spark"] = Field(
        default="duckdb", description="What the warehouse runs on: duckdb or spark."
    )
    spark_remote: str = Field(
        default="", description="Spark Connect address of a cluster, such as sc://host:15002."
    )
    memory_limit: str = Field(default="", description="Memory limit of the engine, such as 8GB.")
    temp_dir: Path | None = Field(
        default=None, description="Folder for what does not fit into the engine's memory."
    )
    threads: int = Field(default=0, ge=0, description="Threads of the engine; 0 is one a core.")

    @field_validator("memory_limit")
    @classmethod
    def _is_a_size(cls, value: str) -> str:
        if value and not _SIZE.fullmatch(value.strip()):
            raise ValueError("it is no size such as 8GB or 512MB")
        return value.strip()

    @property
    def memory_limit_bytes(self) -> int:
        """The memory limit in bytes; 0 where none is set."""
        found = _SIZE.fullmatch(self.memory_limit)
        if not found:
            return 0
        number, prefix, binary = found.groups(default="")
        base = 1024 if binary else 1000
        return int(float(number) * base ** " kmgt".index(prefix.lower() or " "))

    @property
    def lake_dir(self) -> Path:
        """Folder of the landed rows, the only truth; everything else is rebuilt from it."""
        return self.data_dir / "lake"

    @property
    def inbox_dir(self) -> Path:
        """Folder where what comes back (consent changes, receipts) is dropped."""
        return self.data_dir / "inbox"

    @property
    def exports_dir(self) -> Path:
        """Folder of the demo company's exports."""
        return self.data_dir / "exports"

    @property
    def truth_dir(self) -> Path:
        """Folder of what is truly so in the demo company; no room may read it."""
        return self.data_dir / "truth"

    @property
    def warehouse_path(self) -> Path:
        """The pipeline's own DuckDB file; readers take `serving_dir` instead."""
        return self.data_dir / "warehouse.duckdb"

    @property
    def serving_dir(self) -> Path:
        """Folder of the published DuckDB files."""
        return self.data_dir / "serving"

    @property
    def dagster_home(self) -> Path:
        """Dagster's own storage: runs, events, schedules."""
        return self.data_dir / "dagster"

    @property
    def log_dir(self) -> Path:
        """Folder of the full log of every run."""
        return self.data_dir / "logs"

    @property
    def target_dir(self) -> Path:
        """Folder of dbt's compiled artefacts."""
        return self.data_dir / "target"

    def config_file(self, name: str) -> Path:
        """Return the config file `name`, or the project's own where the config folder has none."""
        own = self.config_dir / name
        return own if own.exists() else PROJECT_DIR / "config" / name


def load_settings(config_dir: Path | None = None, data_dir: Path | None = None) -> Settings:
    """Read the settings; an argument wins over the environment.

    Raises:
        SettingsError: A variable has a value that it cannot have, or the config folder is missing
            or holds a file that would be overlooked.
    """
    given = {"config_dir": config_dir, "data_dir": data_dir}
    try:
        settings = Settings(**{name: path for name, path in given.items() if path is not None})
    except ValidationError as error:
        raise SettingsError(
            "\n".join(
                f"CX_{str(fault['loc'][0]).upper()} is {str(fault['input'])!r}: "
                f"{fault['msg'].removeprefix('Value error, ')}; "
                "correct it in the environment or in .env."
                for fault in error.errors()
            )
        ) from None
    settings.config_dir = settings.config_dir.absolute()
    settings.data_dir = settings.data_dir.absolute()
    if not settings.config_dir.is_dir():
        raise SettingsError(
            f"there is no folder {settings.config_dir}; correct --config or CX_CONFIG_DIR."
        )
    for path in sorted(settings.config_dir.rglob("*.yaml")):
        # A neighbour of another tool's is none of ours.
        if path.parent.name == "segments" or path.with_suffix(".yml").name in _CONFIG_FILES:
            raise SettingsError(
                f"{path} is not read, only what ends in .yml; rename it or take it away."
            )
    settings.temp_dir = _own_temp_dir(settings)
    return settings


def _own_temp_dir(settings: Settings) -> Path:
    """Return the folder for what does not fit into memory, which no other data folder shares.

    Files of two DuckDB processes in one folder have one name: each reads what the other wrote.
    """
    if not settings.temp_dir:
        return settings.data_dir / "temp"
    whose = hashlib.sha256(str(settings.data_dir.resolve()).encode()).hexdigest()
    return settings.temp_dir.absolute() / f"cx-{whose[:12]}"


def environment_value(name: str) -> str | None:
    """Return the variable that a config file names as `${NAME}`: of the environment, or `.env`."""
    return os.environ.get(name) or dotenv_values(".env").get(name)
