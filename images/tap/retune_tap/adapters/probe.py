"""Whether a loaded adapter does anything: the server says 200 to one of another base too, and answers as the base does.

The probes are these four texts and no user's. Base and adapter are asked for the likeliest next tokens; the base is
asked twice, since requests that share a batch move each other's numbers a little: only a change beyond that counts.
"""

from __future__ import annotations

import math
from statistics import median
from typing import Protocol

from retune_tap.adapters.server import BASE
from retune_tap.arms import AdapterError

PROMPTS = (
    "The answer to the question is",
    'Summary of the ticket: {"category": "',
    "Dear customer, thank you for",
    "1, 2, 3,",
)
ROUNDS = 3
# Beyond twice what the base differs from itself; at rest that is nothing, and any change counts.
TIMES = 2.0


class Asked(Protocol):
    """Who answers probes."""

    async def likely(self, model: str, prompt: str) -> dict[str, float]:
        """The likeliest next tokens and their logarithmic probabilities."""


async def tell_apart(server: Asked, name: str) -> None:
    """Return once the adapter was seen to answer other than its base.

    Raises:
        AdapterError: it answers as the base does, or the server cannot say.
    """
    for _ in range(ROUNDS):
        changes, noises = [], []
        for prompt in PROMPTS:
            before = await server.likely(BASE, prompt)
            with_adapter = await server.likely(name, prompt)
            after = await server.likely(BASE, prompt)
            changes.append(distance(before, with_adapter))
            noises.append(distance(before, after))
        # The median against the largest: by chance alone one prompt may show a change and no noise, but hardly most.
        if median(changes) > TIMES * max(noises):
            return
    message = "the model server loaded it but answers as its base does: it was made from another base model"
    raise AdapterError(f"{message}, or learnt nothing that can be measured")


def distance(one: dict[str, float], other: dict[str, float]) -> float:
    """The largest difference among tokens that both hold; infinite where they share none."""
    common = one.keys() & other.keys()
    return max((abs(one[token] - other[token]) for token in common), default=math.inf)
