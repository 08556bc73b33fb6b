"""The one loss: cross-entropy over the tokens of answers, each given all that comes before it in its example."""

from __future__ import annotations

from typing import Any

import torch

from retune_trainer.learning.collate import IGNORED, Batch


def of_answers(model: Any, batch: Batch, *, each: bool = False) -> torch.Tensor:
    """The summed negative log-likelihood of a batch, in nats; of `each` row, shape (rows,), if asked for.

    With short answers most positions teach nothing, but logits over the whole vocabulary would be the largest part of
    a small model's work: they are computed only where something is learned.
    """
    outputs = model(**batch.inputs, use_cache=False, logits_to_keep=batch.kept)
    logits = outputs.logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]),
        batch.targets.reshape(-1),
        ignore_index=IGNORED,
        reduction="none" if each else "sum",
    )
    return losses.reshape(batch.targets.shape).sum(dim=1) if each else losses
