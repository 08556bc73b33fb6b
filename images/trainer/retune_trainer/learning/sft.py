"""`Learner` by TRL's SFTTrainer and PEFT. The only module that knows either."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import PrinterCallback, TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer
from trl import pack_dataset as pack

from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.errors import InputError
from retune_trainer.learning import generation, plan
from retune_trainer.learning.collate import Collator
from retune_trainer.learning.encoding import IGNORED, Encoder
from retune_trainer.learning.interface import Hooks, Step
from retune_trainer.learning.model import device, load
from retune_trainer.log import say

ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
# Padded tokens in one forward pass. A CPU gains nothing from more; a GPU is kept busy.
MICRO_TOKENS = {"cpu": 2048, "cuda": 16384}
GENERATION_TOKENS = {"cpu": 4096, "cuda": 65536}


class _Trainer(SFTTrainer):  # type: ignore[misc]
    """SFTTrainer that takes rows in the order of the plan, and computes logits only where something is learned."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return torch.utils.data.SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Cross-entropy over the answers' tokens.

        With short answers most positions teach nothing, but logits over the whole vocabulary, and TRL's entropy and
        accuracy over them, would be the largest part of a small model's work.
        """
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        # Position t predicts token t + 1.
        targets = torch.nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORED)
        kept = (targets != IGNORED).any(dim=0).nonzero().squeeze(1)
        outputs = model(**inputs, use_cache=False, logits_to_keep=kept)
        logits = outputs.logits.float()
        wanted = targets[:, kept]
        total = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), wanted.reshape(-1), ignore_index=IGNORED, reduction="sum"
        )
        count = num_items_in_batch if num_items_in_batch is not None else (wanted != IGNORED).sum()
        loss = total / count
        return (loss, outputs) if return_outputs else loss


class _Callback(TrainerCallback):  # type: ignore[misc]
    """Carries the trainer's events to a run's hooks."""

    def __init__(self, hooks: Hooks, tokens: Sequence[int]) -> None:
        self._hooks = hooks
        self._tokens = tokens

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del args
        number = state.global_step
        if self._hooks.should_stop():
            control.should_save = True
            control.should_training_stop = True
        # The loss of this step is known only when it is logged, right after.
        self._hooks.on_step(Step(number, len(self._tokens), self._tokens[number - 1], None))

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        del args, control
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            message = f"the loss is {loss} at step {state.global_step}; lower spec.training.learningRate"
            raise InputError("TrainingDiverged", "spec.training.learningRate", message)
        self._hooks.on_step(Step(state.global_step, len(self._tokens), 0, loss))

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        del control
        self._hooks.on_checkpoint(state.global_step, Path(args.output_dir) / f"checkpoint-{state.global_step}")


class SftLearner:
    """LoRA on a causal language model."""

    def __init__(self, config: RunConfig, folder: Path, examples: Sequence[Example], work: Path, threads: int) -> None:
        """Load the model, encode the examples, plan the steps."""
        torch.set_num_threads(threads)
        training = config.spec.training
        self._config = config
        self._work = work
        self._where = device() if training.gpus_per_node else "cpu"
        # The adapter's first weights are drawn when the trainer is made.
        set_seed(training.seed)
        self._model, self._tokenizer = load(folder, self._where)
        self._encoder = Encoder(self._tokenizer, training.max_length)
        encoded = self._encoder(examples)
        if self._encoder.shortened:
            say("examples were cut to spec.training.maxLength", examples=self._encoder.shortened)
        rows = Dataset.from_dict({"input_ids": [e.input_ids for e in encoded], "labels": [e.labels for e in encoded]})
        packing = training.packing is not False and self._where != "cpu"
        if training.packing and not packing:
            say("packing is off: on a CPU it is slower than batches of like length")
        if packing:
            rows = pack(rows.shuffle(seed=training.seed), training.max_length, "bfd")
        lengths = [len(ids) for ids in rows["input_ids"]]
        self._plan = plan.make(lengths, training, max_micro_tokens=MICRO_TOKENS.get(self._where, 16384))
        self._rows = rows.select(self._plan.order)
        self._trainer = self._make()
        self.settings = {
            "device": self._where,
            "threads": threads,
            "dtype": str(self._model.dtype).removeprefix("torch."),
            "packing": packing,
            "examplesPerStep": self._plan.batch,
            "microBatch": self._plan.micro,
            "accumulation": self._plan.accumulation,
            "examplesCut": self._encoder.shortened,
            "steps": self._plan.steps,
            "tokens": sum(self._plan.tokens),
        }
        say("training is planned", **self.settings)

    @property
    def steps(self) -> int:
        """How many optimizer steps the whole training has."""
        return self._plan.steps

    def _make(self) -> _Trainer:
        training, lora = self._config.spec.training, self._config.spec.method.lora
        on_cpu = self._where == "cpu"
        targets = "all-linear" if lora.target_modules == ["all-linear"] else lora.target_modules
        return _Trainer(
            model=self._model,
            processing_class=self._tokenizer,
            train_dataset=self._rows,
            data_collator=Collator(self._tokenizer.pad_token_id),
            peft_config=LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=targets,
                task_type="CAUSAL_LM",
            ),
            args=SFTConfig(
                output_dir=str(self._work),
                max_steps=self._plan.steps,
                per_device_train_batch_size=self._plan.micro,
                gradient_accumulation_steps=self._plan.accumulation,
                learning_rate=training.learning_rate,
                lr_scheduler_type="linear",
                warmup_steps=max(1, round(0.05 * self._plan.steps)),
                seed=training.seed,
                data_seed=training.seed,
                use_cpu=on_cpu,
                # On a CPU the weights' own type is used as it is: autocast would only add conversions.
                bf16=not on_cpu,
                gradient_checkpointing=False,
                max_length=None,
                packing=False,
                dataset_kwargs={"skip_prepare_dataset": True},
                remove_unused_columns=False,
                dataloader_num_workers=0,
                dataloader_pin_memory=not on_cpu,
                save_strategy="steps",
                save_steps=training.checkpoint_every_steps,
                save_total_limit=1,
                logging_steps=1 if on_cpu else 5,
                logging_nan_inf_filter=False,
                disable_tqdm=True,
                report_to=[],
            ),
        )

    def train(self, resume: Path | None, hooks: Hooks) -> int:
        """Train to the end, or to a checkpoint after `should_stop`, and return the step that was reached."""
        trainer = self._trainer
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(_Callback(hooks, self._plan.tokens))
        if resume is not None:
            reached = int(json.loads((resume / "trainer_state.json").read_text())["global_step"])
            if reached >= self._plan.steps:
                set_peft_model_state_dict(trainer.model, load_file(resume / ADAPTER))
                return reached
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        return int(trainer.state.global_step)

    def save(self, folder: Path) -> None:
        """Write the adapter's two files, the same bytes for the same weights."""
        folder.mkdir(parents=True, exist_ok=True)
        model = self._trainer.model
        weights = {name: tensor.cpu().contiguous() for name, tensor in get_peft_model_state_dict(model).items()}
        if any(not torch.isfinite(tensor).all() for tensor in weights.values()):
            message = "the adapter holds numbers that are not finite; lower spec.training.learningRate"
            raise InputError("TrainingDiverged", "spec.training.learningRate", message)
        save_file(weights, folder / ADAPTER, metadata={"format": "pt"})
        settings = {
            name: sorted(value) if isinstance(value, set | frozenset) else value
            for name, value in model.peft_config["default"].to_dict().items()
        }
        settings["base_model_name_or_path"] = self._config.spec.base_model.uri
        settings["inference_mode"] = True
        (folder / ADAPTER_CONFIG).write_text(json.dumps(settings, indent=2, sort_keys=True, default=str))

    def _answer(self, model: Any, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        encoded = self._encoder(examples)
        return generation.answer(
            model,
            self._tokenizer,
            [each.prompt for each in encoded],
            max_new_tokens=max(len(each.answer) for each in encoded),
            max_batch_tokens=GENERATION_TOKENS.get(self._where, 65536),
            on_answers=on_answers,
        )

    def answer_as_base(self, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        """What the untouched model answers."""
        with self._trainer.model.disable_adapter():
            return self._answer(self._trainer.model, examples, on_answers)

    def answer_as_candidate(self, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        """What the trained model answers, with the adapter merged."""
        return self._answer(self._trainer.model.merge_and_unload(), examples, on_answers)
