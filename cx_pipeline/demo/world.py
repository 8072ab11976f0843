"""One world: its seed, its days, its seasons, its clocks.

Times are whole seconds since 1970 in UTC. Days are the company's, by the clock of Copenhagen:
`now` is the end of the last one, and nothing that happens at or after it is exported.
Keeps out: customers and files.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, lru_cache

import numpy as np

from cx_pipeline.demo.catalogue import CAMPAIGNS, COUNTRY_POSITION, Products, Staff
from cx_pipeline.demo.formatting import DAY_SECONDS
from cx_pipeline.demo.names import COUNTRIES
from cx_pipeline.demo.randomness import Dice, Floats, Integers

HOME_ZONE = "Europe/Copenhagen"
"""Time zone of the company."""
NEVER = np.int64(2**60)
"""Second of what does not happen: far in the future."""
BLOCK_DAYS = 30
"""Rare things are drawn per person and block of this many days from the start."""
HISTORY_DAYS = 365
"""The ERP and the tills also know the orders of this many days before the first."""
NEW_SHARE = 0.26
"""Share of the first persons who join after the start of the world."""
JOINING_DAYS = 410
"""Days over which they do; then others join at the same pace."""

_BRITISH_ZONE = "Europe/London"
_WINTER_OFFSETS = {HOME_ZONE: 3_600, _BRITISH_ZONE: 0}
_MONTH_FACTOR = (0.80, 0.92, 0.93, 0.95, 1.03, 0.95, 0.86, 0.92, 0.97, 1.00, 1.28, 1.42)
_WEEKDAY_FACTOR = (0.95, 0.92, 0.95, 1.0, 1.15, 1.13, 0.90)


@lru_cache(maxsize=8)
def _transitions(zone: str) -> tuple[Integers, Integers]:
    """Return when a zone's offset changes, and the offsets in seconds, from 2000 to 2099.

    European summer time (directive 2000/84/EC) begins and ends at 01:00 UTC on the last Sundays
    of March and October.
    """
    winter = _WINTER_OFFSETS[zone]
    starts, offsets = [0], [winter]
    for year in range(2000, 2100):
        for month, offset in ((3, winter + 3_600), (10, winter)):
            last = date(year, month, 31)
            sunday = last - timedelta(days=(last.weekday() + 1) % 7)
            starts.append(int(datetime(*sunday.timetuple()[:3], 1, tzinfo=UTC).timestamp()))
            offsets.append(offset)
    return np.array(starts), np.array(offsets)


def to_local(seconds: Integers, zone: str) -> Integers:
    """Return UTC seconds as seconds of the zone's own clock."""
    starts, offsets = _transitions(zone)
    return seconds + offsets[np.searchsorted(starts, seconds, side="right") - 1]


def to_utc(local_seconds: Integers, zone: str) -> Integers:
    """Return seconds of a zone's clock as UTC seconds."""
    starts, offsets = _transitions(zone)
    guess = local_seconds - offsets[np.searchsorted(starts, local_seconds, side="right") - 1]
    return local_seconds - offsets[np.searchsorted(starts, guess, side="right") - 1]


def by_country(
    function: Callable[[Integers, str], Integers], seconds: Integers, country: Integers
) -> Integers:
    """Apply `to_local` or `to_utc` with the zone of each row's country."""
    result = seconds.copy()
    british = country == COUNTRY_POSITION["GB"]
    result[british] = function(seconds[british], _BRITISH_ZONE)
    result[~british] = function(seconds[~british], HOME_ZONE)
    return result


