"""Answers that people corrected, as taps leave them in the job's folder, counted by one listing: no file is opened.

What taps write: design/0015. What is learned of it: `measuring/corrections.py`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from retune_stores import Store
from retune_stores.errors import InputError, NotFoundError

FIELD = "spec.serving.corrections"
_FILE = re.compile(r"(?P<day>\d{4}-\d{2}-\d{2})/(?P<pod>[^/]+)-(?P<rows>[0-9]{1,15})\.jsonl")


@dataclass(frozen=True, order=True)
class Batch:
    """A file of corrections. `rows`: how many its pod had written with it, over all its files."""

    day: str
    rows: int
    pod: str
    path: str


def listed(store: Store) -> list[Batch]:
    """Every file of corrections, the oldest first.

    Raises:
        InputError: the place for artifacts does not exist.
    """
    try:
        entries = store.entries()
    except NotFoundError as error:
        raise InputError("ArtifactsNotWritable", "spec.artifacts.uri", f"{error}; create it first") from None
    found = ((entry.path, _FILE.fullmatch(entry.path)) for entry in entries)
    return sorted(Batch(name["day"], int(name["rows"]), name["pod"], path) for path, name in found if name)


def count(store: Store, most: int) -> int:
    """How many rows there are, as the taps count them; at most `most`.

    Raises:
        InputError: as `listed`.
    """
    written: dict[str, int] = {}
    for batch in listed(store):
        written[batch.pod] = max(written.get(batch.pod, 0), batch.rows)
    return min(sum(written.values()), most)
