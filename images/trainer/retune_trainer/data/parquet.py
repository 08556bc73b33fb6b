"""Parquet, in batches. The only module that knows pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retune_trainer.data.rows import Origin, Row

BATCH = 1024


def read(path: Path, origin: Origin) -> Iterator[tuple[int, Row]]:
    """Yield each row with its number, which stands for a line."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    number = 0
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pa.ArrowException, OSError) as error:
        raise origin.malformed(number + 1, f"not valid Parquet: {error}", unit="row") from None
