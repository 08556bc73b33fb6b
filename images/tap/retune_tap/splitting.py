"""Who gets which arm: a pure function of an id, a salt and the weight. No clock, no counters."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

BUCKETS = 32
_SPAN = float(2**53)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an id lies: `position` in [0, 1) decides its arm, `bucket` groups ids for the evidence.

    `identity` tells ids apart in bounded tables (None: the request brought no id). The three are independent.
    """

    position: float
    bucket: int
    identity: int | None


class Splitter:
    """Places ids under one salt, so that a new rollout shuffles everybody anew."""

    def __init__(self, salt: str, chance: random.Random) -> None:
        """`chance` places requests that bring no id, each on its own."""
        # One keyed hash whose parts are used apart is as good as several hashes with salts of their own.
        self._hash = hashlib.blake2b(key=hashlib.sha256(salt.encode()).digest(), digest_size=20)
        self._chance = chance

    def place(self, sticky: str | None) -> Place:
        """The place of an id; without one, a place by chance."""
        if not sticky:
            return Place(self._chance.random(), self._chance.getrandbits(5), None)
        hashed = self._hash.copy()
        hashed.update(sticky.encode("utf-8", "surrogateescape"))
        number = int.from_bytes(hashed.digest(), "big")
        return Place(
            position=(number & (2**53 - 1)) / _SPAN,
            bucket=(number >> 53) % BUCKETS,
            identity=number >> 96,
        )


def to_candidate(position: float, weight: float) -> bool:
    """Whether a weight (in percent) reaches this position: raising the weight moves nobody back."""
    return position < weight / 100
