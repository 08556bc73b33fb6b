"""Training speed on one GPU without any download: random weights of real shapes, made on the device.

    python benchmarks/training/gpu.py [--sizes 8B,3B,1.5B,0.5B,7B] [--seconds 480] [--out results.jsonl] [--profile DIR]

Needs torch, transformers, peft, accelerate, datasets, trl, pydantic, pyarrow and, for QLoRA, bitsandbytes and pytest.
First come the tests that need a GPU. Then every size, in a process of its own, prints one JSON line for every case:
real tokens (no padding) a second after the warm-up, peak GPU memory, and what was decided. What does not fit into the
time is left out and said. Touches a temporary folder, the result file and the profile's folder.

Cases: `retune` (packed); `retune-padded`; `retune-unfused` (packed, by PEFT's and the model's own layers);
`retune-default-step` (the default of 8,192 tokens a step); `trl`, SFTTrainer with nothing set but the adapter, on the
same examples; `trl-same-batch`, the same with as many examples a step as retune.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
WARM_UP = 3
LORA = {"rank": 16, "alpha": 32}
MAX_LENGTH = 1024
# Shapes of published models; tokens a second that were set as the aim for an H200, and tokens a step.
SIZES: dict[str, dict[str, Any]] = {
    "0.5B": {"shape": (896, 4864, 24, 14, 2, 151936, True), "aim": 130_000, "step": 32768},
    "1.5B": {"shape": (1536, 8960, 28, 12, 2, 151936, True), "aim": 60_000, "step": 32768},
    "3B": {"shape": (3072, 8192, 28, 24, 8, 128256, True), "aim": 36_000, "step": 16384},
    "7B": {"shape": (3584, 18944, 28, 28, 4, 152064, False), "aim": 18_000, "step": 16384},
    "8B": {"shape": (4096, 14336, 32, 32, 8, 128256, False), "aim": 16_000, "step": 16384},
}
CASES = {
    "8B": ("retune", "trl", "retune-unfused", "retune-padded"),
    "0.5B": ("retune", "trl", "trl-same-batch", "retune-unfused", "retune-padded", "retune-default-step"),
}
USUAL = ("retune", "trl", "retune-padded")
# Seconds that a case should be measured for.
LENGTH = 10.0


def say(**line: Any) -> None:
    """One JSON line, at once."""
    print(json.dumps(line), flush=True)


def examples(count: int) -> list[tuple[str, str]]:
    """Questions and answers as long as a support desk's: log-normal, medians of 120 and 60 tokens."""
    rng = random.Random(7)  # noqa: S311

    def text(median: float, low: int, high: int) -> str:
        length = min(high, max(low, int(rng.lognormvariate(0, 0.7) * median)))
        return " ".join(f"w{rng.randrange(1000)}" for _ in range(length))

    return [(text(120, 8, 700), " " + text(60, 2, 300)) for _ in range(count)]


def folder_of(size: str, folder: Path) -> Path:
    """A model's folder without weights: configuration and a tokenizer of a thousand words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, PreTrainedTokenizerFast

    hidden, inner, layers, heads, keys, vocabulary, tied = SIZES[size]["shape"]
    LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=keys,
        max_position_embeddings=4096,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=1,
        dtype="bfloat16",
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)
    words = {"<s>": 0, "</s>": 1, "<unk>": 2, **{f"w{number}": number + 3 for number in range(1000)}}
    made = Tokenizer(models.WordLevel(vocab=words, unk_token="<unk>"))  # noqa: S106
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}
    wrapped = PreTrainedTokenizerFast(tokenizer_object=made, **special)
    wrapped.save_pretrained(folder)
    return folder


def load(folder: Path, where: str = "cuda", **_: Any) -> tuple[Any, Any]:
    """Stands in for reading weights from disk."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    with torch.device(where):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16)
    return model.eval(), AutoTokenizer.from_pretrained(folder)


