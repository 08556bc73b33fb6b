"""The seam between a run and whatever trains it. Another library is another implementation of `Learner`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from retune_trainer.data import Example


@dataclass(frozen=True)
class Step:
    """What is known after an optimizer step. `loss` is None where it was not read back from the device."""

    number: int
    of: int
    tokens: int
    loss: float | None


@dataclass(frozen=True)
class Hooks:
    """What a learner tells, and asks, while it trains. Called between steps, in the training thread."""

    on_step: Callable[[Step], None]
    on_checkpoint: Callable[[int, Path], None]
    should_stop: Callable[[], bool]


class Learner(Protocol):
    """A model that learns from examples and answers questions."""

    @property
    def steps(self) -> int:
        """How many optimizer steps the whole training has."""

    @property
    def settings(self) -> dict[str, Any]:
        """What was decided about batches, numbers and threads, for the report."""

    def train(self, resume: Path | None, hooks: Hooks) -> int:
        """Train to the end, or to a checkpoint after `should_stop`, and return the step that was reached."""

    def save(self, folder: Path) -> None:
        """Write the adapter."""

    def answer_as_base(self, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        """What the untouched model answers."""

    def answer_as_candidate(self, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        """What the trained model answers. The adapter is merged for speed: nothing can be trained afterwards."""
