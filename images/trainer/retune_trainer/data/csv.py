"""CSV with a header line, commas, and double quotes where needed."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from retune_trainer.data.rows import MAX_LINE, Origin, Row, lines

csv.field_size_limit(MAX_LINE)


def read(path: Path, origin: Origin) -> Iterator[tuple[int, Row]]:
    """Yield each row with the line it ends on."""
    reader = csv.reader((text for _, text in lines(path, origin)), strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        twice = sorted({name for name in header if header.count(name) > 1})
        if twice:
            raise origin.malformed(1, f"the header names {', '.join(map(repr, twice))} twice")
        for cells in reader:
            if not cells:
                continue
            if len(cells) != len(header):
                problem = f"{len(cells)} fields, but the header has {len(header)}; quote fields that contain commas"
                raise origin.malformed(reader.line_num, problem)
            yield reader.line_num, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise origin.malformed(reader.line_num, f"not valid CSV: {error}") from None