class Watch:
    """Real tokens a second between two steps. Waits for the device at these two, not at every one."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._began = self._ended = 0.0
        self.tokens = 0

    def step(self, number: int, tokens: int) -> None:
        import torch

        if WARM_UP < number <= self._last:
            self.tokens += tokens
        if number in {WARM_UP, self._last}:
            torch.cuda.synchronize()
            self._began, self._ended = (self._began or time.monotonic()), time.monotonic()

    def result(self) -> dict[str, Any]:
        import torch

        seconds = self._ended - self._began
        peak = torch.cuda.max_memory_allocated() / 2**30
        return {
            "tokensPerSecond": round(self.tokens / seconds),
            "seconds": round(seconds, 1),
            "tokens": self.tokens,
            "peakGiB": round(peak, 1),
        }


def retune(size: str, case: str, folder: Path, work: Path, profile: Path | None) -> dict[str, Any]:
    """Our learner, as a run's pod calls it, but for the weights."""
    import torch

    from retune_trainer.config import RunConfig
    from retune_trainer.data import Example
    from retune_trainer.learning import fused, methods, sft
    from retune_trainer.learning.interface import Hooks, Step

    methods.model.load = load  # type: ignore[assignment]
    unfused = contextlib.nullcontext
    before = fused.layers
    if case == "retune-unfused":
        fused.layers = lambda *_, **__: unfused(0)  # type: ignore[assignment]
    step_tokens = 8192 if case == "retune-default-step" else SIZES[size]["step"]
    steps = WARM_UP + max(5, int(LENGTH * SIZES[size]["aim"] / step_tokens))
    here = {"uri": "pvc://local/data.jsonl"}
    # Two more to be looked at closely, which takes time of its own.
    made = steps + (2 if profile is not None else 0)
    training = {"maxSteps": made, "batchTokens": step_tokens, "maxLength": MAX_LENGTH, "checkpointEverySteps": 10**6}
    spec = {
        "baseModel": here,
        "dataset": {"train": here, "gold": here},
        "artifacts": here,
        "method": {"type": "LoRA", "lora": LORA},
        "training": {**training, "packing": case != "retune-padded"},
    }
    run = {"namespace": "n", "job": "j", "name": "r", "uid": "u", "number": 1}
    config = RunConfig.model_validate({"run": run, "spec": spec})
    rows = [Example(prompt, answer) for prompt, answer in examples(4000)]
    learner = sft.SftLearner(config, folder, rows, work, os.cpu_count() or 1)
    watch = Watch(steps)
    recorder: Any = None

    def on_step(step: Step) -> None:
        nonlocal recorder
        if not step.tokens:
            return
        watch.step(step.number, step.tokens)
        if profile is not None and step.number == steps:
            recorder = torch.profiler.profile()
            recorder.start()

    learner.train(None, Hooks(on_step, lambda *_: None, lambda: False))
    found = watch.result()
    if recorder is not None and profile is not None:
        recorder.stop()
        table = recorder.key_averages().table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=90)
        (profile / f"{case}-{size}.txt").write_text(table)
    fused.layers = before
    first, last = learner.curve[0]["loss"], learner.curve[-1]["loss"]
    return {**found, "loss": [first, last], "settings": learner.settings}


