"""The population stability index of each feature, less what chance alone gives. Pure.

PSI = sum over bins of (p - q) ln(p / q), p the shares of recent prompts and q those of the reference (Siddiqi,
"Credit Risk Scorecards", 2006). Without drift it is about (1/n + 1/m) times chi-square with B - 1 degrees of freedom
(Yurdakul and Naranjo, "Statistical properties of the population stability index", 2020), so a plain limit means
nothing until n is large: the allowance is that chi-square's quantile at 1 - 0.001 / 64. Bins are cut for each moment
by itself, at the deciles of the prompts around it; prompts of several moments are compared with the same mixture of
them, whose 1/m is taken as their mean, as if the moments had the same prompts.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from retune.decide.drift.evidence import WIDTH
from retune.decide.drift.pool import Floats, Vectors
from retune.decide.drift.reference import BINS, GROUPS, Usual, binned

FEWEST = 500  # prompts from which on it says anything
BLOCKS = 8
BLOCK = 250  # prompts
CHANCE = 0.001  # that at least one of the features exceeds its allowance, at one look


@dataclass(frozen=True, eq=False)
class Block:
    """Some prompts, in the order they came.

    Attributes:
        began: when the first came, seconds since the epoch.
        count: how many.
        noise: sum over them of 1/m.
        counts: 64 x 10.
        usual: 5 x 64 x 10, what each group of the reference would have had.
    """

    began: float
    count: int = 0
    noise: float = 0.0
    counts: npt.NDArray[np.int32] = field(default_factory=lambda: np.zeros((WIDTH, BINS), dtype=np.int32))
    usual: npt.NDArray[np.float32] = field(default_factory=lambda: np.zeros((GROUPS, WIDTH, BINS), dtype=np.float32))


def add(blocks: tuple[Block, ...], usual: Usual, rows: Vectors, *, size: int, at: float) -> tuple[Block, ...]:
    """The last eight full blocks of `size` prompts, and the one being filled, after more prompts of one moment."""
    start = 0
    while start < len(rows):
        if not blocks or blocks[-1].count >= size:
            blocks = (*blocks[-BLOCKS:], Block(at))
        last = blocks[-1]
        some = rows[start : start + size - last.count]
        last = replace(
            last,
            count=last.count + len(some),
            noise=last.noise + len(some) / usual.size,
            counts=last.counts + binned(some, usual.cuts).sum(axis=0, dtype=np.int32),
            usual=last.usual + (len(some) * usual.shares).astype(np.float32),
        )
        blocks = (*blocks[:-1], last)
        start += len(some)
    return blocks


def excess(blocks: tuple[Block, ...]) -> tuple[float, int]:
    """The largest PSI less its allowance, not below 0, and its feature. There is at least one prompt."""
    n = sum(block.count for block in blocks)
    noise = sum(block.noise for block in blocks) / n
    p = np.sum([block.counts for block in blocks], axis=0, dtype=np.float64)
    q = np.sum([_nearest(block) for block in blocks], axis=0, dtype=np.float64) / n
    bins = np.maximum(2, (q > 0).sum(axis=1))
    # Half a prompt in each bin, so that an empty one is not infinitely far from one that is nearly so.
    p = (p + 0.5) / (n + 0.5 * BINS)
    q = (q / noise + 0.5) / (1 / noise + 0.5 * BINS)
    psi = ((p - q) * np.log(p / q)).sum(axis=1)
    beyond = psi - (1 / n + noise) * _allowed()[bins - 1]
    feature = int(np.argmax(beyond))
    return max(0.0, float(beyond[feature])), feature


@cache
def _allowed() -> Floats:
    """The allowance's quantile for 0 to 9 degrees of freedom."""
    from scipy.special import chdtri  # a sixth of the time that the operator needs to start: at first need

    found: Floats = np.concatenate([[0.0], chdtri(np.arange(1, BINS), CHANCE / WIDTH)])
    return found


def _nearest(block: Block) -> Floats:
    """64 x 10: of the groups, for each feature the one that the block is nearest to."""
    far = ((block.usual - block.counts) ** 2 / (block.usual + block.counts + 1)).sum(axis=2)
    found: Floats = np.take_along_axis(block.usual, far.argmin(axis=0)[None, :, None], axis=0)[0]
    return found
