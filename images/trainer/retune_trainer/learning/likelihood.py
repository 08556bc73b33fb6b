"""How likely a model finds the reference answers, given the questions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from retune_trainer.learning import loss
from retune_trainer.learning.collate import padded
from retune_trainer.learning.encoding import Encoded
from retune_trainer.learning.memory import batches


def of_references(
    model: Any,
    examples: Sequence[Encoded],
    *,
    pad: int,
    max_batch_tokens: int,
    on_answers: Callable[[int], None],
) -> list[float]:
    """The summed negative log-likelihood of each answer in nats, in the examples' order."""
    model.eval()
    found = [0.0] * len(examples)

    def score(rows: list[int]) -> None:
        batch = padded([examples[row] for row in rows], pad).to(model.device)
        with torch.inference_mode():
            losses = loss.of_answers(model, batch, each=True).tolist()
        for row, value in zip(rows, losses, strict=True):
            found[row] = value
        on_answers(len(rows))

    batches([len(each) for each in examples], max_batch_tokens, score)
    return found
