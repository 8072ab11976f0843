"""Grows customers out of linked identifiers, load by load, and remembers every step.

Numbers in, numbers out: identifiers are positions 0, 1, 2… from the oldest to the newest, so the
oldest identifier of a customer is its smallest, and that one names the customer for good.
Every load is worked through in the order in which it came, with what was known by then. What a
load decides depends on nothing later: working through all loads again from nothing ends where
working through them one by one did. A link once made is never unmade.
Keeps out: keys, names and files (that is `resolution`).
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

NEVER = np.iinfo(np.int64).max
NONE = -1


class Verdict(IntEnum):
    """Why a link was made or not."""

    LINKED = 0
    TYPE_DOES_NOT_LINK = 1
    SHARED_VALUE = 2
    TOO_MANY_VALUES = 3


@dataclass(frozen=True)
class Limits:
    """The rules as arrays, one element per identifier type; NEVER means no limit."""

    links: Booleans
    max_per_customer: Integers
    max_customers: Integers
    is_person: Booleans
    """Whether the type names a person (not a device or a cookie)."""


@dataclass(frozen=True)
class Identifiers:
    """All identifiers, the oldest first."""

    types: NDArray[np.int8]
    loads: Integers


@dataclass(frozen=True)
class Links:
    """All pairs seen on one record, in the order in which they are to be judged.

    Sorted by load; in a load by the type of the weaker end.
    """

    left: Integers
    right: Integers
    loads: Integers


@dataclass(frozen=True)
class History:
    """How the customers grew; every array has one element per identifier or per link.

    A customer is known by its oldest identifier. `absorbed_into` tells which older customer took
    the customer of this identifier over (NONE: none did), in load `absorbed_in` (NEVER) and by
    which link `absorbed_by` (NONE).
    """

    absorbed_into: Integers
    absorbed_in: Integers
    absorbed_by: Integers
    person_counts: NDArray[np.int32]
    """Identifiers of types that name a person which the customer of this identifier has, or had
    when absorbed."""
    verdicts: NDArray[np.int8]
    culprits: NDArray[np.int8]
    """Type whose rule refused the link, NONE for a link made."""


def grow(identifiers: Identifiers, links: Links, limits: Limits) -> History:
    """Work through all loads and return what became of every identifier and every link.

    In a load the types are heard one after the other, the most believed first: e-mail and CRM
    number say who somebody is before a phone, and both before a cookie gets the chance to join two
    people. Groups that break no limit are linked as a whole; only in the others the links are tried
    one by one, in their order.
    """
    return _Growth(identifiers, links, limits).run()


class _Growth:
    """The state between two loads."""

    def __init__(self, identifiers: Identifiers, links: Links, limits: Limits) -> None:
        self.identifiers, self.links, self.limits = identifiers, links, limits
        size, type_count = len(identifiers.types), len(limits.links)
        self.parent = np.arange(size)
        # One row per type, so that adding up one type walks through memory in order.
        self.counts = np.zeros((type_count, size), dtype=np.int32)
        self.counts[identifiers.types, np.arange(size)] = 1
        self.person_counts = limits.is_person[identifiers.types].astype(np.int32)
        self.absorbed_into = np.full(size, NONE, dtype=np.int64)
        self.absorbed_in = np.full(size, NEVER, dtype=np.int64)
        self.absorbed_by = np.full(size, NONE, dtype=np.int64)
        self.verdicts = np.full(len(links.left), Verdict.LINKED, dtype=np.int8)
        self.culprits = np.full(len(links.left), NONE, dtype=np.int8)
        self.customers_seen = np.zeros(size, dtype=np.int32)
        self.neighbours = _Neighbours(identifiers, links, limits)
        # Where a customer stands among those of the links in hand; only those are read.
        self.places = np.empty(size, dtype=np.int64)

    def run(self) -> History:
        links, types = self.links, self.identifiers.types
        self._refuse_types_that_do_not_link()
        weaker = np.maximum(types[links.left], types[links.right])
        begins = np.diff(links.loads, prepend=NONE) != 0
        begins |= np.diff(weaker, prepend=NONE) != 0
        for start, stop in pairwise([*np.flatnonzero(begins).tolist(), len(weaker)]):
            candidates = start + np.flatnonzero(self.verdicts[start:stop] == Verdict.LINKED)
            candidates = self._refuse_shared_values(candidates, int(weaker[start]), start, stop)
            self._link(candidates, int(links.loads[start]))
        return History(
            absorbed_into=self.absorbed_into,
            absorbed_in=self.absorbed_in,
            absorbed_by=self.absorbed_by,
            person_counts=self.person_counts,
            verdicts=self.verdicts,
            culprits=self.culprits,
        )

    def _refuse_types_that_do_not_link(self) -> None:
        for ends in (self.links.left, self.links.right):
            types = self.identifiers.types[ends]
            refused = ~self.limits.links[types]
            self.verdicts[refused] = Verdict.TYPE_DOES_NOT_LINK
            self.culprits[refused] = types[refused]

    def _refuse_shared_values(
        self, candidates: Integers, code: int, start: int, stop: int
    ) -> Integers:
        """Refuse links of values seen with too many customers; return the others.

        A value is counted by the known customers whose identifiers of more believed types stood
        beside it, and by the one that it belongs to. Whom the new links show for the first time is
        one more than were seen before: counting only who is there now, a phone that brings another
        guest every day would be seen with two customers each time, and swallow them one by one.
        """
        types, limits = self.identifiers.types, self.limits
        sides = [side[candidates] for side in (self.links.left, self.links.right)]
        if limits.max_customers[code] != NEVER:
            ends = _distinct(np.concatenate([ends[types[ends] == code] for ends in sides]))
            self._see_customers(ends, code, start, stop)
        for ends in sides:
            is_over = self.customers_seen[ends] > limits.max_customers[types[ends]]
            refused = candidates[is_over]
            self.verdicts[refused] = Verdict.SHARED_VALUE
            self.culprits[refused] = types[ends[is_over]]
        return candidates[self.verdicts[candidates] == Verdict.LINKED]

    def _see_customers(self, ends: Integers, code: int, start: int, stop: int) -> None:
        """Count the customers that the values `ends` of a type have been seen with by now."""
        values, beside, is_new = self.neighbours.pairs(ends, start, stop)
        values, customers = np.append(values, ends), self._customers(np.append(beside, ends))
        is_new = np.append(is_new, np.zeros(len(ends), dtype=np.bool_))
        # The value itself makes nobody known.
        own = customers == self._customers(values)
        is_known = self.person_counts[customers] > (self.limits.is_person[code] & own)
        # A customer's old sighting sorts before its new ones: the first says whether it is new.
        pairs = (values * len(self.parent) + customers)[is_known]
        sightings = np.sort(pairs * 2 + is_new[is_known])
        sightings = sightings[np.diff(sightings >> 1, prepend=NONE) != 0]
        values, is_newcomer = (sightings >> 1) // len(self.parent), sightings & 1
        begins = np.flatnonzero(np.diff(values, prepend=NONE) != 0)
        if not len(begins):
            return
        values = values[begins]
        seen = self.customers_seen[values] + np.add.reduceat(is_newcomer, begins)
        self.customers_seen[values] = np.maximum(seen, np.diff(begins, append=len(is_newcomer)))

    def _link(self, candidates: Integers, load: int) -> None:
        """Join the customers at the ends of the candidates as far as the limits allow."""
        left = self._customers(self.links.left[candidates])
        right = self._customers(self.links.right[candidates])
        apart = left != right
        candidates, left, right = candidates[apart], left[apart], right[apart]
        if not len(candidates):
            return
        customers = _distinct(np.concatenate([left, right]))
        self.places[customers] = np.arange(len(customers))
        left, right = self.places[left], self.places[right]
        graph = coo_array(
            (np.ones(len(left), dtype=np.int8), (left, right)),
            shape=(len(customers), len(customers)),
        )
        group_count, group = connected_components(graph, directed=False)
        is_over = np.zeros(group_count, dtype=np.bool_)
        for counts, most in zip(self.counts, self.limits.max_per_customer, strict=True):
            if most != NEVER:
                totals = np.bincount(group, weights=counts[customers], minlength=group_count)
                is_over |= totals > most
        # Customers are in order of age: the first of a group is its oldest.
        survivor = _first_places(group, group_count)[group]
        if is_over.any():
            contested = np.flatnonzero(is_over[group[left]])
            members = np.flatnonzero(is_over[group])
            survivor[members] = members
            self._try_one_by_one(candidates, left, right, contested, customers, survivor)
        made = np.flatnonzero(self.verdicts[candidates] == Verdict.LINKED)
        first = _first_places(np.stack([left[made], right[made]], axis=1).ravel(), len(customers))
        lost = np.flatnonzero(survivor != np.arange(len(customers)))
        trigger = candidates[made[first[lost] // 2]]
        self._absorb(customers[lost], customers[survivor[lost]], trigger, load)

    def _try_one_by_one(
        self,
        candidates: Integers,
        left: Integers,
        right: Integers,
        contested: Integers,
        customers: Integers,
        survivor: Integers,
    ) -> None:
        """Link the contested candidates in order, refusing each that breaks a limit."""
        places = _distinct(np.concatenate([left[contested], right[contested]]))
        holder = {place: place for place in places.tolist()}
        counts = dict(zip(holder, self.counts[:, customers[places]].T.tolist(), strict=True))
        most = self.limits.max_per_customer.tolist()

        def find(place: int) -> int:
            while holder[place] != place:
                holder[place] = holder[holder[place]]
                place = holder[place]
            return place

        ends = zip(left[contested].tolist(), right[contested].tolist(), strict=True)
        for position, (one, other) in zip(contested.tolist(), ends, strict=True):
            older, newer = sorted((find(one), find(other)))
            if older == newer:
                continue
            together = [sum(pair) for pair in zip(counts[older], counts[newer], strict=True)]
            culprit = next((code for code, n in enumerate(together) if n > most[code]), NONE)
            if culprit != NONE:
                self.verdicts[candidates[position]] = Verdict.TOO_MANY_VALUES
                self.culprits[candidates[position]] = culprit
                continue
            holder[newer] = older
            counts[older] = together
        for place in holder:
            survivor[place] = find(place)

    def _absorb(self, gone: Integers, into: Integers, trigger: Integers, load: int) -> None:
        self.parent[gone] = into
        self.absorbed_into[gone] = into
        self.absorbed_in[gone] = load
        self.absorbed_by[gone] = trigger
        for counts in (*self.counts, self.person_counts):
            np.add.at(counts, into, counts[gone])

    def _customers(self, places: Integers) -> Integers:
        """Return the customer that each identifier belongs to now."""
        holders = self.parent[places]
        while True:
            higher = self.parent[holders]
            if np.array_equal(higher, holders):
                break
            holders = higher
        self.parent[places] = holders
        return holders


class _Neighbours:
    """For values whose customers are limited: the more believed identifiers seen beside each.

    Those whose type does not link say nothing about how many customers there are.
    """

    def __init__(self, identifiers: Identifiers, links: Links, limits: Limits) -> None:
        types = identifiers.types
        owners, others, positions = [], [], []
        for owner, other in ((links.left, links.right), (links.right, links.left)):
            wanted = (limits.max_customers[types[owner]] != NEVER) & limits.links[types[other]]
            wanted = np.flatnonzero(wanted & (types[other] < types[owner]))
            owners.append(owner[wanted])
            others.append(other[wanted])
            positions.append(wanted)
        owner = np.concatenate(owners)
        order = np.argsort(owner, kind="stable")
        self.other = np.concatenate(others)[order]
        self.position = np.concatenate(positions)[order]
        self.first = np.zeros(len(types) + 1, dtype=np.int64)
        np.cumsum(np.bincount(owner, minlength=len(types)), out=self.first[1:])

    def pairs(self, values: Integers, start: int, stop: int) -> tuple[Integers, Integers, Booleans]:
        """Return (value, neighbour, is new) for all neighbours that links before `stop` show.

        New is what the links from `start` on show.
        """
        sizes = self.first[values + 1] - self.first[values]
        owner = np.repeat(values, sizes)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = self.first[owner] + within
        position = self.position[places]
        known = position < stop
        return owner[known], self.other[places[known]], position[known] >= start


def _distinct(values: Integers) -> Integers:
    """Return the different values in order; 5 times as fast as np.unique, which hashes them."""
    values = np.sort(values)
    return values[np.diff(values, prepend=NONE) != 0]


def _first_places(values: Integers, count: int) -> Integers:
    """Return where each of 0, 1… `count` - 1 stands first in `values`; their length: nowhere."""
    places = np.full(count, len(values), dtype=np.int64)
    np.minimum.at(places, values, np.arange(len(values)))
    return places
