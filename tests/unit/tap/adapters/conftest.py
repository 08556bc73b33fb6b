"""A claim `store` that pvc:// URIs find, the pod's folder of models, and a model server on loopback."""

from __future__ import annotations

import pytest
from aiohttp import web
from tests.unit.tap.adapters.model_server import ModelServer

from retune_stores import pvc
from retune_tap.adapters import Loader


@pytest.fixture
def claim(tmp_path, monkeypatch):
    """The folder that the claim `store` is mounted at."""
    monkeypatch.setattr(pvc, "MOUNT", tmp_path / "pvc")
    folder = tmp_path / "pvc" / "store"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def published(claim):
    """Where the run of `arm_of` publishes."""
    return claim / "run/adapter/x"


@pytest.fixture
def models(tmp_path):
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
async def server():
    """The model server, and its address as `server.address`."""
    standing = ModelServer()
    runner = web.AppRunner(standing.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    standing.address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    standing.stop = runner.cleanup
    yield standing
    await runner.cleanup()


@pytest.fixture
async def loader(server, models):
    loader = Loader(server.address, models, {}, most_rank=16)
    yield loader
    await loader.close()
