"""The prompts that drift is measured against, made ready for both detectors, for any hour of the day. Pure.

One half of the sums teaches the betting detector what is usual, the other is what it bets against, PSI's bins are cut
from the sample: they share no prompt. An hour of the day is compared with the hours before it, with itself and with the
hours after it, whichever is nearest: so neither what rises and falls smoothly through the day, nor what begins and ends
at some minute of it, nor clocks that go over to summer time, is taken for drift. Every hour counts the same, whatever
its traffic.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retune.decide.drift.evidence import WIDTH
from retune.decide.drift.pool import AROUND, Cut, Floats, Piece, Pool, Vectors

BINS = 10
GROUPS = len(AROUND)
FEWEST = 25  # prompts in the sample around an hour, and as many in the sums, that it may be compared with
NARROWEST = 4.0  # standard deviation: what hardly ever changes must not decide alone
KEPT = 4  # hours that are kept ready


@dataclass(frozen=True, eq=False)
class Usual:
    """What is usual around an hour.

    Attributes:
        rows: m x 64, the sample.
        weights: m, their sum is 1.
        size: m as it counts: 1 / sum of squared weights.
        mean: 64, of the first half of the sums.
        apart: how many prompts it holds, as they count.
        others: g x 64, means of the second half, of each group of hours; the nearest counts.
        against: how many prompts that half holds, as they count.
        cuts: 64 x 9, upper ends of all bins but the last, inclusive; surplus ones are 127.
        shares: 5 x 64 x 10, of each group of the sample by bin.
    """

    rows: Vectors
    weights: Floats
    size: float
    mean: Floats
    apart: float
    others: Floats
    against: float
    cuts: Vectors
    shares: Floats


@dataclass(frozen=True, eq=False)
class Reference:
    """What it was made of; how many prompts; `white`: 64 x 64, makes features independent, with variance 1.

    It is the inverse root of their covariance around the hours' means, of those that leave features most as they are.
    """

    pool: Pool
    cut: Cut
    count: int
    white: Floats
    _ready: dict[int, Usual | None] = field(default_factory=dict)

    def usual(self, hour: int) -> Usual | None:
        """What is usual around an hour (`Cut.hour`); None: there were too few prompts."""
        if hour not in self._ready:
            while len(self._ready) >= KEPT:
                del self._ready[next(iter(self._ready))]
            self._ready[hour] = _usual(_by_hour(self.pool, self.cut), self.cut.near(hour))
        return self._ready[hour]


def prepare(pool: Pool, cut: Cut) -> Reference:
    """A reference from the prompts of a window."""
    products, degrees = np.zeros((WIDTH, WIDTH)), 0
    for pieces in _by_hour(pool, cut).values():
        rows = np.concatenate([piece.rows for piece in pieces]).astype(np.float64)
        if len(rows) > 1:
            rows -= rows.mean(axis=0)
            products += rows.T @ rows
            degrees += len(rows) - 1
    sizes, ways = np.linalg.eigh(products / max(1, degrees))
    white = (ways / np.sqrt(np.maximum(NARROWEST**2, sizes))) @ ways.T
    return Reference(pool, cut, sum(piece.count for piece in pool.values()), white)


def binned(rows: Vectors, cuts: Vectors) -> npt.NDArray[np.bool_]:
    """Rows x 64 x 10: the bin of each row and feature as ones and zeros."""
    place = (rows[:, :, None] > cuts[None]).sum(axis=2)
    found: npt.NDArray[np.bool_] = place[:, :, None] == np.arange(BINS)
    return found


def _by_hour(pool: Pool, cut: Cut) -> dict[int, list[Piece]]:
    found: dict[int, list[Piece]] = {}
    for key in sorted(pool):
        found.setdefault(cut.hour(key), []).append(pool[key])
    return found


def _usual(hours: dict[int, list[Piece]], near: tuple[tuple[int, ...], ...]) -> Usual | None:
    there = [hour for hour in sorted({hour for group in near for hour in group}) if hour in hours]
    samples = {hour: np.concatenate([piece.rows for piece in hours[hour]]) for hour in there}
    rest = {hour: np.stack([piece.rest for piece in hours[hour]]).sum(axis=0) for hour in there}
    there = [hour for hour in there if len(samples[hour]) and rest[hour].all()]
    if sum(len(samples[hour]) for hour in there) < FEWEST or sum(rest[hour].min() for hour in there) < FEWEST:
        return None
    means = {hour: np.sum([p.sums for p in hours[hour]], axis=0) / rest[hour][:, None] for hour in there}
    sample = np.concatenate([samples[hour] for hour in there])
    weight = np.concatenate([np.full(len(samples[hour]), 1 / len(samples[hour])) for hour in there]) / len(there)
    cuts = _cuts(sample, weight)
    shares = {hour: binned(samples[hour], cuts).mean(axis=0) for hour in there}
    groups = [own for group in near if (own := [hour for hour in group if hour in means])]
    by_group = np.stack([np.mean([shares[hour] for hour in own], axis=0) for own in groups])
    counted = len(there) ** 2 / np.stack([1 / rest[hour] for hour in there]).sum(axis=0)
    return Usual(
        rows=sample,
        weights=weight,
        size=float(1 / (weight**2).sum()),
        mean=np.mean([means[hour][0] for hour in there], axis=0),
        apart=float(counted[0]),
        others=np.stack([np.mean([means[hour][1] for hour in own], axis=0) for own in groups]),
        against=float(counted[1]),
        cuts=cuts,
        shares=by_group[np.arange(GROUPS) % len(by_group)],
    )


def _cuts(rows: Vectors, weights: Floats) -> Vectors:
    """Deciles without repeats; a feature that never changes gets a bin below it and one above."""
    order = np.argsort(rows, axis=0, kind="stable")
    below = np.cumsum(weights[order], axis=0)
    places = np.stack([(below < tenth / BINS - 1e-9).sum(axis=0) for tenth in range(1, BINS)])
    deciles = np.take_along_axis(np.take_along_axis(rows, order, axis=0), np.minimum(places, len(rows) - 1), axis=0)
    found = np.full((WIDTH, BINS - 1), 127, dtype=np.int8)
    for feature in range(WIDTH):
        own = np.unique(deciles[:, feature])
        if len(own) == 1 and own[0] > -127:
            own = np.array([own[0] - 1, own[0]], dtype=np.int8)
        found[feature, : len(own)] = own
    return found
