"""Krippendorff's alpha for nominal labels: do the people who labelled the data agree more than chance would have them.

Source: K. Krippendorff, Computing Krippendorff's Alpha-Reliability (University of Pennsylvania, 2011), section C,
for nominal data with any number of observers and missing labels:
    alpha = 1 - D_o / D_e
    D_o = sum over units u of sum over values c of n_uc (m_u - n_uc) / (m_u - 1),  divided by n
    D_e = sum over values c of n_c (n - n_c),  divided by n (n - 1)
with n_uc labels c in unit u, m_u >= 2 labels in unit u, n_c labels c in all such units, and n labels in all.
"""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence

import numpy as np

from retune_stores.errors import InputError
from retune_trainer.data import Origin
from retune_trainer.measuring.text import key

FIELD = "spec.dataset.annotatorsField"


def labels(value: object, column: str, line: int, origin: Origin, unit: str = "line") -> list[str]:
    """The labels of one row: a list, or a text that is a JSON list or has `|` between them; absent ones left out.

    Raises:
        InputError: the value is neither.
    """
    if value is None:
        return []
    if isinstance(value, str):
        text = value.strip()
        if text.startswith("["):
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                value = text.split("|")
        else:
            value = text.split("|")
    if not isinstance(value, list | tuple) or any(isinstance(label, list | dict) for label in value):
        kind = type(value).__name__
        cure = "write a list of labels, such as ['a', 'b'], or a text such as a|b"
        message = f"{origin.uri}, {unit} {line}: {column!r} is {kind}; {cure}"
        raise InputError("DatasetMalformed", FIELD, message)
    return [str(label) for label in value if label is not None and str(label).strip()]


class Agreement:
    """Adds up rows; holds 8 bytes a label and nothing else that grows."""

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self._labels = array("Q")
        self._observed = 0.0

    def add(self, given: Sequence[str]) -> None:
        """One row's labels. Fewer than two say nothing about agreement."""
        size = len(given)
        if size < 2:
            return
        keys = [key(label) for label in given]
        self._labels.extend(keys)
        self._observed += sum(count * (size - count) for count in Counter(keys).values()) / (size - 1)

    def alpha(self) -> float | None:
        """Krippendorff's alpha, or None where there is nothing to compare: no two labels, or no two values."""
        total = len(self._labels)
        _, counts = np.unique(np.frombuffer(self._labels, np.uint64), return_counts=True)
        expected = float((counts.astype(np.float64) * (total - counts)).sum())
        if expected == 0:
            return None
        return 1 - (total - 1) * self._observed / expected
