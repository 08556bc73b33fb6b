"""How long examples are: in the base model's own tokens where it has a tokenizer.json, else estimated.

The only module of measuring that knows the tokenizers library. A conversation is counted without what the model's chat
template puts around each message, so that its length is a little understated.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retune_trainer.data import Example

ESTIMATED = "characters/4"
# What comes after is counted as if it were like what came before: no training takes as much anyway.
LONGEST = 100_000


class Lengths:
    """Counts texts."""

    def __init__(self, tokenizer: Path | None) -> None:
        """`note` says why tokens are only estimated, where they are."""
        self._tokenizer: Any = None
        self.note = ""
        if tokenizer is None:
            self.note = "The base model has no tokenizer.json; lengths are characters/4."
            return
        try:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(tokenizer))
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        # The library raises a bare Exception for whatever is wrong in the file.
        except Exception:  # noqa: BLE001
            self._tokenizer = None
            self.note = "The base model's tokenizer.json cannot be read; lengths are characters/4."

    @property
    def unit(self) -> str:
        """What is counted."""
        return "tokens" if self._tokenizer is not None else ESTIMATED

    def count(self, texts: Sequence[str]) -> list[int]:
        """The length of each text, with the token that ends it."""
        if self._tokenizer is None:
            return [-(-len(text) // 4) for text in texts]
        # Lone surrogates are no text to the library.
        cut = [text[:LONGEST].encode("utf-8", "replace").decode() for text in texts]
        counts = [len(encoding) for encoding in self._tokenizer.encode_batch(cut)]
        return [round(count * max(1.0, len(text) / LONGEST)) + 1 for count, text in zip(counts, texts, strict=True)]


def text_of(example: Example) -> str:
    """What the model reads of an example in training."""
    return (
        f"{example.prompt}\n{example.completion}"
        if example.messages is not None
        else example.prompt + example.completion
    )


def summary(lengths: npt.NDArray[np.int64], unit: str) -> dict[str, Any]:
    """`details.lengths`: each number is a length that some example has."""
    p50, p95, p99 = (int(value) for value in np.percentile(lengths, [50, 95, 99], method="higher"))
    return {"unit": unit, "p50": p50, "p95": p95, "p99": p99, "max": int(lengths.max())}
