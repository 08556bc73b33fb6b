"""A store in memory, a learner without a model, and the configuration of a run: what these tests stand on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.errors import NotFoundError
from retune_trainer.learning.interface import Hooks, Step
from retune_trainer.stores import Entry
from retune_trainer.stores.base import sha256_lines


class MemoryStore:
    """A `Store` whose objects are a dictionary. `writes` lists the paths in the order they were written."""

    def __init__(self, uri: str = "s3://models/retune/ns/job/run-1") -> None:
        self.uri = uri
        self.objects: dict[str, bytes] = {}
        self.writes: list[str] = []

    def entries(self, prefix: str = "") -> list[Entry]:
        return sorted(
            Entry(p, len(c), hashlib.md5(c).hexdigest()) for p, c in self.objects.items() if p.startswith(prefix)
        )

    def identity(self) -> str:
        return sha256_lines(f"{e.path} {e.size} {e.tag}" for e in self.entries())

    def read(self, path: str) -> bytes:
        if path not in self.objects:
            raise NotFoundError(f"{self.uri}/{path}")
        return self.objects[path]

    def download(self, path: str, target: Path) -> str:
        content = self.read(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        return hashlib.sha256(content).hexdigest()

    def put(self, path: str, content: bytes | Path, *, if_absent: bool = False) -> bool:
        if if_absent and path in self.objects:
            return False
        self.objects[path] = content.read_bytes() if isinstance(content, Path) else content
        self.writes.append(path)
        return True

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            self.objects.pop(path, None)


def document(uid: str = "uid-1", **spec: Any) -> dict[str, Any]:
    """A run.json."""
    return {
        "run": {"namespace": "ns", "job": "job", "name": "job-1", "uid": uid, "number": 1},
        "spec": {
            "baseModel": {"uri": "pvc://store/models/base"},
            "dataset": {"train": {"uri": "pvc://store/train.jsonl"}, "gold": {"uri": "pvc://store/gold.jsonl"}},
            "training": {"epochs": 1, "checkpointEverySteps": 2},
            "artifacts": {"uri": "pvc://store/out"},
            "evaluation": {"metrics": [{"name": "ExactMatch"}], "acceptance": {"metric": "ExactMatch"}},
            **spec,
        },
    }


def run_config(uid: str = "uid-1", attempt: int = 1, expected: dict[str, Any] | None = None, **spec: Any) -> RunConfig:
    content = document(uid, **spec)
    return RunConfig.model_validate(
        {**content, "attempt": attempt, "rawSpec": content["spec"], "expected": expected or {}}
    )


def write_model(folder: Path) -> None:
    """What looks like a model to all but a real loader."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")


def write_rows(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def rows(count: int, word: str = "train") -> list[dict[str, str]]:
    return [{"prompt": f"{word} question {n}", "completion": f"answer {n}"} for n in range(count)]


@dataclass
class FakeLearner:
    """Counts steps instead of making them; writes a checkpoint every `every` steps, like the real one."""

    work: Path
    steps: int = 6
    every: int = 2
    before_step: Callable[[int], None] = lambda _: None
    trained: list[int] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def _checkpoint(self, step: int, hooks: Hooks) -> None:
        folder = self.work / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_text(f"after {step}")
        (folder / "training_args.bin").write_text("a pickle")
        hooks.on_checkpoint(step, folder)

    def train(self, resume: Path | None, hooks: Hooks) -> int:
        start = int((resume / "weights").read_text().split()[1]) if resume else 0
        for step in range(start + 1, self.steps + 1):
            self.before_step(step)
            self.trained.append(step)
            stopping = hooks.should_stop()
            hooks.on_step(Step(step, self.steps, 10, None))
            hooks.on_step(Step(step, self.steps, 0, 1.0 / step))
            if step % self.every == 0 or step == self.steps or stopping:
                self._checkpoint(step, hooks)
            if stopping:
                return step
        return self.steps

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text("{}")
        (folder / "adapter_model.safetensors").write_bytes(b"learned")

    def answer_as_base(self, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        on_answers(len(examples))
        return ["no idea"] * len(examples)

    def answer_as_candidate(self, examples: Sequence[Example], on_answers: Callable[[int], None]) -> list[str]:
        on_answers(len(examples))
        return [example.completion for example in examples]
