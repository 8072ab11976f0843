"""Simulate the demo company: exports as its systems would send them, and the truth apart.

Reads:     the truth folder's `world.json`, to carry on a world that is there already
Writes:    the exports folder and the truth folder
Keeps out: how the exports are read; nothing in them tells what only the simulator knows
"""

import json
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np

from cx_pipeline.demo import company, crm, desk, erp, tills
from cx_pipeline.demo.catalogue import STORES
from cx_pipeline.demo.consents import make_consents
from cx_pipeline.demo.files import GroupedFiles
from cx_pipeline.demo.identifiers import make_identifiers
from cx_pipeline.demo.messages import export_messages
from cx_pipeline.demo.opinions import make_answers, make_invites, make_reviews
from cx_pipeline.demo.people import HOUSEHOLD_BLOCK, NUMBER_BITS, make_people
from cx_pipeline.demo.purchases import shop
from cx_pipeline.demo.randomness import Integers
from cx_pipeline.demo.service import make_cases, make_faults, make_signals, make_visits
from cx_pipeline.demo.truth import Truth
from cx_pipeline.demo.webshop import export_web
from cx_pipeline.demo.world import World

CHUNK = 2_000 * HOUSEHOLD_BLOCK
"""Customers simulated at once: about 2 GB of memory."""
FEWEST_CUSTOMERS = 100
"""With so few, an export of what is rare may have no row in a short world."""
MOST_DAYS = 4_920
"""With more, numbers of orders that ads cause would run into those of other happenings."""
WORLD_FILE = "world.json"
_SCRATCH = "scratch-"
SYSTEMS = (
    "erp",
    "crm",
    "webshop",
    "tills",
    "service_desk",
    "messaging",
    "surveys",
    "reviews",
    "bookings",
    "devices",
    "ads",
    "weather",
    "workforce",
)
_EPOCH_MONTHS = 1970 * 12


class WorldError(ValueError):
    """A world that cannot be, or that would mix with the one that stands there."""


@dataclass
class Summary:
    """What was written: the world's frame, rows per export, planted defects."""

    seed: int
    customers: int
    start: date
    until: date
    rows: dict[str, int] = field(default_factory=dict)
    defects: int = 0

    @property
    def row_count(self) -> int:
        """Rows in all exports."""
        return sum(self.rows.values())


