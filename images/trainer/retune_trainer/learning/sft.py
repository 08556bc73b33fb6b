"""`Learner` by TRL's SFTTrainer and PEFT: puts together what the modules beside it do."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import load_file
from transformers import PrinterCallback, set_seed
from trl import SFTConfig

from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.learning import attention, collate, fused, methods, plan, stopping, weights
from retune_trainer.learning.asking import Models
from retune_trainer.learning.encoding import Encoder
from retune_trainer.learning.interface import Answered, Ask, Hooks, Which
from retune_trainer.learning.model import device
from retune_trainer.learning.trainer import BEST, Callback, EarlyStop, Trainer
from retune_trainer.log import say

# Tokens in one forward pass, with padding. A CPU gains nothing from more; a GPU is kept busy.
MICRO_TOKENS = {"cpu": 2048, "cuda": 16384}
# The part of the steps in which the learning rate rises.
WARM_UP = 0.05


class SftLearner:
    """Supervised fine-tuning of a causal language model."""

    def __init__(self, config: RunConfig, folder: Path, examples: Sequence[Example], work: Path, threads: int) -> None:
        """Load the model, encode the examples, plan the steps.

        Raises:
            InputError: the method cannot work here, or the model cannot be loaded.
        """
        torch.set_num_threads(threads)
        training = config.spec.training
        self._config = config
        self._folder = folder
        self._work = work
        self._threads = threads
        self._where = device() if training.gpus_per_node else "cpu"
        self._method = config.spec.method
        methods.check(self._method, self._where)
        # Rows of all lengths come and go: without it, memory falls apart into pieces that none of them fits.
        os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
        # The adapter's first weights are drawn when the trainer is made.
        set_seed(training.seed)
        model, self._tokenizer = methods.load(self._method, folder, self._where, train=True)
        self._encoder = Encoder(self._tokenizer, training.max_length)
        encoded = self._encoder(examples)
        if self._encoder.shortened:
            say("examples were cut to spec.training.maxLength", examples=self._encoder.shortened)
        apart = stopping.held_out(examples, training.early_stop.hold_out) if training.early_stop else set()
        if training.early_stop and not apart:
            say("early stopping is off: all examples are the same question, so none can be held out")
        self._held_out = [encoded[number] for number in sorted(apart)]
        learned = [each for number, each in enumerate(encoded) if number not in apart]
        self._packing = self._packs(model)
        self._plan = plan.make(
            list(map(len, learned)),
            training,
            max_micro_tokens=MICRO_TOKENS.get(self._where, MICRO_TOKENS["cuda"]),
            packed=self._packing,
        )
        self._published = self._dtype(model)
        self._reached = 0
        self._history: list[dict[str, Any]] = []
        self._trainer: Trainer | None = self._make(model, learned)
        self._models = Models(self._method, folder, self._where)
        say("training is planned", **self.settings)

    @property
    def steps(self) -> int:
        """How many optimizer steps the whole training has."""
        return self._plan.steps

    @property
    def kind(self) -> Literal["adapter", "model"]:
        """What `save` writes."""
        return "model" if self._method.type == "Full" else "adapter"

    @property
    def curve(self) -> list[dict[str, float]]:
        """`{"step", "loss", "heldOut"?}` by rising step, where the loss was read back."""
        points: dict[int, dict[str, float]] = {}
        for entry in self._logged():
            for name in ("loss", stopping.HELD_OUT):
                if name in entry:
                    points.setdefault(entry["step"], {"step": entry["step"]})[name] = round(entry[name], 6)
        # A look at a step whose loss was not read back stands beside the loss before it.
        found: list[dict[str, float]] = []
        for step in sorted(points):
            if "loss" in points[step]:
                found.append(points[step])
            elif found:
                found[-1] = {**found[-1], stopping.HELD_OUT: points[step][stopping.HELD_OUT]}
        return found

    @property
    def settings(self) -> dict[str, Any]:
        """What was decided about batches, numbers and threads, for the report."""
        made = self._settings
        history = self._logged()
        if self._trainer is not None:
            self._lowered = self._trainer.lowered_from, self._trainer.micro, self._trainer.checkpointing
        lowered_from, micro, checkpointing = self._lowered
        made |= {"microBatch": micro, "accumulation": math.ceil(self._plan.batch / micro)}
        if lowered_from is not None:
            made |= {"microBatchPlanned": lowered_from, "gradientCheckpointing": checkpointing}
        if self._held_out:
            stopped = 0 < self._reached < self._plan.steps and self._enough(history)
            made |= {
                "heldOut": len(self._held_out),
                "stoppedEarly": stopped,
                "stepsDone": self._reached,
                "bestStep": stopping.best(history),
            }
        return made

    def _logged(self) -> list[dict[str, Any]]:
        if self._trainer is not None and self._trainer.state.log_history:
            self._history = list(self._trainer.state.log_history)
        return self._history

    def _enough(self, history: Sequence[dict[str, Any]]) -> bool:
        rule = self._config.spec.training.early_stop
        return rule is not None and bool(self._held_out) and stopping.enough(history, rule.patience)

    def _packs(self, model: Any) -> bool:
        """Whether examples share rows: on a GPU, where it is faster; on a CPU if asked for; never if they would mix."""
        wanted = self._config.spec.training.packing
        if not (wanted if wanted is not None else self._where != "cpu"):
            return False
        with attention.chosen(model, varlen=True):
            apart = attention.isolated(model)
        if not apart:
            say("packing is off: examples in one row would see each other in this model")
        return bool(apart)

    def _dtype(self, model: Any) -> torch.dtype:
        """The type weights are published in: the base's own, also where they train in another."""
        named = getattr(torch, str(json.loads((self._folder / "config.json").read_text()).get("dtype")), None)
        return named if isinstance(named, torch.dtype) else model.config.dtype or model.dtype

    def _make(self, model: Any, learned: Sequence[Any]) -> Trainer:
        training = self._config.spec.training
        on_cpu = self._where == "cpu"
        full = self._method.type == "Full"
        memory = None if on_cpu else torch.cuda.get_device_properties(self._where).total_memory
        optimizer = methods.optimizer(self._method, model.num_parameters(), memory)
        early = None
        if training.early_stop and self._held_out:
            early = EarlyStop(
                self._held_out,
                stopping.every(training.checkpoint_every_steps, self._plan.steps),
                training.early_stop.patience,
                partial(weights.keep, dtype=self._published),
                self._work / BEST,
            )
        self._early = early
        pad = self._tokenizer.pad_token_id
        trainer = Trainer(
            examples=learned,
            plan=self._plan,
            collate=collate.packed if self._packing else partial(collate.padded, pad=pad),
            early=early,
            model=model,
            processing_class=self._tokenizer,
            peft_config=None if full else methods.adapter(self._method.lora),
            args=SFTConfig(
                output_dir=str(self._work),
                max_steps=self._plan.steps,
                per_device_train_batch_size=self._plan.batch,
                gradient_accumulation_steps=1,
                learning_rate=training.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=max(1, round(WARM_UP * self._plan.steps)),
                optim=optimizer,
                seed=training.seed,
                data_seed=training.seed,
                use_cpu=on_cpu,
                # Only weights in fp32 gain from autocast; others are used in their own type.
                bf16=full and not on_cpu,
                gradient_checkpointing=False,
                max_length=None,
                packing=False,
                dataset_kwargs={"skip_prepare_dataset": True},
                remove_unused_columns=False,
                dataloader_num_workers=0,
                dataloader_pin_memory=False,
                save_strategy="steps",
                save_steps=training.checkpoint_every_steps,
                save_total_limit=1,
                logging_steps=1 if on_cpu else 5,
                logging_nan_inf_filter=False,
                disable_tqdm=True,
                report_to=[],
            ),
        )
        self._settings = {
            "method": self._method.type,
            "device": self._where,
            "threads": self._threads,
            "dtype": str(trainer.model.dtype).removeprefix("torch."),
            "optimizer": optimizer,
            "packing": self._packing,
            "examplesPerStep": self._plan.batch,
            "examplesCut": self._encoder.shortened,
            "steps": self._plan.steps,
            "tokens": sum(self._plan.tokens),
        }
        return trainer

    def train(self, resume: Path | None, hooks: Hooks) -> int:
        """Train to the end, or to a checkpoint after `should_stop`, and return the step that was reached."""
        trainer = self._trainer
        if trainer is None:
            message = "the models were asked already; a training comes before that"
            raise RuntimeError(message)
        if self._early is not None:
            # Of an earlier try in the same folder.
            self._early.kept.unlink(missing_ok=True)
        self._reached = self._resume(trainer, resume) if resume is not None else 0
        if self._reached < self._plan.steps and not self._enough(self._history):
            trainer.remove_callback(PrinterCallback)
            trainer.add_callback(Callback(hooks, self._plan.tokens, self._early.every if self._early else None))
            with ExitStack() as stack:
                inner = trainer.model.get_base_model() if self.kind == "adapter" else trainer.model
                stack.enter_context(attention.chosen(inner, varlen=self._packing))
                stack.enter_context(fused.layers(trainer.model, use=self._where != "cpu"))
                trainer.train(resume_from_checkpoint=str(resume) if resume else None)
            self._reached = int(trainer.state.global_step)
        over = self._reached >= self._plan.steps or self._enough(self._logged())
        if self._early is not None and over and stopping.best(self._logged()) != self._reached:
            weights.put(trainer.model, load_file(self._early.kept))
        return self._reached

    def _resume(self, trainer: Trainer, resume: Path) -> int:
        """Take over what a checkpoint knows besides what transformers reads by itself."""
        state = json.loads((resume / "trainer_state.json").read_text())
        self._history = state["log_history"]
        if self._early is not None and (resume / BEST).exists():
            self._work.mkdir(parents=True, exist_ok=True)
            shutil.copy(resume / BEST, self._early.kept)
        reached = int(state["global_step"])
        if reached >= self._plan.steps or self._enough(self._history):
            weights.restore(trainer.model, resume)
        return reached

    def save(self, folder: Path) -> None:
        """Write the adapter or the model, the same bytes for the same weights.

        Raises:
            InputError: training has diverged.
        """
        trainer = self._trainer
        if trainer is None:
            shutil.copytree(self._models.folder(Which.CANDIDATE), folder, dirs_exist_ok=True)
            return
        if self.kind == "adapter":
            weights.save_adapter(trainer.model, folder, self._config.spec.base_model.uri)
        else:
            weights.save_model(trainer.model, folder, self._folder, self._published)
        self._models.add(Which.CANDIDATE, folder)

    def load_stable(self, folder: Path) -> None:
        """Take the model that serves today, an adapter or a model of its own.

        Raises:
            InputError: StableUnfit.
        """
        if self._trainer is not None:
            weights.fit(folder, self._base_of(self._trainer.model))
        else:
            weights.fit(folder, self._models.get(Which.BASE))
        self._models.add(Which.STABLE, folder)

    def answers(
        self, which: Which, examples: Sequence[Example], ask: Ask, on_answers: Callable[[int], None]
    ) -> list[Answered]:
        """What one of the models answers, in the examples' order."""
        self._end_training()
        if not examples:
            return []
        return self._models.answers(which, self._tokenizer, self._encoder(examples), ask, on_answers)

    def _base_of(self, model: Any) -> Any:
        return model.get_base_model() if self.kind == "adapter" else model

    def _end_training(self) -> None:
        """Let go of optimizer and gradients; the candidate goes on as the files that were saved."""
        trainer = self._trainer
        if trainer is None:
            return
        if not self._models.has(Which.CANDIDATE):
            self.save(self._work / "candidate")
        # Once more, for whoever asks later.
        _ = self.settings
        self._trainer = None
        if self.kind == "adapter":
            self._models.start(trainer.model.unload())
        del trainer
