"""When to stop before the end: what is held out, and when enough has been seen.

The gold set decides whether a model is served and is never looked at here: what is held out is a part of the training
set. Everything is a function of the examples and of the curve, so that a resumed training decides as the killed one
would have.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from retune_trainer.data import Example

# More held-out examples than this cost time and tell no more: the error of their mean is small by then.
MOST = 1000
# A training is looked at that often at least, however rarely it is checkpointed.
LOOKS = 10
HELD_OUT = "heldOut"


def _side(example: Example) -> int:
    """A number that is the same for all examples with the same question, whatever its case, spaces and Unicode form."""
    asked = example.prompt if example.messages is None else "\0".join(text for _, text in example.messages)
    text = unicodedata.normalize("NFKC", asked or example.completion).casefold()
    digest = hashlib.blake2b(" ".join(text.split()).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest())


def held_out(examples: Sequence[Example], fraction: float) -> set[int]:
    """Which examples are kept out of training: about `fraction` of them, at most MOST, never all.

    Copies of a question stay together, or the held-out loss would praise learning by heart.
    """
    groups: dict[int, list[int]] = {}
    for number, example in enumerate(examples):
        groups.setdefault(_side(example), []).append(number)
    wanted = min(MOST, fraction * len(examples))
    chosen: set[int] = set()
    for side in sorted(groups):
        if len(chosen) >= wanted:
            break
        if len(chosen) + len(groups[side]) < len(examples):
            chosen.update(groups[side])
    return chosen


def every(checkpoint_every: int, steps: int) -> int:
    """How many steps lie between two looks."""
    return max(1, min(checkpoint_every, math.ceil(steps / LOOKS)))


def _looks(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    return [(int(entry["step"]), float(entry[HELD_OUT])) for entry in history if HELD_OUT in entry]


def best(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The step with the lowest held-out loss, the first of equals; None before the first look."""
    looks = _looks(history)
    return min(looks, key=lambda look: (look[1], look[0]))[0] if looks else None


def enough(history: Sequence[Mapping[str, Any]], patience: int) -> bool:
    """Whether the last `patience` looks were all no better than one before them."""
    found = best(history)
    return found is not None and sum(step > found for step, _ in _looks(history)) >= patience
