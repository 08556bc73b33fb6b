"""The seam between a run and whatever trains it. Another library is another implementation of `Learner`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, Protocol

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


class Which(StrEnum):
    """Whose answers are wanted."""

    # The untouched base model.
    BASE = "base"
    # The model that serves today, given by `load_stable`.
    STABLE = "stable"
    # The model that was just trained.
    CANDIDATE = "candidate"


@dataclass(frozen=True)
class Ask:
    """What is wanted of each example: its `best` answers, and how likely its reference answer is."""

    # 1 is the greedy answer; more are the best of a beam search; 0 asks for no answer at all.
    best: int = 1
    likelihood: bool = False


@dataclass(frozen=True)
class Answered:
    """What one example got.

    `nll` is the summed negative natural-log likelihood of the reference answer, as this tokenizer writes it, given the
    question; `tokens` is how many tokens it has. Both count the end-of-sequence token that every answer ends with (a
    model that goes on talking is wrong, too) and what `spec.training.maxLength` leaves of a long answer.
    Perplexity over a set is exp(sum of nll / sum of tokens). Both are None unless `Ask.likelihood`.
    """

    # The best first. Fewer than asked for if two beams say the same.
    texts: tuple[str, ...]
    nll: float | None = None
    tokens: int | None = None


class Learner(Protocol):
    """A model that learns from examples and answers questions.

    Order of use: `train`, `save`, then `answers` of BASE on every set, of STABLE on every set, and of CANDIDATE on
    every set. Going back in that order may load weights again, or fail: adapters are merged for speed.
    """

    @property
    def steps(self) -> int:
        """How many optimizer steps the whole training has; fewer were made if it was stopped early."""

    @property
    def settings(self) -> dict[str, Any]:
        """What was decided about batches, numbers and threads, for the report."""

    @property
    def curve(self) -> list[dict[str, float]]:
        """`{"step", "loss", "heldOut"?}` as far as they were read back, by rising step; losses a token of answer.

        It goes on across a resume.
        """

    @property
    def kind(self) -> Literal["adapter", "model"]:
        """What `save` writes: an adapter to the base model, or a model of its own."""

    def train(self, resume: Path | None, hooks: Hooks) -> int:
        """Train to the end, or to a checkpoint after `should_stop`, and return the step that was reached.

        A training that stopped early by itself returns the step it stopped at; `settings["stoppedEarly"]` says so.
        """

    def save(self, folder: Path) -> None:
        """Write the adapter or the model: the same bytes for the same weights."""

    def load_stable(self, folder: Path) -> None:
        """Take the model that serves today: the folder that an earlier run's `save` wrote.

        Raises:
            InputError: `StableUnfit`; it is no model of this base and shape.
        """

    def answers(
        self, which: Which, examples: Sequence[Example], ask: Ask, on_answers: Callable[[int], None]
    ) -> list[Answered]:
        """What one of the models answers, in the examples' order. `on_answers` gets each finished batch's size."""
