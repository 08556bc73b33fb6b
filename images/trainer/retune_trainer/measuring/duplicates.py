"""Copies within one set: exact ones by key, near ones by MinHash with locality-sensitive hashing.

Arrays in, numbers and pairs of rows out. Memory: the signatures (128 bytes a row) and a few arrays of 8 bytes a row;
one band is sorted at a time, and rows of equal bands are compared in chunks. A row is compared with the first and with
the previous one of its band only, so that a thousand copies cost two thousand comparisons, not half a million; with 16
bands a near copy that is missed in one is met in another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune_trainer.measuring.shingles import BANDS, Signatures, similarity
from retune_trainer.measuring.text import Keys

Indices = npt.NDArray[np.int64]

# From here on two texts are near copies. With 16 bands of 4 minima each a pair of this similarity is met with a
# probability of 1 - (1 - 0.8^4)^16 > 0.999 (Leskovec, Rajaraman, Ullman: Mining of Massive Datasets, 3.4).
NEAR = 0.8
SHOWN = 50
CHUNK = 1 << 16


def first_of_each(keys: Keys) -> Indices:
    """For every row, the first row that has the same key: its own number if it is the first."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    result: Indices = first[inverse.reshape(-1)]
    return result


@dataclass(frozen=True)
class Near:
    """Near copies: how many rows there are beyond the first of each group, and some pairs with their similarity."""

    rows: int
    pairs: list[tuple[int, int, float]]


def near(signatures: Signatures, asked: Keys) -> Near:
    """The groups of rows that are near copies of one another; pairs are of row numbers, the first `SHOWN` of them.

    Args:
        signatures: of rows that are no exact copies.
        asked: a key of each row's question. Rows that ask the very same differ in their answers: they contradict each
            other, however alike they are.
    """
    count = len(signatures)
    parents = np.arange(count)
    pairs: dict[tuple[int, int], float] = {}
    for band in range(BANDS):
        column = signatures[:, band]
        order = np.argsort(column, kind="stable")
        ordered = column[order]
        follows = np.concatenate(([False], ordered[1:] == ordered[:-1]))
        places = np.flatnonzero(follows)
        if not len(places):
            continue
        begins = np.maximum.accumulate(np.where(follows, 0, np.arange(count)))
        rows = order[places]
        candidates = np.concatenate(
            (np.stack((order[begins[places]], rows), 1), np.stack((order[places - 1], rows), 1))
        )
        for start in range(0, len(candidates), CHUNK):
            part = candidates[start : start + CHUNK]
            alike = similarity(signatures[part[:, 0]], signatures[part[:, 1]])
            copies = (alike >= NEAR) & (asked[part[:, 0]] != asked[part[:, 1]])
            part, alike = part[copies], alike[copies]
            _unite(parents, part)
            _show(pairs, part, alike)
    rows_beyond = int(np.count_nonzero(parents != np.arange(count)))
    return Near(rows_beyond, [(a, b, value) for (a, b), value in sorted(pairs.items(), key=lambda item: item[0][::-1])])


def _unite(parents: Indices, pairs: Indices) -> None:
    """Join the groups that the pairs connect; every row then points at the least row of its group."""
    a, b = pairs[:, 0], pairs[:, 1]
    while True:
        one, other = parents[a], parents[b]
        apart = one != other
        if not apart.any():
            return
        a, b = a[apart], b[apart]
        low, high = np.minimum(one, other)[apart], np.maximum(one, other)[apart]
        np.minimum.at(parents, high, low)
        while not np.array_equal(up := parents[parents], parents):
            parents[:] = up


def _show(pairs: dict[tuple[int, int], float], found: Indices, alike: npt.NDArray[np.float64]) -> None:
    """Keep the pairs whose later row comes first in the file."""
    for place in np.lexsort((found[:, 0], found[:, 1]))[: 2 * SHOWN]:
        a, b = (int(row) for row in found[place])
        pairs[a, b] = round(float(alike[place]), 3)
    for pair in sorted(pairs, key=lambda pair: pair[::-1])[SHOWN:]:
        del pairs[pair]
