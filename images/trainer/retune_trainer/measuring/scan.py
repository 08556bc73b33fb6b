"""The first pass over a file: every row is read and checked, and what is kept of it is a few numbers.

Memory: 16 bytes a row for the keys of question and answer, 8 for its line, 8 more for each of time and length, 1 for
its class; 8 for each annotator's label; and a sample of 500 texts. No more texts are held than are counted at once.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from retune_stores.errors import InputError
from retune_trainer.config import RunConfig
from retune_trainer.data import Example, Format, Record, Table
from retune_trainer.measuring import agreement, hold_out
from retune_trainer.measuring.balance import Classes
from retune_trainer.measuring.duplicates import SHOWN, Indices
from retune_trainer.measuring.lengths import Lengths, text_of
from retune_trainer.measuring.shingles import words
from retune_trainer.measuring.text import Keys, joined, key

BALANCE = "spec.gates.data.productionBalance.classifiedBy"
BATCH = 1024
BATCH_CHARACTERS = 1 << 20
SAMPLE = 500
SAMPLE_LENGTH = 10_000


@dataclass
class Scanned:
    """What is known of every row that is not empty, in the file's order."""

    format: Format
    unit: str
    asked: Keys
    answer: Keys
    lines: Indices
    times: npt.NDArray[np.float64] | None = None
    lengths: Indices | None = None
    classes: npt.NDArray[np.uint8] | None = None
    alpha: float | None = None
    empty: int = 0
    empty_lines: list[int] = field(default_factory=list)
    sample: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.asked)

    @property
    def whole(self) -> Keys:
        """A key of question and answer together."""
        return joined(self.asked, self.answer)


def parts(example: Example) -> tuple[str, str]:
    """What is asked and what is answered; of a plain text, all is asked, so that a copy of it is found as one."""
    return (example.prompt, example.completion) if example.prompt.strip() else (example.completion, "")


def compared(example: Example) -> tuple[str, str]:
    """The words by which near copies are told: of the question, and of question and answer."""
    question = words(example.question)
    return question, f"{question} {words(parts(example)[1])}".rstrip()


class Sample:
    """Texts from all over a file of unknown length: every second one is dropped whenever there are too many."""

    def __init__(self) -> None:
        """Nothing is seen yet."""
        self.texts: list[str] = []
        self._stride = 1
        self._seen = 0

    def offer(self, example: Example) -> None:
        """Take the text, or not."""
        if self._seen % self._stride == 0:
            self.texts.append(compared(example)[1][:SAMPLE_LENGTH])
            if len(self.texts) > SAMPLE:
                self.texts = self.texts[::2]
                self._stride *= 2
        self._seen += 1


def scan_gold(table: Table) -> Scanned:
    """Read a set that is judged by.

    Raises:
        InputError: a row is malformed, or all are empty.
    """
    return _Scan(table).read()


def scan_own(table: Table) -> Scanned:
    """Read a set for what it asks and answers, with a sample of it.

    Raises:
        InputError: a row is malformed, or all are empty.
    """
    scan = _Scan(table)
    scan.sample = Sample()
    return scan.read()


def scan_train(config: RunConfig, table: Table, lengths: Lengths | None) -> Scanned:
    """Read a set that is trained on, with all that its gates are asked about.

    Args:
        config: names the columns that are looked at.
        table: the opened file.
        lengths: counts tokens; absent, lengths are not known.

    Raises:
        InputError: a row is malformed, a column is missing, or all rows are empty.
    """
    dataset, gate = config.spec.dataset, config.spec.gates.data
    scan = _Scan(table)
    if gate.mode != "Off" or config.spec.gates.leakage.mode != "Off":
        scan.sample = Sample()
    if gate.mode != "Off":
        scan.lengths = lengths
        if dataset.annotators_field is not None:
            table.require(dataset.annotators_field, agreement.FIELD)
            scan.annotators = dataset.annotators_field
        if gate.production_balance is not None:
            table.require(gate.production_balance.classified_by, BALANCE)
            scan.classified_by = gate.production_balance.classified_by
            scan.classes = Classes(gate.production_balance.expected)
    if dataset.hold_out is not None:
        if dataset.time_field is None:
            message = "dataset.holdOut needs dataset.timeField; name the column that says when an example was made"
            raise InputError("ConfigInvalid", hold_out.FIELD, message)
        table.require(dataset.time_field, hold_out.FIELD)
        scan.time = dataset.time_field
    return scan.read()


class _Scan:
    """One reading of one file."""

    def __init__(self, table: Table) -> None:
        self.lengths: Lengths | None = None
        self.sample: Sample | None = None
        self.annotators: str | None = None
        self.classified_by: str | None = None
        self.classes: Classes | None = None
        self.time: str | None = None
        self._table = table
        self._agreement = agreement.Agreement()
        self._kept = {name: array(code) for name, code in (("asked", "Q"), ("answer", "Q"), ("lines", "q"))}
        self._times, self._lengths, self._classes = array("d"), array("q"), array("B")
        self._waiting: list[str] = []
        self._characters = 0

    def read(self) -> Scanned:
        empty, empty_lines = 0, []
        for record in self._table.records:
            if record.example is None:
                empty += 1
                empty_lines += [record.line] if empty <= SHOWN else []
            else:
                self._keep(record, record.example)
        self._flush()
        if not self._kept["asked"]:
            origin = self._table.origin
            raise InputError("DatasetEmpty", origin.field, f"{origin.uri} holds no example: every row is empty")
        kept = self._kept
        return Scanned(
            self._table.format,
            self._table.unit,
            np.frombuffer(kept["asked"], np.uint64),
            np.frombuffer(kept["answer"], np.uint64),
            np.frombuffer(kept["lines"], np.int64),
            np.frombuffer(self._times, np.float64) if self.time is not None else None,
            np.frombuffer(self._lengths, np.int64) if self.lengths is not None else None,
            np.frombuffer(self._classes, np.uint8) if self.classes is not None else None,
            self._agreement.alpha(),
            empty,
            empty_lines,
            self.sample.texts if self.sample is not None else [],
        )

    def _keep(self, record: Record, example: Example) -> None:
        asked, answer = parts(example)
        self._kept["asked"].append(key(asked))
        self._kept["answer"].append(key(answer))
        self._kept["lines"].append(record.line)
        row, line, table = record.row, record.line, self._table
        if self.time is not None:
            self._times.append(hold_out.moment(row.get(self.time), self.time, line, table.origin, table.unit))
        if self.annotators is not None:
            given = agreement.labels(row.get(self.annotators), self.annotators, line, table.origin, table.unit)
            self._agreement.add(given)
        if self.classes is not None and self.classified_by is not None:
            self._classes.append(self.classes.number(row.get(self.classified_by)))
        if self.sample is not None:
            self.sample.offer(example)
        if self.lengths is not None:
            text = text_of(example)
            self._waiting.append(text)
            self._characters += len(text)
            if len(self._waiting) >= BATCH or self._characters > BATCH_CHARACTERS:
                self._flush()

    def _flush(self) -> None:
        if self.lengths is not None and self._waiting:
            self._lengths.extend(self.lengths.count(self._waiting))
        self._waiting, self._characters = [], 0