@dataclass(frozen=True)
class World:
    """The frame of one simulation."""

    seed: int
    customers: int
    start: date
    until: date

    @cached_property
    def dice(self) -> Dice:
        """Every draw of this world."""
        return Dice(self.seed)

    @cached_property
    def products(self) -> Products:
        """The goods."""
        return Products(self.dice)

    @cached_property
    def staff(self) -> Staff:
        """The employees."""
        return Staff(self.dice)

    @cached_property
    def begins(self) -> int:
        """Midnight UTC of the first day."""
        return int(datetime(*self.start.timetuple()[:3], tzinfo=UTC).timestamp())

    @cached_property
    def history_begins(self) -> int:
        """Midnight UTC of the first day of which orders are known."""
        return self.begins - HISTORY_DAYS * DAY_SECONDS

    @cached_property
    def days(self) -> int:
        """How many days the world has."""
        return (self.until - self.start).days + 1

    @cached_property
    def now(self) -> int:
        """Midnight after the last day."""
        return int(self.end_of_day(np.array([self.days - 1]))[0])

    def end_of_day(self, day: Integers) -> Integers:
        """Return the midnight, as UTC second, after a day of the world."""
        return to_utc(self.begins + (day + 1) * DAY_SECONDS, HOME_ZONE)

    @cached_property
    def growth(self) -> Floats:
        """Persons after each day of the blocks begun, as a multiple of the first ones."""
        later = np.maximum(np.arange(1, self.blocks * BLOCK_DAYS + 1) - JOINING_DAYS, 0)
        return 1 + later * NEW_SHARE / JOINING_DAYS

    @cached_property
    def persons(self) -> int:
        """How many persons: the first, and who joined after all of these had."""
        return math.ceil(self.customers * self.growth[self.days - 1])

    @cached_property
    def blocks(self) -> int:
        """How many blocks the world has begun."""
        return -(-self.days // BLOCK_DAYS)

    @cached_property
    def season(self) -> Floats:
        """How much is bought on each day, 1 being an average one: history, then blocks begun."""
        numbers = range(-HISTORY_DAYS, self.blocks * BLOCK_DAYS)
        days = [self.start + timedelta(days=day) for day in numbers]
        return np.array(
            [_MONTH_FACTOR[day.month - 1] * _WEEKDAY_FACTOR[day.weekday()] for day in days]
        )

    @cached_property
    def _season_clock(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.season)])

    def seasonal_to_seconds(self, seasonal_days: Floats) -> Integers:
        """Return the UTC second at which so many average days of history and world have passed.

        Beyond the simulated blocks the answer is `now` and more, which is all one needs to know.
        """
        clock = self._season_clock
        day = np.interp(seasonal_days, clock, np.arange(len(clock)), right=len(clock) + 1.0)
        return self.history_begins + (day * DAY_SECONDS).astype(np.int64)

    def seconds_to_seasonal(self, seconds: Integers) -> Floats:
        """Return how many average days of history and world have passed at a second."""
        day = (seconds - self.history_begins) / DAY_SECONDS
        return np.interp(day, np.arange(len(self._season_clock)), self._season_clock)

    def day_of(self, seconds: Integers) -> Integers:
        """Return the day of the world, 0 being the first, of a UTC second."""
        return (to_local(seconds, HOME_ZONE) - self.begins) // DAY_SECONDS

    def month_of(self, seconds: Integers) -> Integers:
        """Return the months since January 1970 in which UTC seconds lie."""
        day = to_local(seconds, HOME_ZONE) // DAY_SECONDS
        return day.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)

    def at_hour(self, day_seconds: Integers, hour: Floats) -> Integers:
        """Return the second at a decimal hour of the day in which a second lies."""
        return day_seconds // DAY_SECONDS * DAY_SECONDS + (hour * 3600).astype(np.int64)

    @cached_property
    def _population(self) -> Floats:
        """Persons of each campaign's countries, by day of the blocks begun."""
        weights = [
            sum(COUNTRIES[COUNTRY_POSITION[code]].weight for code in campaign.countries)
            for campaign in CAMPAIGNS
        ]
        return self.customers * np.outer(weights, self.growth)

    @cached_property
    def spend(self) -> Floats:
        """Kroner spent by campaign and day of the blocks begun."""
        days = self.blocks * BLOCK_DAYS
        weeks = np.arange(days) // 7
        rows = []
        for position, campaign in enumerate(CAMPAIGNS):
            per_person = campaign.orders_per_customer_year / 365 * campaign.cost_per_order
            is_on = (weeks + campaign.start_week) % 4 < campaign.weeks_on
            noise = 0.8 + 0.4 * self.dice.uniform("spend", [position], np.arange(days))
            rows.append(per_person * is_on * noise * self.season[HISTORY_DAYS:])
        return self._population * np.array(rows)

    @cached_property
    def spend_per_customer(self) -> Floats:
        """Kroner spent per customer of a campaign's countries, by day."""
        return self.spend / self._population

    @cached_property
    def caused_per_customer(self) -> Floats:
        """Orders that a campaign truly causes per customer of its countries, by day."""
        cost = np.array([campaign.cost_per_order for campaign in CAMPAIGNS])
        return self.spend_per_customer / cost[:, None]
