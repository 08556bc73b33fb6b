"""Writes what is trained on where that is not the source as it is: JSON Lines, the same bytes every time.

Written are the columns that training and evaluation read, and no others: whatever else a row holds stays where it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from retune_trainer.config import Dataset
from retune_trainer.data import Format, Row
from retune_trainer.data.formats import label_column


@dataclass(frozen=True)
class Prepared:
    """A file on this machine's disk, and what it will be called."""

    file: Path
    path: str
    digest: str
    examples: int

    def resolved(self) -> dict[str, object]:
        """As the contract has it."""
        return {"path": self.path, "digest": self.digest, "examples": self.examples}


def texts(form: Format, row: Row, change: Callable[[str], str]) -> Row:
    """The columns of an example, with every text in them changed. Classes that are numbers stay as they are."""
    if form is Format.MESSAGES:
        return {"messages": [{"role": turn["role"], "content": change(turn["content"])} for turn in row["messages"]]}
    if form is Format.PROMPT_COMPLETION:
        return {"prompt": change(row["prompt"]), "completion": change(row["completion"])}
    if form is Format.TEXT:
        return {"text": change(row["text"])}
    name = label_column(row)
    label = row[name]
    return {"text": change(row["text"]), name: change(label) if isinstance(label, str) else label}


def columns(dataset: Dataset, row: Row) -> Row:
    """Those that fields of the spec name."""
    named = (dataset.segment_field, dataset.weight_field, dataset.time_field, dataset.annotators_field)
    return {name: row[name] for name in named if name is not None and name in row}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime | date) else str(value)


class Writer:
    """Writes one set. Used as a context; `finished` names the file by its content."""

    def __init__(self, file: Path, name: str) -> None:
        """`name` says which set it is: train or fresh."""
        self._file = file
        self._name = name
        self._digest = hashlib.sha256()
        self._examples = 0

    def __enter__(self) -> Self:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._out: IO[bytes] = self._file.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._out.close()

    def add(self, row: Mapping[str, object]) -> None:
        """One row."""
        try:
            line = json.dumps(row, ensure_ascii=False, default=_plain).encode()
        except UnicodeEncodeError:
            # A lone surrogate came in by an escape and can only leave by one.
            line = json.dumps(row, default=_plain).encode()
        line += b"\n"
        self._digest.update(line)
        self._out.write(line)
        self._examples += 1

    def finished(self) -> Prepared:
        """The set as it now lies there."""
        digest = self._digest.hexdigest()
        return Prepared(self._file, f"prepared/{self._name}-{digest[:12]}.jsonl", f"sha256:{digest}", self._examples)
