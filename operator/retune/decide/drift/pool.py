"""The prompts of the reference's window, by time: a bounded sample of them, and the sums of the rest.

Time is cut into pieces: of an hour, if the window is a day or longer. Half of the prompts, by a hash of pod and
number, may enter a piece's sample, which keeps those with the smallest hashes (bottom-k sampling: Cohen and Kaplan,
"Summarizing data using bottom-k sketches", 2007); all others go into its sums. So sample and sums share no prompt,
however few there are, and neither depends on how the prompts were cut into looks.

What a prompt is compared with is what came around the same time of day (`AROUND`), on weekdays or at weekends (a
window of a week or longer), on any day (from a day on), or the whole window. Times are UTC.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from retune.decide.drift.evidence import WIDTH

Floats = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.int8]

HOUR = 3600.0  # s
DAY = 24 * HOUR
WEEK = 7 * DAY
AROUND = ((-2, -1), (-1, 0), (0,), (0, 1), (1, 2))  # hours that an hour is compared with: whichever is nearest
ROWS = 3120  # that all samples of a window hold together: 200 kB
WEEKDAY, WEEKEND = 14, 30  # of them in an hour of a week: 350 and 300 around an hour
PIECES = 6  # of a window shorter than a day


@dataclass(frozen=True)
class Cut:
    """How a window of `window` seconds, at most a week, is cut into pieces, and which of them are compared."""

    window: float

    @property
    def piece(self) -> float:
        """Length of a piece, seconds."""
        return HOUR if self.window >= DAY else self.window / PIECES

    def key(self, at: float) -> int:
        """Number of the piece that holds `at`."""
        return math.floor(at / self.piece)

    def hour(self, key: int) -> int:
        """The hour of the day of a piece, and 24 more at weekends; pieces of the same hour go together."""
        return 0 if self.window < DAY else key % 24 + 24 * self._weekend(key)

    def near(self, hour: int) -> tuple[tuple[int, ...], ...]:
        """Groups of hours that an hour is compared with."""
        if self.window < DAY:
            return ((0,),)
        return tuple(tuple((hour + away) % 24 + hour // 24 * 24 for away in group) for group in AROUND)

    def room(self, key: int) -> int:
        """How many rows a piece's sample holds."""
        if self.window >= WEEK:
            return WEEKEND if self._weekend(key) else WEEKDAY
        return math.floor(ROWS / (math.ceil(self.window / self.piece) + 1))

    def _weekend(self, key: int) -> bool:
        return self.window >= WEEK and (key // 24 + 3) % 7 >= 5  # the epoch began on a Thursday


@dataclass(frozen=True, eq=False)
class Piece:
    """Prompts of one piece of time.

    Attributes:
        rows: the sample, n x 64.
        ranks: their hashes, rising.
        rest: how many prompts each half of the sums holds.
        sums: 2 x 64, of their features.
    """

    rows: Vectors = field(default_factory=lambda: np.zeros((0, WIDTH), dtype=np.int8))
    ranks: npt.NDArray[np.uint32] = field(default_factory=lambda: np.zeros(0, dtype=np.uint32))
    rest: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, dtype=np.int64))
    sums: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, WIDTH), dtype=np.int64))

    @property
    def count(self) -> int:
        """Prompts seen."""
        return len(self.rows) + int(self.rest.sum())


Pool = Mapping[int, Piece]


def rank(pod: str, seq: int) -> int:
    """A hash of a prompt's place, 32 bits; the lowest decides whether it may be sampled."""
    return zlib.crc32(f"{pod}/{seq}".encode()) * 2654435761 % 2**32 ^ zlib.crc32(f"{seq}:{pod}".encode())


def add(piece: Piece, rows: Vectors, ranks: npt.NDArray[np.uint32], room: int) -> Piece:
    """The piece with more prompts."""
    may = (ranks & 1) == 0
    every, of = np.concatenate([piece.rows, rows[may]]), np.concatenate([piece.ranks, ranks[may]])
    order = np.argsort(of, kind="stable")
    left = np.concatenate([rows[~may], every[order[room:]]]).astype(np.int64)
    half = np.concatenate([ranks[~may], of[order[room:]]]) & 2 != 0
    return replace(
        piece,
        rows=every[order[:room]],
        ranks=of[order[:room]],
        rest=piece.rest + np.array([(~half).sum(), half.sum()]),
        sums=piece.sums + np.stack([left[~half].sum(axis=0), left[half].sum(axis=0)]),
    )


def collect(pool: Pool, cut: Cut, rows: Vectors, ranks: npt.NDArray[np.uint32], keys: npt.NDArray[np.int64]) -> Pool:
    """The pool with more prompts; `keys`: their pieces."""
    if not len(rows):
        return pool
    more = dict(pool)
    for key in map(int, np.unique(keys)):
        here = keys == key
        more[key] = add(more.get(key, Piece()), rows[here], ranks[here], cut.room(key))
    return more


def since(pool: Pool, cut: Cut, at: float, *, whole: bool = False) -> Pool:
    """The pieces that end after `at`; `whole`: those that begin then or later."""
    first = math.ceil(at / cut.piece) if whole else cut.key(at)
    return {key: piece for key, piece in pool.items() if key >= first}
