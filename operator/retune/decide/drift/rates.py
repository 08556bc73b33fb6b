"""Bounds of a rate that may be looked at every half minute for a year. Pure.

Clopper and Pearson's (1934), one-sided, each look wrong with a chance of at most `ALPHA` = one in a year of such
looks: by the union bound at most one false breach a year is expected, whatever the looks have in common. Answers that
come in bursts are worth less than their number (`dispersion`); for them the rate is approximate.
"""

from collections.abc import Sequence
from itertools import pairwise

LOOK = 30.0  # s
ALPHA = LOOK / (365 * 86_400.0)
WEIGHT = 20.0  # degrees of freedom that the prior 1 is worth, as in `evidence.dispersion`
LARGEST = 30.0  # of one pair's statistic
FEWEST = 2  # bad answers in a pair that say anything


def lower(bad: float, total: float, alpha: float) -> float:
    """The rate is below this with a chance of at most alpha. Counts need not be whole."""
    from scipy.special import betaincinv  # a sixth of the time that the operator needs to start: at first need

    return 0.0 if bad <= 0 else float(betaincinv(bad, total - bad + 1, alpha))


def upper(bad: float, total: float, alpha: float) -> float:
    """The rate is above this with a chance of at most alpha."""
    from scipy.special import betaincinv

    return 1.0 if bad >= total else float(betaincinv(bad + 1, total - bad, 1 - alpha))


def dispersion(pieces: Sequence[tuple[int, int]]) -> float:
    """How many times more the counts (bad, total) of pieces of time vary than independent answers would; at least 1.

    Pearson's statistic of neighbouring pieces over its degrees of freedom, shrunk towards 1 (McCullagh and Nelder,
    1989, section 4.5); of neighbours, so that a rate that rises does not hide itself.
    """
    squares, degrees = 0.0, 0
    for (bad, total), (bad_before, total_before) in pairwise(pieces):
        both, share = bad + bad_before, total / max(1, total + total_before)
        if both >= FEWEST and 0 < share < 1:
            squares += min(LARGEST, (bad - both * share) ** 2 / (both * share * (1 - share)))
            degrees += 1
    return max(1.0, (WEIGHT + squares) / (WEIGHT + degrees))
