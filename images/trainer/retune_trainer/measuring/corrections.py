"""Answers that people corrected become further training rows: the newest, once each, in the training set's columns.

Reads what taps wrote into the job's folder, writes one file below the work folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

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
from retune_trainer.measuring.scan import parts
from retune_trainer.measuring.text import key


@dataclass(frozen=True)
class Taken:
    """Corrections as further training rows, on this machine's disk.

    `known`: keys (question, answer) of those that the training set has already; they are passed over. `unusable`: rows
    that the training set's format cannot express, such as a long conversation where it has one prompt.
    """

    file: Path
    rows: int
    unusable: int
    known: frozenset[tuple[int, int]]

    def __len__(self) -> int:
        return self.rows - len(self.known)

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
            example = convert(number, row)
            if example is not None and _keys(example) not in self.known:
                line += 1
                yield Record(line, row, example)


def take(config: RunConfig, store: Store, train: DataFile, folder: Path) -> Taken | None:
    """The newest corrections, as rows of the training set's format; None if none are asked for.

    Of one conversation the newest correction counts, whatever the training set answers to it. Memory: two numbers for
    each row taken; one file of a tap is held at a time.

    Raises:
        InputError: a file is malformed, or one of the training set's rows.
        StoreError: the store does not answer.
    """
    asked = config.corrections
    if asked is None:
        return None
    table = _open(config, train)
    spool = folder / "corrections" / "taken.jsonl"
    spool.parent.mkdir(parents=True, exist_ok=True)
    keys, unusable = _spool(config, store, table, asked.max_examples, spool)
    examples = (record.example for record in table.records if keys and record.example is not None)
    known = {found for found in map(_keys, examples) if keys.get(found[0]) == found[1]}
    taken = Taken(spool, len(keys), unusable, frozenset(known))
    say("corrections taken", rows=len(taken), alreadyInTrain=len(known), unusable=unusable)
    return taken


def _open(config: RunConfig, train: DataFile) -> Table:
    return data.open_table(train.path, train.origin, config.spec.dataset.format)


def _spool(config: RunConfig, store: Store, table: Table, most: int, spool: Path) -> tuple[dict[int, int], int]:
    """Write the rows, the newest first.

    Returns: the key of each answer by that of its question, and how many rows are unusable.
    """
    keys: dict[int, int] = {}
    unusable = 0
    label = label_column(dict.fromkeys(table.columns))
    time_field = config.spec.dataset.time_field
    here = spool.with_name("batch.jsonl")
    with spool.open("w", encoding="utf-8") as out:
        for batch in reversed(listed(store)):
            if len(keys) >= most:
                break
            try:
                store.download(batch.path, here)
            except NotFoundError:  # deleted since it was listed
                continue
            origin = Origin(f"{store.uri}/{batch.path}", FIELD)
            chat, own = Converter(Format.MESSAGES, origin), Converter(table.format, origin)
            for line, row in reversed(list(jsonl.read(here, origin))):
                said = chat(line, row)
                written = _row(table.format, said, label) if said is not None else None
                example = own(line, written) if written is not None else None
                if written is None or example is None:
                    unusable += 1
                    continue
                question, answer = _keys(example)
                if question in keys or len(keys) >= most:
                    continue
                keys[question] = answer
                if time_field is not None:  # the day is all that is known of when it was made
                    written[time_field] = batch.day
                out.write(json.dumps(written) + "\n")
    return keys, unusable


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


def _keys(example: Example) -> tuple[int, int]:
    question, answer = parts(example)
    return key(question), key(answer)
