"""Checkpoints in the store: complete or not there at all. Touches `checkpoints/` of the run's own folder."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune_stores import Store
from retune_stores.base import sha256_file
from retune_stores.errors import NotFoundError
from retune_trainer.attempts import Attempts
from retune_trainer.config import RunConfig
from retune_trainer.log import say

ROOT = "checkpoints/"
COMPLETE = "complete.json"
KEPT = 2
_COMPLETE = re.compile(rf"{ROOT}a(?P<attempt>\d+)/step-(?P<step>\d+)/{re.escape(COMPLETE)}")
# A pickle, a text for people, and what already lies with the base model: no resume needs them.
LEFT_OUT = re.compile(r"training_args\.bin|README\.md|tokenizer.*|special_tokens_map\.json|chat_template\.jinja")


@dataclass(frozen=True)
class Checkpoint:
    """A complete checkpoint, as its folder's name says."""

    attempt: int
    step: int

    @property
    def folder(self) -> str:
        """Where it lies, with a slash at the end."""
        return f"{ROOT}a{self.attempt}/step-{self.step}/"


class Checkpoints:
    """The checkpoints of one run, as one attempt sees them."""

    def __init__(self, config: RunConfig, store: Store, attempts: Attempts) -> None:
        """Nothing is read yet."""
        self._config = config
        self._store = store
        self._attempts = attempts

    def found(self) -> list[Checkpoint]:
        """All that are complete, of any attempt, the best to resume from first: most steps, then newest attempt."""
        matches = (_COMPLETE.fullmatch(entry.path) for entry in self._store.entries(ROOT))
        all_ = [Checkpoint(int(match["attempt"]), int(match["step"])) for match in matches if match]
        return sorted(all_, key=lambda checkpoint: (-checkpoint.step, -checkpoint.attempt))

    def restore(self, target: Path) -> tuple[int, Path] | None:
        """Bring the best one here: its step and folder, or None when there is none.

        One that is damaged, or of another run of the same name, is passed over.
        """
        for checkpoint in self.found():
            folder = target / f"checkpoint-{checkpoint.step}"
            if self._bring(checkpoint, folder):
                say("resuming", step=checkpoint.step, fromAttempt=checkpoint.attempt)
                return checkpoint.step, folder
        return None

    def _bring(self, checkpoint: Checkpoint, folder: Path) -> bool:
        try:
            complete = json.loads(self._store.read(checkpoint.folder + COMPLETE))
            if complete.get("uid") != self._config.run.uid:
                return False
            files: dict[str, dict[str, Any]] = complete["files"]
            for name, wanted in files.items():
                if self._store.download(checkpoint.folder + name, folder / name) != wanted["sha256"]:
                    say("checkpoint is damaged and passed over", step=checkpoint.step, file=name)
                    return False
        except (NotFoundError, ValueError, KeyError, AttributeError):
            say("checkpoint is damaged and passed over", step=checkpoint.step)
            return False
        return True

    def save(self, step: int, folder: Path) -> float:
        """Upload a local checkpoint, `complete.json` last, and return the seconds it took.

        Raises:
            SupersededError: a newer attempt has taken over; nothing was written.
        """
        self._attempts.check()
        began = time.monotonic()
        checkpoint = Checkpoint(self._config.attempt, step)
        files = {}
        for path in sorted(folder.iterdir()):
            if path.is_file() and not LEFT_OUT.fullmatch(path.name):
                self._store.put(checkpoint.folder + path.name, path)
                files[path.name] = {"size": path.stat().st_size, "sha256": sha256_file(path)}
        complete = {"run": self._config.run.name, "uid": self._config.run.uid, "step": step, "files": files}
        self._store.put(checkpoint.folder + COMPLETE, json.dumps(complete).encode())
        self._prune()
        return time.monotonic() - began

    def _prune(self) -> None:
        """Keep this attempt's newest two; those of others are theirs."""
        own = [checkpoint for checkpoint in self.found() if checkpoint.attempt == self._config.attempt]
        for checkpoint in own[KEPT:]:
            paths = [entry.path for entry in self._store.entries(checkpoint.folder)]
            # Without complete.json it does not exist: that goes first.
            paths.sort(key=lambda path: not path.endswith(f"/{COMPLETE}"))
            self._store.delete(paths)
