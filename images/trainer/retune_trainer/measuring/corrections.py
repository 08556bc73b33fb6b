"""Answers that people corrected become further training rows: the newest, once each, in the training set's columns.

Reads what taps wrote into the job's folder, writes one file below the work folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retune_stores import Store
from retune_stores.base import sha256_file
from retune_stores.errors import NotFoundError
from retune_trainer import data
from retune_trainer.config import RunConfig
from retune_trainer.corrections import FIELD, listed
from retune_trainer.data import Example, Format, Origin, Record, Row, Table, jsonl
from retune_trainer.data.formats import Converter, label_column
from retune_trainer.inputs import DataFile
from retune_trainer.log import say
from retune_trainer.measuring import leakage
from retune_trainer.measuring.scan import compared, parts, scan_gold, scan_own
from retune_trainer.measuring.shingles import common, signatures
from retune_trainer.measuring.text import Keys, among, joined, key


@dataclass(frozen=True)
class Taken:
    """Corrections as further training rows, on this machine's disk: none that the set has already, none of gold.

    `unusable`: rows that the training set's format cannot express, such as a long conversation where it has one prompt.
    `in_gold`: questions left out because the gold set asks them. `template`: what the training set's own rows share.
    """

    file: Path
    rows: int
    unusable: int
    in_gold: int
    template: Keys

    def __len__(self) -> int:
        return self.rows

    def numbers(self) -> dict[str, float]:
        """What the data gate tells of them, by the contract's names."""
        found = {"corrections": self.rows, "correctionsInGold": self.in_gold}
        return {name: number for name, number in found.items() if number}

    def note(self, form: Format) -> str:
        """What was left out, and why; empty if nothing was."""
        told = []
        if self.in_gold:
            told.append(f"{self.in_gold} corrections ask what the gold set asks and were left out.")
        if self.unusable:
            told.append(f"{self.unusable} corrections are no {form.value} and were left out.")
        return " ".join(told)

    def digest(self, train: str) -> str:
        """The identity of the training set `train` together with these."""
        if not len(self):
            return train
        told = f"{train}\nsha256:{sha256_file(self.file)}\n".encode()
        return f"sha256:{hashlib.sha256(told).hexdigest()}"

    def after(self, table: Table) -> Table:
        """The training set with these behind its own rows; their lines go on from its last."""
        return replace(table, records=self._records(table)) if len(self) else table

    def _records(self, table: Table) -> Iterator[Record]:
        line = 0
        for record in table.records:
            line = record.line
            yield record
        origin = Origin(str(self.file.name), FIELD)
        convert = Converter(table.format, origin)
        for number, row in jsonl.read(self.file, origin):
            yield Record(line + number, row, convert(number, row))


def take(config: RunConfig, store: Store, train: DataFile, gold: DataFile, folder: Path) -> Taken | None:
    """The newest corrections, as rows of the training set's format; None if none are asked for.

    Of one conversation the newest correction counts, whatever the training set answers to it. What gold asks is never
    trained on, and takes no place of another. Memory: four numbers for each row of the training set, some 300 bytes
    for each of gold, one number for each question that was corrected; one file of a tap is held at a time.

    Raises:
        InputError: a file is malformed, or a row of the training set or of gold.
        StoreError: the store does not answer.
    """
    asked = config.corrections
    if asked is None:
        return None
    spool = folder / "corrections" / "taken.jsonl"
    spool.parent.mkdir(parents=True, exist_ok=True)
    batches = listed(store)
    if not batches:
        return Taken(spool, 0, 0, 0, np.empty(0, np.uint64))
    table = _open(config, train)
    own = scan_own(table)
    template = common(own.sample)
    taking = _Taking(config, table, np.sort(own.whole), _Gold(config, gold, template), asked.max_examples)
    with spool.open("w", encoding="utf-8") as out:
        for batch in reversed(batches):
            if taking.done:
                break
            here = spool.with_name("batch.jsonl")
            try:
                store.download(batch.path, here)
            except NotFoundError:  # deleted since it was listed
                continue
            for row in taking.batch(here, Origin(f"{store.uri}/{batch.path}", FIELD), batch.day):
                out.write(json.dumps(row) + "\n")
    taken = Taken(spool, taking.rows, taking.unusable, taking.in_gold, template)
    counts = {"alreadyInTrain": taking.known, "inGold": taking.in_gold, "unusable": taking.unusable}
    say("corrections taken", rows=len(taken), **counts)
    return taken


