"""What each person truly said about the use of their data, and through which system.

Statements come from the CRM (sign-up, store form), the webshop's preference centre and the
unsubscribe link of the e-mail platform; the truth is their order in time.
Keeps out: how the pipeline folds them.
"""

from dataclasses import dataclass

import numpy as np

from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.people import People
from cx_pipeline.demo.purchases import Columns, stack, take
from cx_pipeline.demo.randomness import Flags, Integers
from cx_pipeline.demo.world import NEVER, World

PURPOSES = ("marketing", "surveys", "personalisation", "advertising", "analytics")
CHANNELS = ("email", "sms", "post", "push", "phone", "")
STATUSES = ("granted", "denied", "withdrawn", "pending")
(
    CLUB_SIGN_UP,
    WEB_ACCOUNT,
    NEWSLETTER_FORM,
    STORE_FORM,
    PREFERENCE_CENTRE,
    UNSUBSCRIBE_LINK,
    DOUBLE_OPT_IN,
) = range(7)
CRM, WEBSHOP, EMAIL_PLATFORM = 0, 1, 2
GRANTED, DENIED, WITHDRAWN, PENDING = range(4)
EMAIL, SMS, POST, PUSH, PHONE, ALL = range(len(CHANNELS))
MARKETING, SURVEYS, PERSONALISATION, ADVERTISING, ANALYTICS = range(5)

NEWSLETTER_EVERY_DAYS = 21
_LIFE_DAYS = {MARKETING: 730, SURVEYS: 730, ADVERTISING: 395}
"""After so many days without being renewed a consent has run out; others do not."""
_RENEWED_AFTER = 0.88
"""Share of its life after which a consent is asked for again."""
_RENEWAL_RATE = 0.90
_GERMANY = 3


def newsletter_days(world: World) -> Integers:
    """Return the days of the world on which the newsletter leaves: every third Tuesday."""
    first = (1 - world.start.weekday()) % 7
    return np.arange(first, world.days, NEWSLETTER_EVERY_DAYS)


@dataclass
class Consents:
    """The statements of a chunk, and the marketing permission that the platforms act on."""

    statements: Columns
    email_from: Integers
    email_until: Integers
    email_again_from: Integers
    unsubscribed_at: Integers
    """When a person clicked unsubscribe in a newsletter; far in the future for most."""
    sms_from: Integers
    sms_until: Integers
    surveys_from: Integers
    surveys_until: Integers

    def may_email(self, rows: Integers, at: Integers) -> Flags:
        """Return whether marketing by e-mail is allowed to a person at a moment."""
        first = (at >= self.email_from[rows]) & (at < self.email_until[rows])
        return first | (at >= self.email_again_from[rows])

    def may_text(self, rows: Integers, at: Integers) -> Flags:
        """Return whether marketing by SMS is allowed to a person at a moment."""
        return (at >= self.sms_from[rows]) & (at < self.sms_until[rows])

    def may_survey(self, rows: Integers, at: Integers) -> Flags:
        """Return whether surveys may be sent to a person at a moment."""
        return (at >= self.surveys_from[rows]) & (at < self.surveys_until[rows])


class _Statements:
    """Collects statements, in columns."""

    def __init__(self, world: World) -> None:
        self.parts: list[Columns] = []
        self.world = world

    def add(
        self,
        rows: Integers,
        at: Integers,
        purpose: int,
        channel: int,
        status: int,
        mechanism: Integers | int,
        system: Integers | int = CRM,
        expires_at: Integers | None = None,
    ) -> None:
        size = len(rows)
        self.parts.append(
            {
                "row": rows,
                "at": at,
                "purpose": np.full(size, purpose),
                "channel": np.full(size, channel),
                "status": np.full(size, status),
                "mechanism": np.broadcast_to(np.asarray(mechanism), size).copy(),
                "system": np.broadcast_to(np.asarray(system), size).copy(),
                "expires_at": np.full(size, NEVER) if expires_at is None else expires_at,
            }
        )

    def finish(self) -> Columns:
        columns = stack(self.parts)
        columns = take(columns, columns["at"] < self.world.now)
        order = np.lexsort(
            [columns[name] for name in ("status", "channel", "purpose", "row", "at")]
        )
        return take(columns, order)


