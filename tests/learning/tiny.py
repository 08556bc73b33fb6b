"""A model of a few thousand random weights, its tokenizer, and runs on it: made on the spot, nothing is downloaded."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.learning.interface import Hooks
from retune_trainer.learning.sft import SftLearner

WORDS = ("the", "order", "parcel", "is", "late", "broken", "not", "sent", "please", "refund", "my", "money", "again")
LABELS = ("delivery", "refund", "other")


def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: number for number, letter in enumerate(["<s>", "</s>", *letters])}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")


def base(folder: Path, *, dtype: torch.dtype = torch.float32, hidden: int = 32, seed: int = 0) -> Path:
    """A base model on disk."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=258,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
        # Large enough that every token's neighbours show in its logits.
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def examples(count: int, seed: int = 0) -> list[Example]:
    """Questions of many lengths, with answers that can be learned: the first word decides."""
    rng = random.Random(seed)
    found = []
    for _ in range(count):
        words = [rng.choice(WORDS) for _ in range(rng.randint(2, 9))]
        found.append(Example(" ".join(words) + "\n", LABELS[len(words[0]) % 3]))
    return found


def config(**changes: Any) -> RunConfig:
    """A run on the CPU; `changes` are parts of its training, and `method`."""
    here = {"uri": "pvc://models/base"}
    method = changes.pop("method", {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}})
    training = {
        "maxSteps": 6,
        "learningRate": 0.01,
        "batchTokens": 200,
        "maxLength": 128,
        "checkpointEverySteps": 100,
        "gpusPerNode": 0,
        **changes,
    }
    spec = {"baseModel": here, "dataset": {"train": here, "gold": here}, "artifacts": here}
    run = {"namespace": "n", "job": "j", "name": "r", "uid": "u", "number": 1}
    return RunConfig.model_validate({"run": run, "spec": {**spec, "method": method, "training": training}})


def learner(folder: Path, work: Path, rows: list[Example] | None = None, **changes: Any) -> SftLearner:
    """A learner on the tiny model."""
    rows = examples(40) if rows is None else rows
    return SftLearner(config(**changes), folder, rows, work, torch.get_num_threads())


def hooks(steps: list[Any] | None = None, stop_at: int | None = None, kept: list[Path] | None = None) -> Hooks:
    """Hooks that write down what they are told, and ask for an end after a step."""
    seen = [] if steps is None else steps

    def on_checkpoint(step: int, folder: Path) -> None:
        del step
        if kept is not None:
            kept.append(folder)

    return Hooks(
        on_step=seen.append,
        on_checkpoint=on_checkpoint,
        # Asked after each step, before that step is told.
        should_stop=lambda: stop_at is not None and len({s.number for s in seen}) + 1 >= stop_at,
    )


def bytes_of(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
