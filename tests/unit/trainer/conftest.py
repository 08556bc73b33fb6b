"""A volume with a model and two data sets, where a `pvc://store/…` URI finds it."""

from __future__ import annotations

import pytest
from tests.unit.trainer.fakes import rows, write_model, write_rows

from retune_stores import pvc


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """The folder that the claim `store` is mounted at."""
    monkeypatch.setattr(pvc, "MOUNT", tmp_path / "pvc")
    folder = tmp_path / "pvc" / "store"
    write_model(folder / "models" / "base")
    write_rows(folder / "train.jsonl", rows(12))
    write_rows(folder / "gold.jsonl", rows(5, "gold"))
    return folder