def simulate(
    exports_dir: Path,
    truth_dir: Path,
    customers: int = 20_000,
    seed: int = 1,
    days: int = 395,
    until: date | None = None,
    progress: Callable[[str, float], None] | None = None,
    is_landed: bool = False,
) -> Summary:
    """Write the demo company's exports and, apart from them, what is truly so.

    The same seed, customers and days give the same rows. A world that stands in the two folders
    (same seed and customers, not ending later) goes on: its first day stays, finished files stay
    as they are, and only what happened since is added. Any other is cleared away, unless its rows
    have been landed.

    Args:
        exports_dir: Folder of the exports, one subfolder per system.
        truth_dir: Folder of the truth; no room may read it.
        customers: Persons in the world, of whom not all are known to the company; after 410 days
            more join.
        seed: Seed of every draw.
        days: Days of the world, unless it goes on; the ERP and the tills know the orders of the
            year before, too.
        until: Last day; yesterday when empty.
        progress: Called with what is being done and the share done, from 0 to 1.
        is_landed: Whether rows of the exports have been landed, so that another world's would mix
            with them.

    Raises:
        WorldError: Too few customers, no day, more customers or days than the world has numbers
            for, or another world than the one that was landed.
    """
    if not 1 <= days <= MOST_DAYS:
        message = f"days is {days}; give a number from 1 to {MOST_DAYS}"
        raise WorldError(message)
    report = progress or (lambda _what, _share: None)
    until = until or datetime.now(tz=UTC).date() - timedelta(days=1)
    start = until - timedelta(days=days - 1)
    earlier = _earlier_world(exports_dir, truth_dir, customers, seed, start, until)
    world = World(seed, customers, earlier[0] if earlier else start, until)
    most = int(2**NUMBER_BITS / world.growth[world.days - 1])
    if not FEWEST_CUSTOMERS <= customers <= most:
        message = f"customers is {customers}; give a number from {FEWEST_CUSTOMERS} to {most}"
        raise WorldError(message)
    if earlier is None:
        if is_landed:
            raise WorldError(_would_mix(exports_dir.parent, truth_dir))
        # Without its frame no world goes on, so that an end in between begins anew.
        (truth_dir / WORLD_FILE).unlink(missing_ok=True)
        for system in SYSTEMS:
            shutil.rmtree(exports_dir / system, ignore_errors=True)
        finished_days = 0
    else:
        finished_days = (earlier[1] - earlier[0]).days + 1
    # A system that has nothing to say yet still has its folder.
    for system in SYSTEMS:
        (exports_dir / system).mkdir(parents=True, exist_ok=True)
    truth_dir.mkdir(parents=True, exist_ok=True)
    for left_over in truth_dir.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left_over)
    summary = _write_world(world, exports_dir, truth_dir, finished_days, report)
    frame = asdict(summary) | {"start": str(world.start), "until": str(world.until)}
    # The old frame stands until everything is written: it says which files are finished.
    aside = truth_dir / f"{WORLD_FILE}.part"
    aside.write_text(json.dumps(frame, indent=2) + "\n", encoding="utf-8")
    aside.replace(truth_dir / WORLD_FILE)
    report("done", 1.0)
    return summary


def _earlier_world(
    exports_dir: Path, truth_dir: Path, customers: int, seed: int, start: date, until: date
) -> tuple[date, date] | None:
    """Return first and last day of the world that stands here, if this one carries it on."""
    path = truth_dir / WORLD_FILE
    if not path.exists() or not (exports_dir / "erp").exists():
        return None
    known = json.loads(path.read_text(encoding="utf-8"))
    first, last = date.fromisoformat(known["start"]), date.fromisoformat(known["until"])
    same = known["seed"] == seed and known["customers"] == customers
    return (first, last) if same and first <= start <= last <= until else None


def _would_mix(data_dir: Path, truth_dir: Path) -> str:
    """Return what the data folder holds and what to do for another world."""
    path = truth_dir / WORLD_FILE
    held = "a company that this one does not carry on"
    if path.exists():
        known = json.loads(path.read_text(encoding="utf-8"))
        held = (
            f"a demo company of {known['customers']:,} people with seed {known['seed']}, from "
            f"{known['start']} to {known['until']}, which this one does not carry on"
        )
    return (
        f"{data_dir} holds landed rows of {held}: two companies would mix. Give this one a folder "
        f"of its own with --data, or delete {data_dir}."
    )


