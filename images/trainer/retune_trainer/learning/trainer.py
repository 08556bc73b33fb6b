"""TRL's SFTTrainer with steps of our own: it keeps optimizer, schedule, checkpoints and resuming.

A step's examples come from the plan; how many of them go through the model at once is decided here, and lowered when
memory does not suffice. That changes no step's examples, and its gradient by rounding only.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import SFTTrainer

from retune_stores.errors import InputError
from retune_trainer.learning import loss, stopping
from retune_trainer.learning.collate import Batch
from retune_trainer.learning.encoding import Encoded
from retune_trainer.learning.interface import Hooks, Step
from retune_trainer.learning.plan import Plan
from retune_trainer.log import say

Collate = Callable[[Sequence[Encoded]], Batch]
BEST = "best.safetensors"


@dataclass(frozen=True)
class Examples:
    """A step's examples. Opaque to the libraries between loader and step: they would walk through every token."""

    rows: list[Encoded]


@dataclass(frozen=True)
class EarlyStop:
    """What is held out, how often it is looked at, and how the weights of the best look are kept."""

    rows: Sequence[Encoded]
    every: int
    patience: int
    keep: Callable[[Any, Path], None]
    kept: Path


class Trainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that takes rows in the order of the plan, in micro-batches that fit."""

    def __init__(
        self, *, examples: Sequence[Encoded], plan: Plan, collate: Collate, early: EarlyStop | None, **rest: Any
    ) -> None:
        """`rest` is SFTTrainer's own; its batch is a whole step, without accumulation."""
        self.micro = plan.micro
        self.lowered_from: int | None = None
        self.checkpointing = False
        self._collate = collate
        self._early = early
        super().__init__(
            train_dataset=Dataset.from_dict({"row": plan.order}),
            data_collator=lambda rows: {"step": Examples([examples[row["row"]] for row in rows])},
            **rest,
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: the plan counts tokens."""
        del inputs
        return 0

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> torch.Tensor:
        """Forward and backward over a step's examples: the loss a token of answer, on the device.

        Raises:
            torch.OutOfMemoryError: not even one example fits.
        """
        del num_items_in_batch
        model.train()
        rows = inputs["step"].rows
        while True:
            try:
                return self._accumulate(model, rows)
            except torch.OutOfMemoryError:
                if not self._can_lower():
                    raise
            # Outside the handler: the exception holds on to everything that was computed.
            self._lower(model)

    def _accumulate(self, model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
        count = max(1, sum(row.scored for row in rows))
        total = torch.zeros((), device=self.args.device)
        for start in range(0, len(rows), self.micro):
            batch = self._collate(rows[start : start + self.micro]).to(self.args.device)
            with self.compute_loss_context_manager():
                part = loss.of_answers(model, batch) / count
            self.accelerator.backward(part)
            total += part.detach()
        return total

    def _can_lower(self) -> bool:
        return self.micro > 1 or (self.args.device.type == "cuda" and not self.checkpointing)

    def _lower(self, model: Any) -> None:
        """Half the micro-batch; below one example, activations are computed twice instead of kept."""
        if self.lowered_from is None:
            self.lowered_from = self.micro
        if self.micro > 1:
            self.micro = math.ceil(self.micro / 2)
        else:
            self.checkpointing = True
            self.micro = self.lowered_from
            inner = model.get_base_model() if hasattr(model, "get_base_model") else model
            inner.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        model.zero_grad(set_to_none=True)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        say(
            "memory did not suffice; the same steps go on in smaller parts",
            step=self.state.global_step + 1,
            microBatch=self.micro,
            checkpointing=self.checkpointing,
        )

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Look at what is held out, keep the weights if they are the best so far, and stop if it is enough."""
        early = self._early
        if early is None:
            return {}
        self.log({stopping.HELD_OUT: self._held_out(early.rows)})
        history = self.state.log_history
        if stopping.best(history) == self.state.global_step:
            early.keep(self.model, early.kept)
        elif stopping.enough(history, early.patience) and self.state.global_step < self.state.max_steps:
            say("stopping early", step=self.state.global_step, best=stopping.best(history))
            self.control.should_training_stop = True
            self.control.should_save = True
        return {}

    def _held_out(self, rows: Sequence[Encoded]) -> float:
        """Loss a token of answer, like the training's own."""
        self.model.eval()
        # Of like lengths, as a padded micro-batch is best; its order does not matter.
        waiting = sorted(rows, key=len)
        total, start = 0.0, 0
        with torch.no_grad(), self.compute_loss_context_manager():
            while start < len(waiting):
                try:
                    batch = self._collate(waiting[start : start + self.micro]).to(self.args.device)
                    total += float(loss.of_answers(self.model, batch))
                    start += self.micro
                    continue
                except torch.OutOfMemoryError:
                    if not self._can_lower():
                        raise
                self._lower(self.model)
        return total / max(1, sum(row.scored for row in rows))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)
        if self._early is not None and self._early.kept.exists():
            shutil.copy(self._early.kept, Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}" / BEST)


class Callback(TrainerCallback):  # type: ignore[misc]
    """Carries the trainer's events to a run's hooks, and says when to look."""

    def __init__(self, hooks: Hooks, tokens: Sequence[int], look_every: int | None) -> None:
        """`tokens` of each step; `look_every` that many steps at what is held out."""
        self._hooks = hooks
        self._tokens = tokens
        self._every = look_every

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After the optimizer."""
        del args
        number = state.global_step
        if self._every is not None:
            control.should_evaluate = number % self._every == 0 or number == len(self._tokens)
        if self._hooks.should_stop():
            control.should_save = True
            control.should_training_stop = True
        # The loss of this step is known only when it is logged, right after.
        self._hooks.on_step(Step(number, len(self._tokens), self._tokens[number - 1], None))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        """After the loss was read back."""
        del args, control
        found = (logs or {}).get("loss")
        if found is None:
            return
        if not math.isfinite(found):
            message = f"the loss is {found} at step {state.global_step}; lower spec.training.learningRate"
            raise InputError("TrainingDiverged", "spec.training.learningRate", message)
        self._hooks.on_step(Step(state.global_step, len(self._tokens), 0, found))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """After a checkpoint was written."""
        del control
        self._hooks.on_checkpoint(state.global_step, Path(args.output_dir) / f"checkpoint-{state.global_step}")
