"""The CRM: CSV with semicolons, latin-1, decimal comma, dd-mm-yyyy, Danish names.

Contacts and club members come as full dumps, the consent log as one file per month and one for
everything before.
Keeps out: consents said elsewhere (web preference centre, unsubscribe link).
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cx_pipeline.demo import consents as consent
from cx_pipeline.demo.consents import Consents
from cx_pipeline.demo.formatting import (
    DAY_SECONDS,
    dates,
    decimals,
    hexadecimal,
    join_text,
    look_up,
    text_column,
    timestamps,
)
from cx_pipeline.demo.identifiers import Identifiers
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import take
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.world import HOME_ZONE, NEVER, World, to_local

CONTACT_HEADER = (
    "kontakt_id;klubnr;fornavn;efternavn;email;mobil;adresse;postnr;by;land;køn;fødselsdato;"
    "sprog;klubmedlem;erp_kundenr;oprettet;ændret\r\n"
)
CLUB_HEADER = "klubnr;kontakt_id;niveau;point;indmeldt\r\n"
CONSENT_HEADER = (
    "samtykke_id;kontakt_id;email;formål;kanal;status;tidspunkt;udløber;kilde;tekstversion\r\n"
)
_PURPOSES = ("markedsføring", "undersøgelser", "personalisering", "annoncering", "analyse")
_CHANNELS = ("e-mail", "sms", "post", "push", "telefon", "")
_STATUSES = ("givet", "afvist", "trukket tilbage", "afventer")
_MECHANISMS = (
    "klubtilmelding",
    "webkonto",
    "nyhedsbrev",
    "butiksblanket",
    "præferencecenter",
    "afmelding",
    "dobbelt bekræftelse",
)
_RAGGED_SHARE = 0.0004


class DumpFile:
    """A full dump that chunks of customers are appended to, put in place when complete."""

    def __init__(self, path: Path, header: str) -> None:
        """Begin a new file beside `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._aside = path.with_name(path.name + ".part")
        self._aside.write_bytes(header.encode("latin-1"))
        self.row_count = 0

    def add(self, lines: pa.Array) -> None:
        """Append lines, each with its line end."""
        self.row_count += len(lines)
        with self._aside.open("ab") as file:
            file.write("".join(lines.to_pylist()).encode("latin-1"))

    def finish(self) -> None:
        """Put the file in place."""
        self._aside.replace(self._path)


def _stamp(seconds: Integers, with_seconds: bool = False) -> pa.Array:
    return timestamps(to_local(seconds, HOME_ZONE), "%d-%m-%Y", with_seconds=with_seconds)


def contact_lines(
    world: World, people: People, identifiers: Identifiers
) -> tuple[pa.Array, pa.Array, list[dict[str, str]]]:
    """Return the lines of contacts and of club members, and the defects planted in them."""
    dice = world.dice
    first = np.flatnonzero(people.in_crm & (people.joined_at < world.now))
    second = np.flatnonzero(identifiers.second_crm_at < world.now)
    rows = np.concatenate([first, second])
    is_second = np.arange(len(rows)) >= len(first)
    size = people.size
    renamed = (people.name_changed_at[rows] < world.now) & ~is_second
    names = pa.array([*people.family, *people.family_after])
    emails = pa.concat_arrays([people.emails[0], people.emails[3], people.emails[1]])
    email_slot = np.where(is_second, 2, np.where(renamed, 1, 0))
    ids = pa.concat_arrays([identifiers.crm_id, identifiers.second_crm_id])
    member = people.is_member[rows] & ~is_second
    linked = dice.chance("erp reference", 0.35, people.index[rows]) & ~is_second
    linked &= identifiers.erp_at[rows] < world.now
    made_at = np.where(is_second, identifiers.second_crm_at[rows], people.joined_at[rows])
    changed_at = np.where(renamed, people.name_changed_at[rows], made_at)
    blank = pa.array([""])
    streets = pa.array(people.street).take(pa.array(rows))
    # A semicolon typed into an address, which the export does not quote.
    ragged = dice.chance("semicolon typed", _RAGGED_SHARE, people.index[rows]) & ~is_second
    streets = pc.if_else(pa.array(ragged), join_text(streets, ";2. tv"), streets)

    def optional(column: pa.Array, keep: np.ndarray) -> pa.Array:
        return look_up(pa.concat_arrays([column, blank]), np.where(keep, rows, len(column)))

    birth = dates(people.birth_day[rows] * DAY_SECONDS, "%d-%m-%Y")
    tells = dice.chance("tells birth date", 0.8, people.index[rows])
    parts = [
        look_up(ids, rows + np.where(is_second, size, 0)),
        optional(identifiers.loyalty, member),
        look_up(people.given, rows),
        look_up(names, rows + np.where(renamed, size, 0)),
        look_up(emails, rows + email_slot * size),
        optional(people.phone_national, people.has_phone[rows]),
        streets,
        look_up(people.postal_code, rows),
        look_up(people.town, rows),
        look_up([c.code for c in COUNTRIES], people.country[rows]),
        look_up(["M", "K"], people.is_female[rows].astype(int)),
        pc.if_else(pa.array(tells), birth, pa.scalar("")),
        look_up([c.language for c in COUNTRIES], people.country[rows]),
        look_up(["N", "J"], member.astype(int)),
        optional(identifiers.erp_number, linked),
        _stamp(made_at),
        _stamp(changed_at),
    ]
    contacts = _csv(parts)

    club_rows = np.flatnonzero(people.is_member & (people.joined_at < world.now))
    points = dice.below("points", 240_000, people.index[club_rows])
    level = (points > 120_000).astype(int) + (points > 200_000)
    club = _csv(
        [
            identifiers.loyalty.take(pa.array(club_rows)),
            identifiers.crm_id.take(pa.array(club_rows)),
            look_up(["Basis", "Sølv", "Guld"], level),
            decimals(points, ","),
            dates(to_local(people.joined_at[club_rows], HOME_ZONE), "%d-%m-%Y"),
        ]
    )
    defects = [
        {
            "source": "crm",
            "table": "contacts",
            "file": "kontakter.csv",
            "kind": "ragged line",
            "record": record,
            "detail": "a semicolon in the address adds a field",
        }
        for record in parts[0].filter(pa.array(ragged)).to_pylist()
    ]
    return contacts, club, defects


def _csv(parts: list[pa.Array]) -> pa.Array:
    pieces: list[pa.Array | str] = []
    for part in parts:
        pieces += [part, ";"]
    pieces[-1] = "\r\n"
    return join_text(*pieces)


def consent_lines(
    world: World, people: People, consents: Consents, identifiers: Identifiers
) -> tuple[Integers, pa.Array]:
    """Return when each statement in the CRM was made, and its line."""
    said = take(consents.statements, consents.statements["system"] == consent.CRM)
    row, at = said["row"], said["at"]
    about = said["purpose"] * len(consent.CHANNELS) + said["channel"]
    about = about * len(consent.STATUSES) + said["status"]
    number = text_column(hexadecimal(world.dice.bits("statement", people.index[row], about, at)))
    # The CRM knows an end for SMS and adverts; the others run out by the company's own rule.
    expires = (said["expires_at"] < NEVER) & (
        (said["purpose"] == consent.ADVERTISING) | (said["channel"] == consent.SMS)
    )
    expiry = _stamp(np.where(expires, said["expires_at"], 0), with_seconds=True)
    lines = _csv(
        [
            join_text("SAM-", number),
            identifiers.crm_id.take(pa.array(row)),
            people.emails[0].take(pa.array(row)),
            look_up(_PURPOSES, said["purpose"]),
            look_up(_CHANNELS, said["channel"]),
            look_up(_STATUSES, said["status"]),
            _stamp(at, with_seconds=True),
            pc.if_else(pa.array(expires), expiry, pa.scalar("")),
            look_up(_MECHANISMS, said["mechanism"]),
            look_up(
                ["2023-1", "2024-2", "2025-1"], np.clip((at - 1_672_531_200) // 31_536_000, 0, 2)
            ),
        ]
    )
    return at, pa.array([line.encode("latin-1") for line in lines.to_pylist()], pa.binary())
