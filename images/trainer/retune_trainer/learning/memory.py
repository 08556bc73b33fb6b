"""Batches of like length that fit into memory: by an estimate, and by halving where the estimate was wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from retune_trainer.log import say


def batches(sizes: Sequence[int], most: int, work: Callable[[list[int]], None]) -> None:
    """Do `work` on all rows, in batches of at most `most` tokens, padding counted; `sizes` are the rows' tokens.

    Raises:
        torch.OutOfMemoryError: not even one row fits.
    """
    # The longest first: if memory does not suffice, that shows at once.
    waiting = sorted(range(len(sizes)), key=lambda row: (-sizes[row], row))
    while waiting:
        count = min(len(waiting), max(1, most // max(1, sizes[waiting[0]])))
        try:
            work(waiting[:count])
            waiting = waiting[count:]
            continue
        except torch.OutOfMemoryError:
            if count == 1:
                raise
        # Outside the handler: the exception holds on to everything that was computed.
        most = sizes[waiting[0]] * math.ceil(count / 2)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say("memory did not suffice for a batch of answers; smaller ones follow", batch=math.ceil(count / 2))