def make_consents(world: World, people: People) -> Consents:
    """Return what the persons said before `now`."""
    dice, index = world.dice, people.index
    said = _Statements(world)
    asked = people.in_crm & ~dice.chance("never asked", 0.10, index)
    at_start = people.joined_at + 120
    mechanism = np.where(
        people.is_member,
        CLUB_SIGN_UP,
        np.where(people.has_account, WEB_ACCOUNT, NEWSLETTER_FORM),
    )
    never = np.full(people.size, NEVER)

    def answers(purpose: int, channel: int, share: float) -> tuple[Flags, Flags]:
        draw = dice.uniform("consent", index, [purpose], [channel])
        return asked & (draw < share), asked & (draw >= share) & (draw < share + 0.30)

    def later(name: str, share: float) -> Integers:
        """Return when everyone does it, at a pace by which this share has in the first year."""
        wait = 365 * DAY_SECONDS / -np.log1p(-share) * dice.exponential(name, index)
        moment = np.maximum(world.begins, at_start + 3 * DAY_SECONDS) + wait.astype(np.int64)
        return world.at_hour(moment, 8 + 13 * dice.uniform(name + " hour", index))

    def say(chosen: Flags, moments: Integers, *rest: object, **named: object) -> None:
        rows = np.flatnonzero(chosen)
        picked = {
            name: value[rows] if isinstance(value, np.ndarray) else value
            for name, value in named.items()
        }
        arguments = [value[rows] if isinstance(value, np.ndarray) else value for value in rest]
        said.add(rows, moments[rows], *arguments, **picked)  # type: ignore[arg-type]

    def give(
        chosen: Flags, moments: Integers, purpose: int, channel: int, how: Integers | int,
        stop: Integers,
    ) -> Integers:  # fmt: skip
        """Say yes and, as long as the person agrees and until `stop`, renew; return the end."""
        life = np.int64(_LIFE_DAYS[purpose] * DAY_SECONDS)
        pause = np.int64(life * _RENEWED_AFTER)
        turns = int(max(world.now - moments.min(), 0) // pause) + 2
        since, alive = moments.copy(), chosen.copy()
        until = np.where(chosen, moments + life, moments)
        for turn in range(turns):
            say(alive, since, purpose, channel, GRANTED, how if turn == 0 else STORE_FORM,
                expires_at=since + life)  # fmt: skip
            until = np.where(alive, since + life, until)
            renews = dice.chance("renews", _RENEWAL_RATE, index, [purpose], [channel], [turn])
            since = since + pause + dice.below("renewed", 20 * DAY_SECONDS, index, [turn])
            alive = alive & renews & (since < stop) & (since < world.now)
        return np.minimum(until, stop)

    # Marketing by e-mail: in Germany only a confirmed double opt-in counts.
    yes, no = answers(MARKETING, EMAIL, 0.60)
    yes |= people.wants_newsletter & asked
    no &= ~yes
    german = people.country == _GERMANY
    confirms = dice.chance("confirms", 0.82, index)
    confirmed_at = at_start + 300 + dice.below("confirmed", 3_000, index)
    granted = yes & (~german | confirms)
    wish = later("email withdrawn at", 0.16)
    how = dice.uniform("email withdrawn how", index)
    by_link = granted & ((how < 0.6) | ~people.has_account & (how < 0.85))
    in_centre = granted & ~by_link & people.has_account
    in_store = granted & ~by_link & ~in_centre
    sends = world.begins + newsletter_days(world) * DAY_SECONDS
    following = np.searchsorted(sends, wish)
    padded = np.append(sends, NEVER)
    # The click takes place between one and ten hours after the newsletter.
    clicked = padded[following] + 10 * 3600 + dice.below("unsubscribe click", 30_000, index)
    unsubscribed_at = np.where(by_link & (padded[following] < NEVER), clicked, NEVER)
    stop = np.where(granted, np.where(by_link, unsubscribed_at, wish), NEVER)
    say(yes & german, at_start, MARKETING, EMAIL, PENDING, mechanism)
    email_from = np.where(granted, np.where(german, confirmed_at, at_start), NEVER)
    given_at = np.where(german, confirmed_at, at_start)
    given_how = np.where(german, DOUBLE_OPT_IN, mechanism)
    email_until = give(granted, given_at, MARKETING, EMAIL, given_how, stop)
    say(no, at_start, MARKETING, EMAIL, DENIED, mechanism)
    # Whoever's consent has run out gets no newsletter whose link could be clicked.
    has_link = by_link & (email_until >= unsubscribed_at)
    unsubscribed_at = np.where(has_link, unsubscribed_at, NEVER)
    say(in_centre, wish, MARKETING, EMAIL, WITHDRAWN, PREFERENCE_CENTRE, system=WEBSHOP)
    say(in_store, wish, MARKETING, EMAIL, WITHDRAWN, STORE_FORM)
    say(
        has_link,
        unsubscribed_at,
        MARKETING,
        EMAIL,
        WITHDRAWN,
        UNSUBSCRIBE_LINK,
        system=EMAIL_PLATFORM,
    )
    back = granted & (stop < NEVER) & dice.chance("email again", 0.14, index)
    again = np.where(back, np.minimum(stop, NEVER // 2) + 45 * DAY_SECONDS, NEVER)
    life = _LIFE_DAYS[MARKETING] * DAY_SECONDS
    say(back, again, MARKETING, EMAIL, GRANTED, STORE_FORM, expires_at=again + life)

    yes, no = answers(MARKETING, SMS, 0.30)
    yes &= people.has_phone
    sms_from = np.where(yes, at_start, NEVER)
    stop = later("sms withdrawn at", 0.06)
    sms_until = give(yes, at_start, MARKETING, SMS, mechanism, stop)
    say(no, at_start, MARKETING, SMS, DENIED, mechanism)
    say(yes, stop, MARKETING, SMS, WITHDRAWN, STORE_FORM)

    # Whom the channel reaches is asked about it too, and says so once.
    for channel, share, reached in (
        (POST, 0.35, people.is_member),
        (PUSH, 0.55, people.uses_app),
        (PHONE, 0.06, people.has_phone & people.is_member),
    ):
        yes, no = answers(MARKETING, channel, share)
        give(yes & reached, at_start, MARKETING, channel, mechanism, never)
        say(no & reached, at_start, MARKETING, channel, DENIED, mechanism)

    # Surveys, personalisation, advertising: over all their channels.
    yes, no = answers(SURVEYS, ALL, 0.68)
    surveys_from = np.where(yes, at_start, NEVER)
    stop = later("surveys withdrawn at", 0.05)
    surveys_until = give(yes, at_start, SURVEYS, ALL, mechanism, stop)
    say(no, at_start, SURVEYS, ALL, DENIED, mechanism)
    say(yes & people.has_account, stop, SURVEYS, ALL, WITHDRAWN, PREFERENCE_CENTRE, system=WEBSHOP)
    say(yes & ~people.has_account, stop, SURVEYS, ALL, WITHDRAWN, STORE_FORM)

    yes, no = answers(ADVERTISING, ALL, 0.40)
    ends = yes & people.has_account
    stop = np.where(ends, later("advertising withdrawn at", 0.08), NEVER)
    give(yes, at_start, ADVERTISING, ALL, mechanism, stop)
    say(no, at_start, ADVERTISING, ALL, DENIED, mechanism)
    say(ends, stop, ADVERTISING, ALL, WITHDRAWN, PREFERENCE_CENTRE, system=WEBSHOP)

    yes, no = answers(PERSONALISATION, ALL, 0.58)
    ends = yes & people.has_account
    say(yes, at_start, PERSONALISATION, ALL, GRANTED, mechanism)
    say(no, at_start, PERSONALISATION, ALL, DENIED, mechanism)
    say(ends, later("personalisation withdrawn at", 0.04), PERSONALISATION, ALL, WITHDRAWN,
        PREFERENCE_CENTRE, system=WEBSHOP)  # fmt: skip
    online = asked & people.has_account
    objects_at = later("objects at", 0.006)
    say(online, objects_at, ANALYTICS, ALL, DENIED, PREFERENCE_CENTRE, system=WEBSHOP)

    # Contradictions: a form keyed in with the very second of an answer on the web.
    torn_at = later("contradicts at", 0.005)
    say(online, torn_at, PERSONALISATION, ALL, GRANTED, STORE_FORM)
    say(online, torn_at, PERSONALISATION, ALL, WITHDRAWN, PREFERENCE_CENTRE, system=WEBSHOP)

    return Consents(
        statements=said.finish(),
        email_from=email_from,
        email_until=email_until,
        email_again_from=again,
        unsubscribed_at=unsubscribed_at,
        sms_from=sms_from,
        sms_until=sms_until,
        surveys_from=surveys_from,
        surveys_until=surveys_until,
    )


def final_states(world: World, consents: Consents, people: People) -> Columns:
    """Return the state of each person, purpose and channel at `now`, as text.

    The latest statement counts; different statements of the same second are a conflict.
    """
    said = consents.statements
    scale = len(PURPOSES) * len(CHANNELS)
    subject = said["row"] * scale + said["purpose"] * len(CHANNELS) + said["channel"]
    order = np.lexsort((said["status"], said["at"], subject))
    subject, sorted_said = subject[order], take(said, order)
    is_last = np.append(subject[1:] != subject[:-1], True) if len(subject) else np.array([], bool)
    last = np.flatnonzero(is_last)
    names = np.array([*STATUSES, "expired", "conflict"])
    code = sorted_said["status"][last].copy()
    code[(code == GRANTED) & (sorted_said["expires_at"][last] <= world.now)] = 4
    before = np.maximum(last - 1, 0)
    torn = (
        (last > 0)
        & (subject[before] == subject[last])
        & (sorted_said["at"][before] == sorted_said["at"][last])
        & (sorted_said["status"][before] != sorted_said["status"][last])
    )
    code[torn] = 5
    return {
        "person": people.index[sorted_said["row"][last]],
        "purpose": np.array(PURPOSES)[sorted_said["purpose"][last]],
        "channel": np.array(CHANNELS)[sorted_said["channel"][last]],
        "status": names[code],
        "since": sorted_said["at"][last],
    }
