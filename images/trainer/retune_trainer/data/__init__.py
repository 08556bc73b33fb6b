"""Reading a data set, whatever it is written in. A new file type is one new file and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from retune_trainer.data import csv, jsonl, parquet
from retune_trainer.data.formats import Converter, Example, Format, choose
from retune_trainer.data.rows import Origin, Reader
from retune_trainer.errors import InputError

__all__ = ["Content", "Example", "Format", "Origin", "examples", "reader_of", "survey"]

READERS: dict[str, Reader] = {
    ".jsonl": jsonl.read,
    ".ndjson": jsonl.read,
    ".csv": csv.read,
    ".parquet": parquet.read,
}


def reader_of(origin: Origin) -> Reader:
    """The reader for a URI, by how its name ends.

    Raises:
        InputError: no reader is for it.
    """
    suffix = Path(origin.uri).suffix.lower()
    if suffix not in READERS:
        raise origin.wrong_format(f"{suffix or 'a name without an ending'} is not read; use {', '.join(READERS)}")
    return READERS[suffix]


def examples(
    path: Path, origin: Origin, wanted: str | None = None, segment_field: str | None = None
) -> tuple[Format, Iterator[Example]]:
    """The format of a file and its examples, one at a time.

    Raises:
        InputError: at once if the file is empty or of the wrong format, and on reaching a malformed line.
    """
    reader = reader_of(origin)
    rows = reader(path, origin)
    first = next(rows, None)
    if first is None:
        raise InputError("DatasetEmpty", origin.field, f"{origin.uri} holds no example")
    form = choose(first[1], wanted, origin)
    if segment_field is not None and segment_field not in first[1]:
        problem = f"found the columns {', '.join(first[1])}; spec.dataset.segmentField wants {segment_field!r}"
        raise InputError("DatasetWrongFormat", "spec.dataset.segmentField", f"{origin.uri}: {problem}")
    convert = Converter(form, origin, segment_field, "row" if reader is parquet.read else "line")
    return form, (convert(line, row) for line, row in chain([first], rows))


@dataclass(frozen=True)
class Content:
    """What a whole file was found to hold."""

    format: Format
    examples: int
    # Adds up over all rows, so that order does not matter; with the count it tells two sets of rows apart.
    fingerprint: int


def survey(path: Path, origin: Origin, wanted: str | None = None, segment_field: str | None = None) -> Content:
    """Read a file to its end, holding one row at a time.

    Raises:
        InputError: anything in it is wrong.
    """
    form, found = examples(path, origin, wanted, segment_field)
    count = total = 0
    for example in found:
        count += 1
        total += example.fingerprint()
    return Content(form, count, total % (1 << 128))
