"""Rows that ask the same and are answered differently."""

from __future__ import annotations

import numpy as np

from retune_trainer.measuring.duplicates import Indices
from retune_trainer.measuring.text import Keys


def conflicts(asked: Keys, answer: Keys) -> list[Indices]:
    """Groups of rows of the same question with at least two answers, in the order in which they begin.

    Args:
        asked: a key of each row's question.
        answer: a key of each row's answer.
    """
    if not len(asked):
        return []
    order = np.lexsort((np.arange(len(asked)), asked))
    bounds = np.flatnonzero(np.diff(asked[order]) != 0) + 1
    starts = np.concatenate(([0], bounds))
    answers = answer[order]
    differs = np.minimum.reduceat(answers, starts) != np.maximum.reduceat(answers, starts)
    ends = np.append(starts[1:], len(order))
    groups = [order[a:b] for a, b in zip(starts[differs], ends[differs], strict=True)]
    return sorted(groups, key=lambda rows: int(rows[0]))
