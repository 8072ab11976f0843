"""What config/company.yml says of the company as a whole, and whose a data folder is."""

import errno
import hmac
import os
import shutil
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from cx_pipeline.settings import Settings
from cx_pipeline.warehouse.config_files import ConfigModel, TimeZone, read_config
from cx_pipeline.warehouse.engine import has_built
from cx_pipeline.warehouse.session import identity_secret


class Quarantine(ConfigModel):
    """How much bad input a run tolerates."""

    max_share: float = Field(
        default=0.05, ge=0, le=1, description="Share of a table's rows that may be set aside."
    )


class Company(ConfigModel):
    """One company: its money, clock, home country and tolerance."""

    company: str = Field(description="Name; a data folder belongs to one company.")
    base_currency: str = Field(pattern="^[A-Z]{3}$", description="ISO 4217.")
    time_zone: TimeZone = Field(default="UTC", description="IANA zone in which days are counted.")
    country: str = Field(
        pattern="^[A-Z]{2}$", description="Region of phone numbers without a prefix."
    )
    exchange_rates: dict[str, Annotated[Decimal, Field(gt=0)]] = Field(
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


_LEAST_BYTES = 2**20
_NO_DISK = (
    "No space left",
    "Disk quota exceeded",
    "disk I/O error",
    "database or disk is full",
)

SHORTEST_KEY = 16
"""Bytes that a new data folder asks of CX_IDENTITY_KEY: NIST SP 800-131A has 112 bits as the least
for HMAC, which are 14 bytes."""


class DataFolderError(RuntimeError):
    """The data folder is another company's or key's, or it cannot be written."""


def claim_data_folder(settings: Settings) -> None:
    """Write company and key into an unclaimed data folder; refuse another company's or key's.

    The folder is closed to other users of the machine from here on, except for what is published.

    Raises:
        DataFolderError: The folder belongs to another company, or to another key, or it cannot be
            written; or it is new and the key is short.
        IdentityKeyMissingError: CX_IDENTITY_KEY is empty.
    """
    try:
        _make_folders(settings)
    except OSError as error:
        raise DataFolderError(
            f"{settings.data_dir} cannot be written ({error.strerror}: {error.filename}). Give the "
            "run another folder with --data, or the rights to this one."
        ) from None
    expect_room(settings)
    if settings.temp_dir:
        try:
            settings.temp_dir.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=settings.temp_dir).close()
        except OSError as error:
            raise DataFolderError(
                f"CX_TEMP_DIR is {settings.temp_dir}, which cannot be written ({error.strerror}). "
                "Name another folder, or leave it empty for one in the data folder."
            ) from None
    name = read_company(settings).company
    secret = identity_secret(settings)
    path = settings.data_dir / "identity_key.check"
    if len(secret) < SHORTEST_KEY and not path.exists():
        raise DataFolderError(
            f"CX_IDENTITY_KEY has {len(secret)} bytes: who sees the hashes of customers could find "
            f"it by trying, and then whose they are. Set one of at least {SHORTEST_KEY}, such as "
            "`make setup` writes into .env."
        )
    owner = _claim(settings.data_dir / "company", name)
    if owner != name:
        raise DataFolderError(
            f"{settings.data_dir} holds the data of {owner!r}, but {settings.config_dir} describes "
            f"{name!r}. Give this company a folder of its own with --data."
        )
    # Tells a wrong key from the right one, and gives neither away.
    proof = hmac.digest(secret, b"the identity key of this data folder", "sha256").hex()
    if _claim(path, proof) != proof:
        raise DataFolderError(
            f"CX_IDENTITY_KEY is not the key that {settings.data_dir} was built with: every "
            "customer would stand in it twice. Bring the old key back into .env. If it is lost, "
            f"delete {path}, put {settings.warehouse_path} aside and run again: all is rebuilt "
            "from the lake but past stays in segments, earlier months of customer, consent and "
            "segment figures, and corrections in the consent log; every customer gets another id."
        )
    _claim_engine(settings)


def _claim_engine(settings: Settings) -> None:
    """Make sure that the folder is on the engine that is set.

    Raises:
        DataFolderError: Another one has built tables in it.
    """
    path = settings.data_dir / "engine"
    # A folder of before there was a choice was built on the default.
    is_older = settings.warehouse_path.exists()
    engine = _claim(path, Settings.model_fields["engine"].default if is_older else settings.engine)
    if engine != settings.engine and not has_built(engine, settings):
        # An engine that could not even start has no claim.
        path.unlink()
        engine = _claim(path, settings.engine)
    if engine != settings.engine:
        raise DataFolderError(
            f"{settings.data_dir} was built on {engine}, and CX_ENGINE is {settings.engine}. The "
            "consent log is evidence and does not move from one to the other: set "
            f"CX_ENGINE={engine}, or give the other engine a folder of its own with --data."
        )


def expect_room(settings: Settings) -> None:
    """Refuse a disk on which not even Dagster's log can be opened: SQLite writes to read.

    Raises:
        DataFolderError: The disk is full.
    """
    if shutil.disk_usage(settings.data_dir).free < _LEAST_BYTES:
        raise DataFolderError(disk_is_full(settings.data_dir))


def is_out_of_space(error: Exception | str) -> bool:
    """Whether an error tells of a disk, or of a share of it, that is full."""
    return any(words in str(error) for words in _NO_DISK)


def disk_is_full(folder: Path) -> str:
    """Return what to do about the full disk of a folder."""
    free = shutil.disk_usage(folder).free / 2**20
    return (
        f"The disk of {folder} is full ({free:,.0f} MiB left). Readers keep what was published "
        "before. Make room and run again: what is landed stays landed."
    )


def _make_folders(settings: Settings) -> None:
    # Readers of serving/ pass through the folders above.
    settings.data_dir.parent.mkdir(parents=True, exist_ok=True)
    # Lake, warehouse and their temporary files hold names and addresses.
    os.umask(0o077)
    for folder, mode in (
        (settings.data_dir, 0o711),
        (settings.serving_dir, 0o755),
        (settings.inbox_dir, 0o700),
    ):
        if not folder.exists():
            folder.mkdir()
            folder.chmod(mode)
    # A data folder in a checkout: its rows would be one `git add .` from everybody.
    ignored = settings.data_dir / ".gitignore"
    if not ignored.exists():
        ignored.write_text("*\n")
    if not os.access(settings.data_dir, os.W_OK):
        raise PermissionError(errno.EACCES, "no right to write", str(settings.data_dir))


def _claim(path: Path, claim: str) -> str:
    """Write a claim into a file that says nothing yet; return what the file says.

    Raises:
        DataFolderError: It cannot be written.
    """
    try:
        if not path.exists() or not path.read_text():
            # In one step: half a claim would be another company's, or another key's.
            aside = path.with_name(f"{path.name}.claiming")
            aside.write_text(claim)
            aside.replace(path)
        return path.read_text()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataFolderError(disk_is_full(path.parent)) from None
        raise DataFolderError(
            f"{path} cannot be read or written ({error.strerror}); correct its rights."
        ) from None
