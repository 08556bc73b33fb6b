"""Which examples each step sees, decided before the first: a pure function of lengths, settings and seed.

So a resumed training continues exactly where the killed one was, and tokens are counted without asking the device.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from retune_trainer.config import Training

# Padded batches are cut from this many steps' worth of shuffled examples, sorted by length: little padding, still
# random.
WINDOW = 8
# Micro-batches of packed examples are as long as their examples happen to be: room for the longer ones.
SPREAD = 1.1


@dataclass(frozen=True)
class Plan:
    """`order` lists examples; each step takes the next `batch` of them, fed in micro-batches of `micro`."""

    order: tuple[int, ...]
    micro: int
    accumulation: int
    # Real tokens of each step.
    tokens: tuple[int, ...]

    @property
    def steps(self) -> int:
        """Optimizer steps in all."""
        return len(self.tokens)

    @property
    def batch(self) -> int:
        """Examples a step."""
        return self.micro * self.accumulation


def _epochs(lengths: Sequence[int], batch: int, window: int, seed: int) -> Iterator[int]:
    """Examples without end, every one once an epoch, in batches of like lengths if `window` is more than one."""
    rng = random.Random(seed)  # noqa: S311
    carried: list[int] = []
    while True:
        rows = list(range(len(lengths)))
        rng.shuffle(rows)
        # What did not fill a batch is filled up by the next epoch, and comes before all else of it.
        fill = (batch - len(carried)) % batch
        yield from carried + rows[:fill] if carried else []
        rows = rows[fill:]
        usable = len(rows) // batch * batch
        carried = rows[usable:]
        batches = []
        for start in range(0, usable, batch * window):
            chosen = rows[start : min(start + batch * window, usable)]
            if window > 1:
                chosen.sort(key=lambda row: (lengths[row], row))
            batches += [chosen[cut : cut + batch] for cut in range(0, len(chosen), batch)]
        rng.shuffle(batches)
        for each in batches:
            yield from each


def make(lengths: Sequence[int], training: Training, *, max_micro_tokens: int, packed: bool = False) -> Plan:
    """Plan a training.

    `batchTokens` counts real tokens: a step takes as many examples as have that many on average. They are fed in
    micro-batches of at most `max_micro_tokens`: with padding, for that is what takes memory; or, where examples are
    packed into one row, of that many on average.
    """
    count = len(lengths)
    mean = sum(lengths) / count
    batch = min(count, max(1, round(training.batch_tokens / mean)))
    room = max_micro_tokens / (SPREAD * mean) if packed else max_micro_tokens / max(lengths)
    accumulation = math.ceil(batch / max(1, int(room)))
    # Whole micro-batches of one size: at most a few examples fewer than were asked for.
    micro = max(1, batch // accumulation)
    batch = micro * accumulation
    if training.max_steps is not None:
        steps = training.max_steps
    else:
        steps = max(1, math.ceil((training.epochs if training.epochs is not None else 1) * count / batch))
    # Packed rows have no padding to save: steps of any lengths are the better sample.
    source = _epochs(lengths, batch, 1 if packed else WINDOW, training.seed)
    order = tuple(next(source) for _ in range(steps * batch))
    tokens = tuple(sum(lengths[row] for row in order[s * batch : (s + 1) * batch]) for s in range(steps))
    return Plan(order, micro, accumulation, tokens)
