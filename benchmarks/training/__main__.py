"""Training speed against TRL's plain defaults: same model, same data, same machine, same container, in turn.

    python benchmarks/training --model DIR --data train.jsonl [--rounds 3] [--steps 20] [--out result.json]

Runs wherever the trainer's libraries are: in the trainer image, with this folder mounted, or in its virtual environment
with images/trainer and images/stores on PYTHONPATH. Each measurement is a process of its own, and the variants take
turns, so that a busy neighbour hurts all of them alike. Counted are real tokens, without padding, from the end of the
second step on.

Variants: `retune`; `trl`, SFTTrainer with nothing set but the adapter; `trl-same-batch`, the same with as many examples
a step as retune takes. Touches a temporary folder and the result file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WARM_UP = 2
VARIANTS = ("retune", "trl", "trl-same-batch")
LORA = {"rank": 16, "alpha": 32}


class Clock:
    """Tokens and seconds after the warm-up."""

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []
        self._tokens = 0

    def step(self, tokens: int) -> None:
        """Count a step that just ended."""
        self._tokens += tokens
        self._marks.append((time.monotonic(), self._tokens))

    def result(self) -> dict[str, Any]:
        """Tokens per second, and what it was computed from."""
        (began, before), (ended, after) = self._marks[WARM_UP - 1], self._marks[-1]
        seconds, tokens = ended - began, after - before
        return {"tokensPerSecond": tokens / seconds, "tokens": tokens, "seconds": seconds}


def retune(arguments: argparse.Namespace) -> dict[str, Any]:
    """Our trainer, as a run's pod calls it."""
    from retune_trainer import cpus, data
    from retune_trainer.config import RunConfig
    from retune_trainer.learning.interface import Hooks, Step
    from retune_trainer.learning.sft import SftLearner

    here = {"uri": "pvc://local/data.jsonl"}
    spec = {
        "baseModel": here,
        "dataset": {"train": here, "gold": here},
        "artifacts": here,
        "method": {"type": "LoRA", "lora": LORA},
        "training": {
            "maxSteps": arguments.steps,
            "batchTokens": arguments.batch_tokens,
            "maxLength": arguments.max_length,
            "checkpointEverySteps": 10 * arguments.steps,
        },
    }
    run = {"namespace": "n", "job": "j", "name": "r", "uid": "u", "number": 1}
    config = RunConfig.model_validate({"run": run, "spec": spec})
    _, found = data.examples(arguments.data, data.Origin(str(arguments.data), "data"))
    clock = Clock()

    def on_step(step: Step) -> None:
        if step.tokens:
            clock.step(step.tokens)

    with tempfile.TemporaryDirectory() as work:
        learner = SftLearner(config, arguments.model, list(found), Path(work), cpus.available())
        learner.train(None, Hooks(on_step, lambda *_: None, lambda: False))
    return {**clock.result(), "settings": learner.settings}


def trl(arguments: argparse.Namespace) -> dict[str, Any]:
    """SFTTrainer as its documentation's first example calls it, with the same adapter."""
    import torch
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=str(arguments.data), split="train").select_columns(["prompt", "completion"])
    clock = Clock()
    waiting: list[int] = []

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: object, **__: object) -> None:
            # The loader is one batch ahead.
            clock.step(waiting.pop(0))

    with tempfile.TemporaryDirectory() as work:
        same = {"per_device_train_batch_size": arguments.same_batch} if arguments.same_batch else {}
        # Without a GPU, TRL's defaults do not start unless told that this is meant.
        where: dict[str, Any] = {"use_cpu": True} if not torch.cuda.is_available() else {}
        options = SFTConfig(
            output_dir=work, max_steps=arguments.steps, report_to=[], save_strategy="no", **same, **where
        )
        trainer = SFTTrainer(
            model=str(arguments.model),
            args=options,
            train_dataset=rows,
            peft_config=LoraConfig(
                r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
            ),
            callbacks=[Timer()],
        )
        collate = trainer.data_collator

        def counting(batch: list[dict[str, Any]]) -> dict[str, Any]:
            made: dict[str, Any] = collate(batch)
            waiting.append(int(made["attention_mask"].sum()) if "attention_mask" in made else made["input_ids"].numel())
            return made

        trainer.data_collator = counting
        trainer.train()
    settings = {
        "device": str(trainer.args.device),
        "dtype": str(trainer.model.dtype),
        "examplesPerStep": options.per_device_train_batch_size * options.gradient_accumulation_steps,
        "gradientCheckpointing": options.gradient_checkpointing,
        "bf16": options.bf16,
        "threads": torch.get_num_threads(),
    }
    return {**clock.result(), "settings": settings}


def measure(variant: str, arguments: argparse.Namespace, same_batch: int) -> dict[str, Any]:
    """One measurement in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [sys.executable, str(Path(__file__).parent), "--variant", variant, "--out", str(out)]
        for name in ("model", "data", "steps", "batch_tokens", "max_length"):
            command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
        if variant == "trl-same-batch":
            command += ["--same-batch", str(same_batch)]
        quiet = {"TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
        # For all alike: without it, neighbours on the same cores decide the result.
        quiet["OMP_WAIT_POLICY"] = "PASSIVE"
        done = subprocess.run(command, env={**os.environ, **quiet}, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{variant} failed:\n{done.stderr[-3000:]}")
        result: dict[str, Any] = json.loads(out.read_text())
        return result


def compare(arguments: argparse.Namespace) -> dict[str, Any]:
    """All variants, in turn, as often as asked for."""
    found: dict[str, list[dict[str, Any]]] = {variant: [] for variant in VARIANTS}
    for number in range(arguments.rounds):
        for variant in VARIANTS:
            same = found["retune"][0]["settings"]["examplesPerStep"] if found["retune"] else 0
            found[variant].append(measure(variant, arguments, same))
            print(f"round {number + 1}: {variant} {found[variant][-1]['tokensPerSecond']:.1f} tokens/s", flush=True)
    speeds = {variant: [result["tokensPerSecond"] for result in results] for variant, results in found.items()}
    medians = {variant: statistics.median(values) for variant, values in speeds.items()}
    return {
        "machine": {"cores": len(os.sched_getaffinity(0)), "platform": platform.machine()},
        "arguments": {name: str(value) for name, value in vars(arguments).items() if value is not None},
        "settings": {variant: results[0]["settings"] for variant, results in found.items()},
        "tokensPerSecond": speeds,
        "median": medians,
        "ratio": {variant: medians["retune"] / medians[variant] for variant in VARIANTS if variant != "retune"},
    }


def main() -> None:
    """Compare, or make the one measurement of a child process."""
    parser = argparse.ArgumentParser(prog="benchmarks/training")
    parser.add_argument("--model", type=Path, required=True, help="folder of a Hugging Face model")
    parser.add_argument("--data", type=Path, required=True, help="JSON Lines with prompt and completion")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch-tokens", type=int, default=384)
    parser.add_argument("--max-length", type=int, default=128)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--same-batch", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.variant:
        result = retune(arguments) if arguments.variant == "retune" else trl(arguments)
    else:
        result = compare(arguments)
        for variant, median in result["median"].items():
            print(f"{variant:15} {median:8.1f} tokens/s (median of {arguments.rounds})")
        for variant, ratio in result["ratio"].items():
            print(f"retune is {ratio:.2f} times as fast as {variant}")
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
