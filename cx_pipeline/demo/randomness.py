"""Random numbers that are pure functions of a seed, a name and keys.

A draw is a hash of what it is about ("is order 17 of person 4 late?"), never the next number
of a stream. So a world that is one day longer repeats every earlier draw, and customers can be
simulated in chunks of any size.
Keeps out: what is drawn.
"""

import zlib

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the finaliser of splitmix64 (Steele, Lea and Flood 2014) of each value."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


class Dice:
    """Draws for one seed; every method takes the draw's name and the keys it is about."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def bits(self, name: str, *keys: ArrayLike) -> NDArray[np.uint64]:
        """Return 64 random bits per key."""
        salt = (zlib.crc32(name.encode()) * _GOLDEN + self._seed * 0xD1342543DE82EF95) & _MASK
        mixed: NDArray[np.uint64] = np.uint64(salt)  # type: ignore[assignment]
        for key in keys:
            number = np.atleast_1d(np.asarray(key)).astype(np.int64).view(np.uint64)
            mixed = _mix(number * np.uint64(_GOLDEN) + mixed)
        return mixed

    def uniform(self, name: str, *keys: ArrayLike) -> Floats:
        """Return a number above 0 and below 1 per key."""
        return ((self.bits(name, *keys) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def chance(self, name: str, probability: ArrayLike, *keys: ArrayLike) -> Flags:
        """Return per key whether something of this probability happens."""
        return self.uniform(name, *keys) < probability

    def below(self, name: str, high: ArrayLike, *keys: ArrayLike) -> Integers:
        """Return an integer from 0 to `high - 1` per key."""
        return (self.uniform(name, *keys) * high).astype(np.int64)

    def normal(self, name: str, *keys: ArrayLike) -> Floats:
        """Return a standard normal number per key."""
        return ndtri(self.uniform(name, *keys))

    def exponential(self, name: str, *keys: ArrayLike) -> Floats:
        """Return an exponential number of mean 1 per key."""
        return -np.log(self.uniform(name, *keys))

    def poisson(self, name: str, mean: ArrayLike, *keys: ArrayLike, most: int = 12) -> Integers:
        """Return a Poisson count per key, at most `most`."""
        draw = self.uniform(name, *keys)
        term = np.exp(-np.asarray(mean, dtype=np.float64))
        cumulated = term.copy()
        count = np.zeros(draw.shape, dtype=np.int64)
        for step in range(1, most + 1):
            count += draw > cumulated
            term = term * mean / step
            cumulated = cumulated + term
        return count

    def pick(self, name: str, weights: ArrayLike, *keys: ArrayLike) -> Integers:
        """Return a position in `weights` per key, in proportion to the weights."""
        cumulated = np.cumsum(np.asarray(weights, dtype=np.float64))
        draw = self.uniform(name, *keys) * cumulated[-1]
        return np.minimum(np.searchsorted(cumulated, draw, side="right"), len(cumulated) - 1)

    def scramble(self, name: str, values: ArrayLike, bits: int) -> Integers:
        """Return a permutation of the integers below `2**bits`: unique numbers without an order."""
        mask = np.uint64((1 << bits) - 1)
        half = np.uint64(bits // 2 + 1)
        number = np.asarray(values).astype(np.int64).view(np.uint64)
        for step in range(3):
            factor = self.bits(name, [step])[0] | np.uint64(1)
            number = (number * factor + self.bits(name, [step + 10])[0]) & mask
            number ^= number >> half
        return number.astype(np.int64)