def trl(size: str, case: str, folder: Path, work: Path, same: int) -> dict[str, Any]:
    """SFTTrainer as its documentation's first example calls it, on the same examples with the same adapter."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    model, tokenizer = load(folder)
    waiting: list[int] = []

    class Timer(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            # The loader is one batch ahead.
            watch.step(state.global_step, waiting.pop(0))

    # By its defaults a step is eight examples.
    a_step = (same or 8) * 220
    steps = WARM_UP + max(5, int(LENGTH * 0.4 * SIZES[size]["aim"] / a_step))
    watch = Watch(steps)
    options = {"per_device_train_batch_size": same} if case == "trl-same-batch" else {}
    trainer = SFTTrainer(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list([{"prompt": p, "completion": c} for p, c in examples(4000)]),
        peft_config=LoraConfig(
            r=LORA["rank"], lora_alpha=LORA["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=SFTConfig(
            output_dir=str(work), max_steps=steps, report_to=[], save_strategy="no", disable_tqdm=True, **options
        ),
        callbacks=[Timer()],
    )
    collate = trainer.data_collator

    def counting(batch: list[dict[str, Any]]) -> dict[str, Any]:
        made: dict[str, Any] = collate(batch)
        waiting.append(int(made["attention_mask"].sum()))
        return made

    trainer.data_collator = counting
    trainer.train()
    args = trainer.args
    settings = {"examplesPerStep": args.per_device_train_batch_size, "checkpointing": args.gradient_checkpointing}
    return {**watch.result(), "settings": settings}


def one_size(size: str, deadline: float, profile: Path | None) -> None:
    """All cases of a size, in this process."""
    import torch

    same = 0
    with tempfile.TemporaryDirectory() as scratch:
        folder = folder_of(size, Path(scratch) / "model")
        for number, case in enumerate(CASES.get(size, USUAL)):
            if time.time() > deadline - 25:
                say(size=size, case=case, leftOut="no time")
                continue
            began = time.monotonic()
            torch.cuda.reset_peak_memory_stats()
            try:
                work = Path(scratch) / f"work{number}"
                if case.startswith("trl"):
                    found = trl(size, case, folder, work, same)
                else:
                    found = retune(size, case, folder, work, profile if case == "retune" else None)
                    same = same or found["settings"]["examplesPerStep"]
                wall = round(time.monotonic() - began, 1)
                ratio = round(found["tokensPerSecond"] / SIZES[size]["aim"], 2)
                say(size=size, case=case, ofAim=ratio, wall=wall, **found)
            except Exception as error:  # noqa: BLE001 - the other cases are worth having
                import traceback

                say(size=size, case=case, failed=f"{type(error).__name__}: {error}"[:300])
                traceback.print_exc()
            gc.collect()
            torch.cuda.empty_cache()


def machine() -> dict[str, Any]:
    """What this was measured on."""
    import peft
    import torch
    import transformers
    import trl

    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "peft": peft.__version__,
        "trl": trl.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", default="8B,0.5B,3B,1.5B,7B")
    parser.add_argument("--seconds", type=float, default=480)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--size", help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    sys.path.insert(0, str(ROOT / "images" / "trainer"))
    if given.size:
        say(**machine())
        one_size(given.size, given.deadline, given.profile)
        return
    deadline = time.time() + given.seconds
    if given.profile:
        given.profile.mkdir(parents=True, exist_ok=True)
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TQDM_DISABLE": "1",
        "PYTORCH_ALLOC_CONF": "expandable_segments:True",
        "PYTHONPATH": os.pathsep.join(
            filter(
                None,
                [str(ROOT), str(ROOT / "images/trainer"), str(ROOT / "images/stores"), os.environ.get("PYTHONPATH")],
            )
        ),
    }
    lines: list[str] = []

    def follow(command: list[str], limit: float) -> None:
        """Run, and pass on what it prints as it comes; its errors' end, should it fail."""
        with (
            tempfile.TemporaryFile("w+") as errors,
            subprocess.Popen(command, env=env, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=errors) as child,
        ):
            assert child.stdout is not None
            late = threading.Timer(max(1, limit), child.kill)
            late.start()
            for line in child.stdout:
                print(line, end="", flush=True)
                lines.append(line)
            child.wait()
            late.cancel()
            errors.seek(0)
            text = errors.read()
            if child.returncode or "Traceback" in text:
                print(text[-4000:], flush=True)

    # Without the repository's own settings: they want plugins that such a machine does not have.
    tests = [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir=.", "--confcutdir=tests/learning"]
    tests += ["tests/learning/test_on_a_gpu.py", "-q", "-p", "no:cacheprovider", "--tb=short", "-rs"]
    follow(tests, deadline - time.time())
    for size in given.sizes.split(","):
        if time.time() > deadline - 40:
            say(size=size, leftOut="no time")
            continue
        command = [sys.executable, __file__, "--size", size, "--deadline", str(deadline)]
        follow([*command, *(["--profile", str(given.profile)] if given.profile else [])], deadline - time.time())
    if given.out:
        given.out.write_text("".join(lines))


if __name__ == "__main__":
    main()
