"""Which rows are trained on, which of them are copies, and which contradict each other; numbers of rows, no texts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from retune_trainer.measuring.conflicts import conflicts
from retune_trainer.measuring.duplicates import SHOWN, Indices, first_of_each
from retune_trainer.measuring.scan import Scanned

# Of the rows that contradict each other, so many are named for one question.
SHOWN_ROWS = 10


@dataclass(frozen=True)
class Rows:
    """The rows of both sets that are not empty, counted from 0, and those that are `held` out of training."""

    learned: Scanned
    judged: Scanned
    held: npt.NDArray[np.bool_]

    @cached_property
    def trained(self) -> Indices:
        """Rows that are trained on."""
        result: Indices = np.flatnonzero(~self.held)
        return result

    @cached_property
    def first(self) -> Indices:
        """For each row that is trained on, the first one of which it is an exact copy: itself, if it is none."""
        result: Indices = self.trained[first_of_each(self.learned.whole[self.trained])]
        return result

    @cached_property
    def signed(self) -> npt.NDArray[np.bool_]:
        """Rows that are compared for near copies: all that are trained on, less the exact copies."""
        result = np.zeros(len(self.learned), bool)
        result[self.first] = True
        return result

    @cached_property
    def contradictions(self) -> list[Indices]:
        """Groups of rows of one question with different answers."""
        asked, answer = self.learned.asked[self.trained], self.learned.answer[self.trained]
        return [self.trained[group] for group in conflicts(asked, answer)]

    @property
    def shown_contradictions(self) -> list[Indices]:
        """Those that are shown to people, and of each group the first."""
        return [group[:SHOWN_ROWS] for group in self.contradictions[:SHOWN]]

    @property
    def shown(self) -> frozenset[int]:
        """Rows whose answers are shown."""
        return frozenset(int(row) for group in self.shown_contradictions for row in group)
