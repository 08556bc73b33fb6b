"""Rows to tensors. Padding goes to the left: all answers end at the same place, and only the tail needs logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retune_trainer.learning.encoding import IGNORED


class Collator:
    """Makes batches of rows with `input_ids`, `labels` and, when several examples share a row, `seq_lengths`."""

    def __init__(self, pad: int) -> None:
        """`pad` is masked and never learned: which token it is does not matter."""
        self._pad = pad

    def __call__(self, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """One batch, as wide as its longest row."""
        import torch

        width = max(len(row["input_ids"]) for row in rows)
        ids, labels, positions, mask = [], [], [], []
        for row in rows:
            gap = width - len(row["input_ids"])
            lengths = row.get("seq_lengths") or [len(row["input_ids"])]
            ids.append([self._pad] * gap + list(row["input_ids"]))
            labels.append([IGNORED] * gap + list(row["labels"]))
            positions.append(list(range(gap)) + [at for length in lengths for at in range(length)])
            mask.append([0] * gap + [1] * (width - gap))
        batch = {
            "input_ids": torch.tensor(ids),
            "labels": torch.tensor(labels),
            "position_ids": torch.tensor(positions),
        }
        # Where examples share a row, the restarting positions alone keep them from seeing each other.
        if "seq_lengths" not in rows[0]:
            batch["attention_mask"] = torch.tensor(mask)
        return batch
