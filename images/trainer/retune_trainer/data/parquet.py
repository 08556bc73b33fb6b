"""Parquet, in batches. The only module that knows pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retune_trainer.data.rows import Origin, Row

BATCH = 1024
# Rows of a megabyte come in smaller batches: a batch is held twice, as Arrow's and as Python's.
BATCH_BYTES = 16 << 20


def read(path: Path, origin: Origin) -> Iterator[tuple[int, Row]]:
    """Yield each row with its number, which stands for a line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            size = sum(file.metadata.row_group(group).total_byte_size for group in range(file.num_row_groups))
            each = size // max(1, file.metadata.num_rows) + 1
            for batch in file.iter_batches(batch_size=max(1, min(BATCH, BATCH_BYTES // each))):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    # pyarrow's own words for text that is not UTF-8 and times that Python has no type for are ValueError and such.
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise origin.malformed(number + 1, f"not valid Parquet: {error}", unit="row") from None
