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

    types: Integers
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
    type_counts: Integers
    """Identifiers of each type that the customer of this identifier has, or had when absorbed."""
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
        self.counts = np.zeros((size, type_count), dtype=np.int64)
        self.counts[np.arange(size), identifiers.types] = 1
        self.absorbed_into = np.full(size, NONE, dtype=np.int64)
        self.absorbed_in = np.full(size, NEVER, dtype=np.int64)
        self.absorbed_by = np.full(size, NONE, dtype=np.int64)
        self.verdicts = np.full(len(links.left), Verdict.LINKED, dtype=np.int8)
        self.culprits = np.full(len(links.left), NONE, dtype=np.int8)
        self.customers_seen = np.zeros(size, dtype=np.int64)
        self.neighbours = _Neighbours(identifiers, links, limits)

    def run(self) -> History:
        links, types = self.links, self.identifiers.types
        self._refuse_types_that_do_not_link()
        weaker = np.maximum(types[links.left], types[links.right])
        begins = np.diff(links.loads, prepend=NONE) != 0
        begins |= np.diff(weaker, prepend=NONE) != 0
        for start, stop in pairwise([*np.flatnonzero(begins).tolist(), len(weaker)]):
            candidates = np.arange(start, stop)
            candidates = candidates[self.verdicts[candidates] == Verdict.LINKED]
            candidates = self._refuse_shared_values(candidates, int(weaker[start]), start, stop)
            self._link(candidates, int(links.loads[start]))
        return History(
            absorbed_into=self.absorbed_into,
            absorbed_in=self.absorbed_in,
            absorbed_by=self.absorbed_by,
            type_counts=self.counts,
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
        ends = np.concatenate([self.links.left[candidates], self.links.right[candidates]])
        ends = np.unique(ends[(types[ends] == code) & (limits.max_customers[code] != NEVER)])
        values, beside, is_new = self.neighbours.pairs(ends, start, stop)
        values, customers = np.append(values, ends), self._customers(np.append(beside, ends))
        is_new = np.append(is_new, np.zeros(len(ends), dtype=np.bool_))
        # The value itself makes nobody known.
        people = self.counts[np.ix_(customers, limits.is_person)].sum(axis=1)
        is_known = people > (limits.is_person[code] & (customers == self._customers(values)))
        pairs = values * len(types) + customers
        before, now = np.unique(pairs[is_known & ~is_new]), np.unique(pairs[is_known])
        newcomers = np.setdiff1d(now, before, assume_unique=True)
        np.add.at(self.customers_seen, newcomers // len(types), 1)
        values, customer_counts = np.unique(now // len(types), return_counts=True)
        np.maximum.at(self.customers_seen, values, customer_counts)
        for side in (self.links.left, self.links.right):
            ends = side[candidates]
            refused = candidates[self.customers_seen[ends] > limits.max_customers[types[ends]]]
            self.verdicts[refused] = Verdict.SHARED_VALUE
            self.culprits[refused] = types[side[refused]]
        return candidates[self.verdicts[candidates] == Verdict.LINKED]

    def _link(self, candidates: Integers, load: int) -> None:
        """Join the customers at the ends of the candidates as far as the limits allow."""
        left = self._customers(self.links.left[candidates])
        right = self._customers(self.links.right[candidates])
        apart = left != right
        candidates, left, right = candidates[apart], left[apart], right[apart]
        if not len(candidates):
            return
        customers, places = np.unique(np.stack([left, right], axis=1), return_inverse=True)
        places = places.reshape(-1, 2)
        graph = coo_array(
            (np.ones(len(places), dtype=np.int8), (places[:, 0], places[:, 1])),
            shape=(len(customers), len(customers)),
        )
        group_count, group = connected_components(graph, directed=False)
        totals = np.stack(
            [
                np.bincount(group, weights=self.counts[customers, code], minlength=group_count)
                for code in range(self.counts.shape[1])
            ],
            axis=1,
        )
        is_over = (totals > self.limits.max_per_customer).any(axis=1)
        # Customers are in order of age: the first of a group is its oldest.
        _, oldest = np.unique(group, return_index=True)
        survivor = oldest[group]
        if is_over.any():
            contested = np.flatnonzero(is_over[group[places[:, 0]]])
            members = np.flatnonzero(is_over[group])
            survivor[members] = members
            self._try_one_by_one(candidates, places, contested, customers, survivor)
        made = self.verdicts[candidates] == Verdict.LINKED
        touched, first = np.unique(places[made].ravel(), return_index=True)
        trigger = np.full(len(customers), NONE, dtype=np.int64)
        trigger[touched] = candidates[made][first // 2]
        self._absorb(customers, customers[survivor], trigger, load)

    def _try_one_by_one(
        self,
        candidates: Integers,
        places: Integers,
        contested: Integers,
        customers: Integers,
        survivor: Integers,
    ) -> None:
        """Link the contested candidates in order, refusing each that breaks a limit."""
        holder = {place: place for place in np.unique(places[contested]).tolist()}
        counts = {place: self.counts[customers[place]].tolist() for place in holder}
        most = self.limits.max_per_customer.tolist()

        def find(place: int) -> int:
            while holder[place] != place:
                holder[place] = holder[holder[place]]
                place = holder[place]
            return place

        for position in contested.tolist():
            left, right = (find(place) for place in places[position].tolist())
            if left == right:
                continue
            together = [one + other for one, other in zip(counts[left], counts[right], strict=True)]
            culprit = next((code for code, n in enumerate(together) if n > most[code]), NONE)
            if culprit != NONE:
                self.verdicts[candidates[position]] = Verdict.TOO_MANY_VALUES
                self.culprits[candidates[position]] = culprit
                continue
            older, newer = min(left, right), max(left, right)
            holder[newer] = older
            counts[older] = together
        for place in holder:
            survivor[place] = find(place)

    def _absorb(
        self, customers: Integers, survivors: Integers, trigger: Integers, load: int
    ) -> None:
        lost = customers != survivors
        gone, into = customers[lost], survivors[lost]
        self.parent[gone] = into
        self.absorbed_into[gone] = into
        self.absorbed_in[gone] = load
        self.absorbed_by[gone] = trigger[lost]
        np.add.at(self.counts, into, self.counts[gone])

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
        owner = np.concatenate([links.left, links.right])
        other = np.concatenate([links.right, links.left])
        position = np.tile(np.arange(len(links.left)), 2)
        wanted = (limits.max_customers[types[owner]] != NEVER) & limits.links[types[other]]
        wanted &= types[other] < types[owner]
        owner, other, position = owner[wanted], other[wanted], position[wanted]
        order = np.lexsort((position, owner))
        self.other, self.position = other[order], position[order]
        self.first = np.searchsorted(owner[order], np.arange(len(types) + 1))

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
