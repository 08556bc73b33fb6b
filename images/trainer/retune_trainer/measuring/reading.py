"""The second pass over the training set, for what needs its texts and the choice of rows that the first pass allows.

Signatures of near copies (128 bytes for every row that is no exact copy, at most `MOST` of them: 600 MiB), gold
examples that rows are like, personal data, the answers that contradict each other, and the prepared sets. Texts are
held for one batch at most.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retune_trainer.config import RunConfig
from retune_trainer.data import Example, Record, Table
from retune_trainer.measuring import leakage, prepared, privacy
from retune_trainer.measuring.duplicates import Indices
from retune_trainer.measuring.scan import BATCH, BATCH_CHARACTERS, compared, parts
from retune_trainer.measuring.shingles import BANDS, Signatures, signatures
from retune_trainer.measuring.text import Keys

MOST = 5_000_000
SHOWN_ANSWER = 200


@dataclass
class Wanted:
    """What the second pass is to find out, by the row's number among those that are not empty."""

    # Rows that are kept out of training.
    held: npt.NDArray[np.bool_]
    # Rows whose signature is taken: those trained on, without exact copies.
    signed: npt.NDArray[np.bool_]
    template: Keys
    duplicates: bool = False
    leakage: leakage.Near | None = None
    finder: privacy.Finder | None = None
    redact: bool = False
    answers: frozenset[int] = frozenset()
    # Even without redaction or hold-out the source cannot be trained on as it is.
    write: bool = False
    train: prepared.Writer | None = None
    fresh: prepared.Writer | None = None

    @property
    def anything(self) -> bool:
        """Is there any reason to read the file again."""
        return any((self.duplicates, self.leakage, self.finder, self.answers, self.train))


@dataclass
class Read:
    """What the second pass found out."""

    signatures: Signatures
    # Which row each signature is of.
    rows: Indices
    tally: privacy.Tally = field(default_factory=privacy.Tally)
    answers: dict[int, str] = field(default_factory=dict)

    @classmethod
    def nothing(cls) -> Read:
        """Before anything is read."""
        return cls(np.empty((0, BANDS), np.uint64), np.empty(0, np.int64))


def read(config: RunConfig, table: Table, wanted: Wanted, scrub: Callable[[str], str]) -> Read:
    """Read the training set once more.

    Args:
        config: names the columns that are written.
        table: the training set, opened anew.
        wanted: what to look for.
        scrub: takes personal data out of answers that are shown.
    """
    reading = _Reading(config, table, wanted)
    number = 0
    for record in table.records:
        if record.example is not None:
            reading.row(number, record, record.example)
            if number in wanted.answers:
                reading.read.answers[number] = scrub(parts(record.example)[1])[:SHOWN_ANSWER]
            number += 1
    return reading.finish()


class _Reading:
    def __init__(self, config: RunConfig, table: Table, wanted: Wanted) -> None:
        self._dataset = config.spec.dataset
        self._form = table.format
        self._wanted = wanted
        self.read = Read.nothing()
        self._taken = min(MOST, int(wanted.signed.sum())) if wanted.duplicates else 0
        self._signatures = np.empty((self._taken, BANDS), np.uint64)
        self._numbers = np.flatnonzero(wanted.signed)[: self._taken]
        self._signed = 0
        self._batch: list[int] = []
        self._questions: list[str] = []
        self._texts: list[str] = []
        self._characters = 0

    def row(self, number: int, record: Record, example: Example) -> None:
        """One row that is not empty."""
        self._write(number, record)
        if not self._wanted.signed[number] or not (self._wanted.duplicates or self._wanted.leakage):
            return
        question, text = compared(example)
        self._batch.append(number)
        self._questions.append(question)
        self._texts.append(text)
        self._characters += len(text)
        if len(self._batch) >= BATCH or self._characters > BATCH_CHARACTERS:
            self._flush()

    def finish(self) -> Read:
        """The end of the file."""
        self._flush()
        self.read.signatures, self.read.rows = self._signatures[: self._signed], self._numbers[: self._signed]
        return self.read

    def _write(self, number: int, record: Record) -> None:
        wanted, held, kinds = self._wanted, bool(self._wanted.held[number]), list[str]()

        def looked(text: str) -> str:
            if wanted.finder is None:
                return text
            clean, found = wanted.finder.replaced(text)
            kinds.extend(found)
            return clean if wanted.redact else text

        if wanted.finder is None and wanted.train is None:
            return
        row = prepared.texts(self._form, record.row, looked)
        if not held:
            self.read.tally.add(kinds)
        writer = wanted.fresh if held else wanted.train
        if writer is not None:
            writer.add({**prepared.columns(self._dataset, record.row), **row})

    def _flush(self) -> None:
        if not self._batch:
            return
        size = len(self._batch)
        if self._signed < self._taken:
            size = min(size, self._taken - self._signed)
            into = slice(self._signed, self._signed + size)
            self._signatures[into] = signatures(self._texts[:size], self._wanted.template)
            self._signed += size
        if self._wanted.leakage is not None:
            found = signatures(self._questions, self._wanted.template)
            self._wanted.leakage.look(found, np.array(self._batch, np.int64))
        self._batch, self._questions, self._texts, self._characters = [], [], [], 0