def _write_world(
    world: World,
    exports_dir: Path,
    truth_dir: Path,
    finished_days: int,
    report: Callable[[str, float], None],
) -> Summary:
    """Simulate chunk by chunk and write every file."""
    # Chunks of one size, so that the last is no stump.
    chunk_count = -(-world.persons // CHUNK)
    blocks = -(-world.persons // (chunk_count * HOUSEHOLD_BLOCK))
    size = blocks * HOUSEHOLD_BLOCK
    starts = range(0, world.persons, size)
    many = len(starts) > 1
    truth = Truth(world, truth_dir)
    ledger = company.AdLedger(world)
    summary = Summary(world.seed, world.customers, world.start, world.until)
    scratch_dir = (
        tempfile.TemporaryDirectory(dir=truth_dir, prefix=_SCRATCH) if many else nullcontext()
    )
    with scratch_dir as scratch_name:
        exports = _Exports(
            world, exports_dir, Path(scratch_name) if scratch_name else None, finished_days
        )
        exports.erp.add(erp.catalogue_tables(world))
        for turn, first in enumerate(starts):
            report("customers", 0.6 * turn / len(starts))
            last = min(first + size, world.persons)
            _simulate_chunk(world, first, last, exports, truth, ledger)
        report("files", 0.6)
        exports.finish()
    report("company", 0.95)
    ad_truth, ad_defects, ad_count = company.write_ads(world, exports_dir / "ads", ledger)
    weather_defects, weather_count = company.write_weather(world, exports_dir / "weather")
    truth.add_ads(ad_truth)
    truth.add_defects([*ad_defects, *weather_defects])
    summary.rows = exports.row_counts() | {
        "ads": ad_count,
        "weather": weather_count,
        "workforce": company.write_staff(world, exports_dir / "workforce"),
    }
    summary.defects = truth.finish()
    return summary


class _Exports:
    """The files of all systems that name customers."""

    def __init__(
        self, world: World, folder: Path, scratch: Path | None, finished_days: int
    ) -> None:
        days = [str(world.start + timedelta(days=day)) for day in range(world.days)]
        finished_until = world.start + timedelta(days=finished_days)
        finished_month = finished_until.year * 12 + finished_until.month - 1 - _EPOCH_MONTHS

        def daily(system: str, pattern: str) -> GroupedFiles:
            return GroupedFiles(
                scratch,
                f"{system}-{pattern.partition('_')[0]}",
                lambda day: folder / system / pattern.format(days[day]),
                finished_before=finished_days,
            )

        def monthly(system: str, pattern: str, header: bytes = b"") -> GroupedFiles:
            def path_of(month: int) -> Path:
                if month < 0:
                    return folder / system / pattern.format("historik")
                name = f"{1970 + month // 12}-{month % 12 + 1:02d}"
                return folder / system / pattern.format(name)

            return GroupedFiles(
                scratch,
                f"{system}-{pattern.partition('_')[0]}",
                path_of,
                header,
                finished_before=finished_month if finished_days else -(2**31),
            )

        self.erp = erp.ErpFile(folder / "erp" / "erp.sqlite")
        self.contacts = crm.DumpFile(folder / "crm" / "kontakter.csv", crm.CONTACT_HEADER)
        self.club = crm.DumpFile(folder / "crm" / "klubmedlemmer.csv", crm.CLUB_HEADER)
        self.statements = monthly("crm", "samtykke_{}.csv", crm.CONSENT_HEADER.encode("latin-1"))
        self.web = daily("webshop", "events_{}.jsonl")
        self.tills = GroupedFiles(
            scratch,
            "tills",
            lambda number: folder / "tills" / tills.file_name(world, number, days),
            finished_before=finished_days * len(STORES),
        )
        self.tickets = daily("service_desk", "tickets_{}.jsonl")
        self.ticket_messages = daily("service_desk", "messages_{}.jsonl")
        self.messages = daily("messaging", "events_{}.parquet")
        self.answers = monthly(
            "surveys", "responses_{}.csv", b"\xef\xbb\xbf" + desk.SURVEY_HEADER.encode()
        )
        self.reviews = monthly("reviews", "reviews_{}.jsonl")
        self.visits = monthly("bookings", "appointments_{}.jsonl")
        self.signals = daily("devices", "telemetry_{}.parquet")

    def finish(self) -> None:
        """Write what is left; tills are thousands of small files, so they get their own thread."""
        with ThreadPoolExecutor(max_workers=2) as pool:
            pending = [
                pool.submit(export.finish)
                for export in (
                    self.tills,
                    self.web,
                    self.messages,
                    self.erp,
                    self.contacts,
                    self.club,
                    self.statements,
                    self.tickets,
                    self.ticket_messages,
                    self.answers,
                    self.reviews,
                    self.visits,
                    self.signals,
                )
            ]
            for task in pending:
                task.result()

    def row_counts(self) -> dict[str, int]:
        """Return the rows of each system."""
        return {
            "erp": self.erp.row_count,
            "crm": self.contacts.row_count + self.club.row_count + self.statements.row_count,
            "webshop": self.web.row_count,
            "tills": self.tills.row_count,
            "service_desk": self.tickets.row_count + self.ticket_messages.row_count,
            "messaging": self.messages.row_count,
            "surveys": self.answers.row_count,
            "reviews": self.reviews.row_count,
            "bookings": self.visits.row_count,
            "devices": self.signals.row_count,
        }


def _simulate_chunk(
    world: World,
    first: int,
    last: int,
    exports: _Exports,
    truth: Truth,
    ledger: company.AdLedger,
) -> None:
    """Simulate the persons from `first` up to but without `last`, and hand over their rows."""
    people = make_people(world, first, last)
    purchases = shop(world, people)
    consents = make_consents(world, people)
    identifiers = make_identifiers(world, people, purchases.orders, purchases.leases)
    faults = make_faults(world, people, purchases.leases)
    cases = make_cases(world, people, purchases, faults)
    invites = make_invites(world, people, purchases, cases, consents)
    answers = make_answers(world, people, purchases, cases, invites)
    reviews = make_reviews(world, people, purchases)
    visits = make_visits(world, people)
    signals = make_signals(world, people, purchases, faults)

    erp_tables, defects = erp.chunk_tables(world, people, purchases, identifiers)
    exports.erp.add(erp_tables)
    contacts, club, ragged = crm.contact_lines(world, people, identifiers)
    exports.contacts.add(contacts)
    exports.club.add(club)
    defects += ragged
    at, lines = crm.consent_lines(world, people, consents, identifiers)
    exports.statements.add_lines(_statement_months(world, at), at, lines)
    web = export_web(world, people, purchases, consents, identifiers)
    exports.web.add_lines(web.day, web.at, web.lines)
    ledger.add(purchases.orders, web.ad_visits)
    group, order, table, zeros = tills.export_tills(world, people, purchases, identifiers)
    exports.tills.add(group, order, table)
    day, at, lines, nulls = desk.export_tickets(world, people, purchases, cases, identifiers)
    exports.tickets.add_lines(day, at, lines)
    exports.ticket_messages.add_lines(*desk.export_ticket_messages(world, people, cases))
    messages = export_messages(world, people, purchases, consents, identifiers, invites)
    exports.messages.add(messages.day, messages.at, messages.table)
    month, at, lines, stray = desk.export_answers(
        world, people, purchases, cases, answers, identifiers
    )
    exports.answers.add_lines(month, at, lines)
    exports.reviews.add_lines(*desk.export_reviews(world, people, purchases, reviews, identifiers))
    month, at, lines, bad_dates = desk.export_visits(world, people, visits, identifiers)
    exports.visits.add_lines(month, at, lines)
    day, order, signal_table, again = company.export_signals(world, purchases, signals)
    exports.signals.add(day, order, signal_table)

    planted = {
        ("webshop", "events", "duplicate row", "the same event twice"): web.duplicates,
        ("messaging", "events", "test record", "a proof sent to the editor"): messages.proofs,
    }
    for (source, table_name, kind, detail), records in planted.items():
        defects += [
            {
                "source": source,
                "table": table_name,
                "file": "",
                "kind": kind,
                "record": record,
                "detail": detail,
            }
            for record in records.to_pylist()
        ]
    truth.add_defects([*defects, *zeros, *nulls, *stray, *bad_dates, *again])
    truth.add_people(people, purchases, identifiers)
    truth.add_cookies(web.cookies)
    truth.add_purchases(people, purchases)
    truth.add_consents(people, consents)


def _statement_months(world: World, at: Integers) -> Integers:
    """Return the month of each statement; those before the world began share one file."""
    return np.where(at < world.begins, -1, world.month_of(at))