def _open(config: RunConfig, file: DataFile) -> Table:
    return data.open_table(file.path, file.origin, config.spec.dataset.format)


class _Gold:
    """Says what gold asks: exactly, and where there is a leakage gate nearly, by the gate's own measure."""

    def __init__(self, config: RunConfig, gold: DataFile, template: Keys) -> None:
        self._asked = np.sort(scan_gold(_open(config, gold)).asked)
        self._template = template
        self._near: leakage.Near | None = None
        if config.spec.gates.leakage.mode != "Off":
            self._near = leakage.Near(leakage.signed(_open(config, gold), template))

    def asks(self, examples: list[Example], asked: Keys) -> npt.NDArray[np.bool_]:
        """Which of these it asks, given with the keys of their questions."""
        found = among(asked, self._asked)
        if self._near is not None:
            found |= self._near.beside(signatures([compared(example)[0] for example in examples], self._template))
        return found


class _Taking:
    """Goes through corrections, the newest first, and counts what becomes of them."""

    def __init__(self, config: RunConfig, table: Table, own: Keys, gold: _Gold, most: int) -> None:
        """`own`: the keys of what the training set asks and answers, sorted; `most`: so many rows are taken."""
        self.rows = self.unusable = self.in_gold = self.known = 0
        self._form, self._own, self._gold, self._most = table.format, own, gold, most
        self._label = label_column(dict.fromkeys(table.columns))
        self._time_field = config.spec.dataset.time_field
        self._seen: set[int] = set()

    @property
    def done(self) -> bool:
        """Are there as many as are wanted."""
        return self.rows >= self._most

    def batch(self, file: Path, origin: Origin, day: str) -> Iterator[Row]:
        """The rows of one file that are trained on, the newest first."""
        written, examples, asked, answers = self._new(file, origin)
        in_gold = self._gold.asks(examples, asked)
        known = among(joined(asked, answers), self._own)
        for place, row in enumerate(written):
            if self.done:
                return
            if in_gold[place]:
                self.in_gold += 1
            elif known[place]:
                self.known += 1
            else:
                self.rows += 1
                if self._time_field is not None:  # the day is all that is known of when it was made
                    row[self._time_field] = day
                yield row

    def _new(self, file: Path, origin: Origin) -> tuple[list[Row], list[Example], Keys, Keys]:
        """What no newer correction has asked: rows, examples, and the keys of question and answer."""
        written, examples = list[Row](), list[Example]()
        asked, answers = list[int](), list[int]()
        chat, own = Converter(Format.MESSAGES, origin), Converter(self._form, origin)
        for line, said_row in reversed(list(jsonl.read(file, origin))):
            said = chat(line, said_row)
            row = _row(self._form, said, self._label) if said is not None else None
            example = own(line, row) if row is not None else None
            if row is None or example is None:
                self.unusable += 1
                continue
            question, answer = (key(text) for text in parts(example))
            if question not in self._seen:
                self._seen.add(question)
                written.append(row)
                examples.append(example)
                asked.append(question)
                answers.append(answer)
        return written, examples, np.array(asked, np.uint64), np.array(answers, np.uint64)


def _row(form: Format, said: Example, label: str) -> Row | None:
    """A corrected conversation in the columns of a format; None if that cannot express it."""
    turns = said.messages or ()
    if form is Format.MESSAGES:
        messages = [*turns, ("assistant", said.completion)]
        return {"messages": [{"role": role, "content": text} for role, text in messages]}
    # These formats are served verbatim: what was asked came as one prompt.
    if len(turns) != 1 or turns[0][0] != "user":
        return None
    prompt = turns[0][1]
    match form:
        case Format.PROMPT_COMPLETION:
            return {"prompt": prompt, "completion": said.completion}
        case Format.CLASSIFICATION:
            return {"text": prompt.removesuffix("\n"), label: said.completion.strip()}
        case _:
            return {"text": f"{prompt}{said.completion}"}
