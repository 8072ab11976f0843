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

    Sorted by load; in a load all pairs of two person types come before the others.
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

    In a load, pairs of two person types are judged first: e-mail and CRM number say who somebody
    is before a cookie gets the chance to join two people. Groups that break no limit are linked
    as a whole; only in the others the links are tried one by one, in their order.
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
        # A type with at most one value per customer numbers customers; the number of a customer
        # can then be kept in one array per such type.
        self.numbering_types = np.flatnonzero(limits.max_per_customer == 1)
        self.numbers = {
            code: np.where(identifiers.types == code, np.arange(size), NONE)
            for code in self.numbering_types
        }
        self.is_shared = np.zeros(size, dtype=np.bool_)
        self.neighbours = _Neighbours(identifiers, links, limits)

    def run(self) -> History:
        links, types = self.links, self.identifiers.types
        self._refuse_types_that_do_not_link()
        is_person = self.limits.is_person
        between_people = is_person[types[links.left]] & is_person[types[links.right]]
        starts = np.flatnonzero(np.diff(links.loads, prepend=NONE))
        for start, stop in pairwise([*starts.tolist(), len(links.loads)]):
            turn = start + int(between_people[start:stop].sum())
            for first, last, is_person_phase in ((start, turn, True), (turn, stop, False)):
                if first < last:
                    candidates = np.arange(first, last)
                    candidates = candidates[self.verdicts[candidates] == Verdict.LINKED]
                    candidates = self._refuse_shared_values(candidates, stop, is_person_phase)
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
        self, candidates: Integers, known_links: int, is_person_phase: bool
    ) -> Integers:
        """Refuse links of values seen with too many numbered customers; return the others.

        An e-mail is counted by the customer numbers that stood beside it; a device or cookie by
        the customers whose person identifiers stood beside it, whatever they logged in with.
        """
        types = self.identifiers.types
        ends = np.concatenate([self.links.left[candidates], self.links.right[candidates]])
        ends = ends[(self.limits.max_customers[types[ends]] != NEVER) & ~self.is_shared[ends]]
        ends = ends[self.limits.is_person[types[ends]] == is_person_phase]
        if len(ends):
            judged, beside = self.neighbours.pairs(np.unique(ends), known_links)
            customers = self._customers(beside)
            for code in self.numbering_types:
                if is_person_phase:
                    numbers = np.where(types[beside] == code, beside, NONE)
                else:
                    numbers = self.numbers[code][customers]
                seen = numbers != NONE
                pairs = np.unique(np.stack([judged[seen], numbers[seen]], axis=1), axis=0)
                values, customer_counts = np.unique(pairs[:, 0], return_counts=True)
                allowed = self.limits.max_customers[types[values]]
                self.is_shared[values[customer_counts > allowed]] = True
        for side in (self.links.left, self.links.right):
            refused = candidates[self.is_shared[side[candidates]]]
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
        for numbers in self.numbers.values():
            np.maximum.at(numbers, into, numbers[gone])

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
    """For values whose customers are limited: the person identifiers seen beside each."""

    def __init__(self, identifiers: Identifiers, links: Links, limits: Limits) -> None:
        types = identifiers.types
        owner = np.concatenate([links.left, links.right])
        other = np.concatenate([links.right, links.left])
        position = np.tile(np.arange(len(links.left)), 2)
        wanted = (limits.max_customers[types[owner]] != NEVER) & limits.is_person[types[other]]
        owner, other, position = owner[wanted], other[wanted], position[wanted]
        order = np.lexsort((position, owner))
        self.other, self.position = other[order], position[order]
        self.first = np.searchsorted(owner[order], np.arange(len(types) + 1))

    def pairs(self, values: Integers, known_links: int) -> tuple[Integers, Integers]:
        """Return (value, neighbour) for all neighbours that the first `known_links` links show."""
        sizes = self.first[values + 1] - self.first[values]
        owner = np.repeat(values, sizes)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        places = self.first[owner] + within
        known = self.position[places] < known_links
        return owner[known], self.other[places[known]]
