"""Reading a data set, whatever it is written in. A new file type is one new file and one line in `READERS`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from retune_stores.errors import InputError
from retune_trainer.data import csv, jsonl, parquet
from retune_trainer.data.formats import Converter, Example, Format, choose
from retune_trainer.data.rows import Origin, Reader, Row

__all__ = ["Example", "Format", "Origin", "Record", "Row", "Table", "examples", "open_table", "reader_of"]

READERS: dict[str, Reader] = {
    ".jsonl": jsonl.read,
    ".ndjson": jsonl.read,
    ".csv": csv.read,
    ".parquet": parquet.read,
}


@dataclass(frozen=True, slots=True)
class Record:
    """A row as it was written, its line (in Parquet: its number), and its example: None when it is empty."""

    line: int
    row: Row
    example: Example | None


@dataclass(frozen=True)
class Table:
    """An opened data set; `records` can be read once."""

    format: Format
    # The first row's, which CSV and Parquet have in every row.
    columns: tuple[str, ...]
    unit: str
    origin: Origin
    records: Iterator[Record]

    def require(self, column: str, field: str) -> None:
        """Refuse a file without a column that a field of the spec names.

        Raises:
            InputError: the column is not there; the message names those that are.
        """
        if column not in self.columns:
            shown = ", ".join(self.columns[:20])
            message = f"{self.origin.uri}: found the columns {shown}; {field} wants {column!r}"
            raise InputError("DatasetWrongFormat", field, message)


def reader_of(origin: Origin) -> Reader:
    """The reader for a URI, by how its name ends.

    Raises:
        InputError: no reader is for it.
    """
    suffix = Path(origin.uri).suffix.lower()
    if suffix not in READERS:
        raise origin.wrong_format(f"{suffix or 'a name without an ending'} is not read; use {', '.join(READERS)}")
    return READERS[suffix]


def open_table(
    path: Path,
    origin: Origin,
    wanted: str | None = None,
    segment_field: str | None = None,
    weight_field: str | None = None,
    *,
    weighted: bool = True,
) -> Table:
    """Open a file; its rows are read one at a time. With `weighted` False it may lack the column of weights.

    Raises:
        InputError: at once if the file holds no row or is of the wrong format, and on reaching a malformed line.
    """
    reader = reader_of(origin)
    rows = reader(path, origin)
    first = next(rows, None)
    if first is None:
        raise InputError("DatasetEmpty", origin.field, f"{origin.uri} holds no example")
    form = choose(first[1], wanted, origin)
    unit = "row" if reader is parquet.read else "line"
    convert = Converter(form, origin, segment_field, weight_field, unit)
    records = (Record(line, row, convert(line, row)) for line, row in chain([first], rows))
    table = Table(form, tuple(first[1]), unit, origin, records)
    if segment_field is not None:
        table.require(segment_field, "spec.dataset.segmentField")
    if weight_field is not None and weighted:
        table.require(weight_field, "spec.dataset.weightField")
    return table


def examples(
    path: Path,
    origin: Origin,
    wanted: str | None = None,
    segment_field: str | None = None,
    weight_field: str | None = None,
    *,
    weighted: bool = True,
) -> tuple[Format, Iterator[Example]]:
    """The format of a file and its examples, one at a time, without the empty ones.

    Raises:
        InputError: as `open_table`.
    """
    table = open_table(path, origin, wanted, segment_field, weight_field, weighted=weighted)
    return table.format, (record.example for record in table.records if record.example is not None)
