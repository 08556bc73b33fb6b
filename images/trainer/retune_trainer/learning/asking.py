"""Base, stable and candidate, one in memory at a time, all asked in the same way.

Each is made from files: what is evaluated is what was published. Adapters are merged, which a CPU answers several times
faster; a merge in 16 bits cannot be undone exactly, so the next model starts from the base on disk again.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from retune_trainer.config import Method
from retune_trainer.learning import generation, likelihood, methods, weights
from retune_trainer.learning.encoding import Encoded
from retune_trainer.learning.interface import Answered, Ask, Which

# Padded tokens in one batch of answers.
TOKENS = {"cpu": 4096, "cuda": 65536}
# A pass that scores references keeps logits for whole answers, not for one position.
SCORED_TOKENS = {"cpu": 2048, "cuda": 16384}


class Models:
    """The three models of a run."""

    def __init__(self, method: Method, base: Path, where: str) -> None:
        """Nothing is loaded before it is asked for."""
        self._method = method
        self._base = base
        self._where = where
        self._folders: dict[Which, Path] = {}
        self._current: tuple[Which, Any] | None = None

    def add(self, which: Which, folder: Path) -> None:
        """Say where stable's or the candidate's files lie."""
        self._folders[which] = folder
        if self._current is not None and self._current[0] is which:
            self._current = None

    def has(self, which: Which) -> bool:
        """Whether that model's files are known."""
        return which is Which.BASE or which in self._folders

    def folder(self, which: Which) -> Path:
        """Where a model's files lie."""
        return self._base if which is Which.BASE else self._folders[which]

    def start(self, base: Any) -> None:
        """Take an untouched base model that is in memory already."""
        self._current = (Which.BASE, base)

    def drop(self) -> None:
        """Free the memory."""
        self._current = None
        gc.collect()
        if self._where.startswith("cuda"):
            torch.cuda.empty_cache()

    def get(self, which: Which) -> Any:
        """That model, ready to be asked."""
        if self._current is not None and self._current[0] is which:
            return self._current[1]
        folder = self.folder(which)
        if which is Which.BASE or not weights.is_adapter(folder):
            self.drop()
            # A model of its own is asked as it will be served, whatever the method trains it in.
            method = self._method if which is Which.BASE else Method(type="Full")
            model, _ = methods.load(method, folder, self._where, train=False)
        else:
            model = self._merged(self.get(Which.BASE), folder)
        self._current = (which, model)
        return model

    def _merged(self, base: Any, folder: Path) -> Any:
        model = PeftModel.from_pretrained(base, str(folder))
        # Merging into 4 bits would round the adapter away.
        return model if self._method.type == "QLoRA" else model.merge_and_unload()

    def answers(
        self, which: Which, tokenizer: Any, encoded: Sequence[Encoded], ask: Ask, on_answers: Callable[[int], None]
    ) -> list[Answered]:
        """What that model answers, in the examples' order."""
        model = self.get(which)
        kind = self._where.partition(":")[0]
        texts: list[tuple[str, ...]] = [()] * len(encoded)

        def unheard(count: int) -> None:
            on_answers(0 * count)

        if ask.best:
            texts = generation.answer(
                model,
                tokenizer,
                [each.prompt for each in encoded],
                best=ask.best,
                max_new_tokens=max(len(each.answer) for each in encoded),
                max_batch_tokens=TOKENS.get(kind, TOKENS["cuda"]),
                on_answers=on_answers,
            )
        if not ask.likelihood:
            return [Answered(each) for each in texts]
        found = likelihood.of_references(
            model,
            encoded,
            pad=tokenizer.pad_token_id,
            max_batch_tokens=SCORED_TOKENS.get(kind, SCORED_TOKENS["cuda"]),
            # An example counts once, when its text is there; but whoever listens may want to stop in between.
            on_answers=unheard if ask.best else on_answers,
        )
        return [Answered(text, value, each.scored) for text, value, each in zip(texts, found, encoded, strict=True)]
