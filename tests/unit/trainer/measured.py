"""Runs preflight's measuring on rows that a test writes down."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.unit.trainer.fakes import run_config, write_rows

from retune_stores.base import sha256_file
from retune_trainer import measuring
from retune_trainer.data import Origin
from retune_trainer.inputs import DataFile
from retune_trainer.measuring import Measurement

GOLD = [{"text": "an entirely different matter", "label": "other"}]


def of(
    folder: Path,
    train: list[dict[str, Any]],
    gold: list[dict[str, Any]] | None = None,
    tokenizer: Path | None = None,
    **spec: Any,
) -> Measurement:
    """Measure; `dataset` in `spec` needs no sources."""
    found = []
    for name, rows in (("train", train), ("gold", gold or GOLD)):
        path = folder / f"{name}.jsonl"
        write_rows(path, rows)
        origin = Origin(f"s3://data/{name}.jsonl", f"spec.dataset.{name}.uri")
        found.append(DataFile(path, origin, f"sha256:{sha256_file(path)}"))
    here = {"uri": "s3://data/x.jsonl"}
    dataset = {"train": here, "gold": here, **spec.pop("dataset", {})}
    return measuring.measure(run_config(dataset=dataset, **spec), found[0], found[1], tokenizer, folder / "work")


def classes(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    """Rows of a classification."""
    return [{"text": text, "label": label} for text, label in pairs]


def lines(path: Path) -> list[dict[str, Any]]:
    """A prepared set's rows."""
    return [json.loads(line) for line in path.read_text().splitlines()]


OFF = {"mode": "Off"}
QUIET = {"privacy": OFF, "leakage": OFF}
