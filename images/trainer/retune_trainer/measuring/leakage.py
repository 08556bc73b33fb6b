"""Gold examples that are in the training set. What leaks is the question: the answer is what is being tested.

For plain texts, the question is the whole text. Gold is indexed, training rows stream by: memory is some 300 bytes a
gold example and nothing for a training row. Reads the gold set and writes nothing.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from retune_trainer.data import Table
from retune_trainer.measuring.duplicates import CHUNK, NEAR, SHOWN, Indices
from retune_trainer.measuring.scan import BATCH, BATCH_CHARACTERS, compared
from retune_trainer.measuring.shingles import BANDS, Signatures, signatures, similarity
from retune_trainer.measuring.text import Keys

# Pairs of one band that are compared at once.
MOST = 1 << 20


def signed(table: Table, template: Keys) -> Signatures:
    """The signatures of a set's questions, empty rows left out."""
    found, batch, characters = [], list[str](), 0
    for record in table.records:
        if record.example is not None:
            batch.append(compared(record.example)[0])
            characters += len(batch[-1])
            if len(batch) >= BATCH or characters > BATCH_CHARACTERS:
                found.append(signatures(batch, template))
                batch, characters = [], 0
    return np.concatenate([*found, signatures(batch, template)])


def exact(gold: Keys, train: Keys) -> Indices:
    """For each gold example, the first training row that asks the same, or -1."""
    if not len(train):
        return np.full(len(gold), -1)
    values, first = np.unique(train, return_index=True)
    places = np.minimum(np.searchsorted(values, gold), len(values) - 1)
    result: Indices = np.where(values[places] == gold, first[places], -1)
    return result


class Near:
    """Finds, for each gold example, the training row that is most like it."""

    def __init__(self, gold: Signatures) -> None:
        """Sort every band of the gold examples."""
        self._gold = gold
        self._orders = [np.argsort(gold[:, band], kind="stable") for band in range(BANDS)]
        self._bands = [gold[order, band] for band, order in enumerate(self._orders)]
        self.rows: Indices = np.full(len(gold), -1)
        self.alike: npt.NDArray[np.float64] = np.zeros(len(gold))

    def look(self, train: Signatures, rows: Indices) -> None:
        """Compare some training rows, given with their numbers."""
        pairs = (self._candidates(band, train[:, band]) for band in range(BANDS))
        for candidates in pairs:
            for start in range(0, len(candidates), CHUNK):
                part = candidates[start : start + CHUNK]
                alike = similarity(self._gold[part[:, 0]], train[part[:, 1]])
                better = (alike >= NEAR) & (alike > self.alike[part[:, 0]])
                # The most alike last: of several assignments to one place, numpy keeps the last.
                order = np.argsort(alike[better], kind="stable")
                part, alike = part[better][order], alike[better][order]
                self.rows[part[:, 0]] = rows[part[:, 1]]
                self.alike[part[:, 0]] = alike

    def beside(self, train: Signatures) -> npt.NDArray[np.bool_]:
        """Which of some rows `look` would find near a gold example: every row by itself, none stands for others."""
        found = np.zeros(len(train), bool)
        for band in range(BANDS):
            left, counts = self._equal(band, train[:, band])
            for row in np.flatnonzero((counts > 0) & ~found):
                gold = self._orders[band][left[row] : left[row] + counts[row]]
                for start in range(0, len(gold), CHUNK):
                    alike = similarity(self._gold[gold[start : start + CHUNK]], train[row : row + 1])
                    found[row] |= bool((alike >= NEAR).any())
        return found

    def _equal(self, band: int, keys: Keys) -> tuple[Indices, Indices]:
        """For each key, where in the band's order the gold examples begin that have it, and how many they are."""
        left = np.searchsorted(self._bands[band], keys, "left")
        return left, np.searchsorted(self._bands[band], keys, "right") - left

    def _candidates(self, band: int, keys: Keys) -> Indices:
        """Pairs (gold example, place in the batch) of equal bands."""
        places = np.arange(len(keys))
        left, counts = self._equal(band, keys)
        if counts.sum() > MOST:
            # Thousands of rows of one kind on both sides: one training row stands for all that share a band.
            _, places = np.unique(keys, return_index=True)
            left, counts = left[places], counts[places]
        inner = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack((self._orders[band][np.repeat(left, counts) + inner], np.repeat(places, counts)), 1)


def shown(gold: Indices, train: Indices, alike: npt.NDArray[np.float64] | None = None) -> list[list[int | float]]:
    """At most `SHOWN` pairs of lines (gold, train), near ones with their similarity."""
    pairs: list[list[int | float]] = []
    for place in range(min(SHOWN, len(gold))):
        pair: list[int | float] = [int(gold[place]), int(train[place])]
        pairs.append(pair if alike is None else [*pair, round(float(alike[place]), 3)])
    return pairs
