"""Tests of the heavy half: they need torch, transformers, TRL and PEFT, and are skipped where these are not."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest

pytest.importorskip("torch", reason="the trainer's heavy libraries are not installed")
pytest.importorskip("trl", reason="the trainer's heavy libraries are not installed")

import torch

from tests.learning import tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory):
    torch.set_num_threads(1)
    return tiny.base(tmp_path_factory.mktemp("base"))
