"""Examples to tensors: padded, one example a row, or packed, all in one row.

Padding goes to the left: all answers end at the same place, and only the tail needs logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from retune_trainer.learning.encoding import Encoded

IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """What goes through the model at once.

    `kept` are the positions whose logits are wanted, shape (kept,); `targets` the tokens that follow them, shape
    (rows, kept), IGNORED where a row has none.
    """

    inputs: dict[str, Any]
    kept: torch.Tensor
    targets: torch.Tensor

    def to(self, where: torch.device) -> Batch:
        """The same on a device. Nothing waits for the copy."""

        def there(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return (value.pin_memory() if where.type == "cuda" else value).to(where, non_blocking=True)

        return Batch({name: there(v) for name, v in self.inputs.items()}, there(self.kept), there(self.targets))


def _answers(example: Encoded, start: int) -> tuple[list[int], list[int]]:
    """Where the logits for an example that begins at `start` are, and the tokens that they are for.

    Never the last position of whatever lies before it: an example's first token follows from nothing.
    """
    tokens = example.answer[len(example.answer) - example.scored :]
    end = start + len(example) - 1
    return list(range(end - len(tokens), end)), tokens


def padded(rows: Sequence[Encoded], pad: int) -> Batch:
    """One example a row, as wide as the longest. `pad` is masked and never learned: any token does."""
    width = max(map(len, rows))
    gaps = [width - len(row) for row in rows]
    found = [_answers(row, gap) for row, gap in zip(rows, gaps, strict=True)]
    first = min((positions[0] for positions, _ in found if positions), default=width - 1)
    targets = torch.full((len(rows), max(0, width - 1 - first)), IGNORED)
    for number, (positions, tokens) in enumerate(found):
        if positions:
            targets[number, positions[0] - first :] = torch.tensor(tokens)
    inputs = {
        "input_ids": torch.tensor([[pad] * gap + row.input_ids for row, gap in zip(rows, gaps, strict=True)]),
        "attention_mask": torch.tensor([[0] * gap + [1] * (width - gap) for gap in gaps]),
        "position_ids": torch.tensor([[*range(gap), *range(width - gap)] for gap in gaps]),
    }
    return Batch(inputs, torch.arange(first, width - 1), targets)


def packed(rows: Sequence[Encoded]) -> Batch:
    """All examples in one row, without padding.

    There is no attention mask: positions that begin again tell the examples apart, and the cumulated lengths tell the
    same to kernels that want it so.
    """
    lengths = [len(row) for row in rows]
    ends = list(accumulate(lengths, initial=0))
    found = [_answers(row, start) for row, start in zip(rows, ends, strict=False)]
    bounds = torch.tensor(ends, dtype=torch.int32)
    inputs = {
        "input_ids": torch.tensor([[token for row in rows for token in row.input_ids]]),
        "position_ids": torch.tensor([[at for length in lengths for at in range(length)]]),
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": max(lengths),
        "max_length_k": max(lengths),
    }
    kept = torch.tensor([position for positions, _ in found for position in positions], dtype=torch.long)
    targets = torch.tensor([[token for _, tokens in found for token in tokens]], dtype=torch.long)
    return Batch(inputs, kept, targets)
