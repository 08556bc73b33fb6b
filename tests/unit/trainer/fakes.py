"""A store in memory, a learner without a model, and the configuration of a run: what these tests stand on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from retune_stores import Entry
from retune_stores.base import sha256_lines
from retune_stores.errors import NotFoundError
from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.learning.interface import Answered, Ask, Hooks, Step, Which


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
    curve: list[dict[str, float]] = field(default_factory=list)
    kind: Literal["adapter", "model"] = "adapter"
    # What each model says to an example, the best first; by default the base knows nothing and the others everything.
    says: dict[Which, Callable[[Example], tuple[str, ...]]] = field(default_factory=dict)
    nll: dict[Which, float] = field(default_factory=lambda: {Which.BASE: 2.0, Which.STABLE: 1.5, Which.CANDIDATE: 1.0})
    asked: list[tuple[Which, int, Ask]] = field(default_factory=list)
    stable: dict[str, bytes] | None = None

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

    def load_stable(self, folder: Path) -> None:
        self.stable = {path.name: path.read_bytes() for path in folder.iterdir()}

    def answers(
        self, which: Which, examples: Sequence[Example], ask: Ask, on_answers: Callable[[int], None]
    ) -> list[Answered]:
        assert which is not Which.STABLE or self.stable is not None, "stable was not loaded"
        earlier = list(Which)[list(Which).index(which) + 1 :]
        assert not any(each in earlier for each, _, _ in self.asked), "adapters are merged: there is no way back"
        self.asked.append((which, len(examples), ask))
        on_answers(len(examples))
        knows = (lambda _: ("no idea",)) if which is Which.BASE else (lambda example: (example.completion,))
        say = self.says.get(which, knows)
        likelihood = (self.nll[which] * 3, 3) if ask.likelihood else (None, None)
        return [Answered(say(example)[: ask.best], *likelihood) for example in examples]
