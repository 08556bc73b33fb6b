"""A running tap."""

from __future__ import annotations

import pytest
from tests.unit.tap.running import Running


@pytest.fixture
async def running(tmp_path):
    async with Running(tmp_path) as tap:
        yield tap
