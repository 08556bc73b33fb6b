"""The pod's own process asks gold questions through a real tap in the middle of a canary: nobody else notices."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest
from hack.images.standin.upstream import Behaviour
from tests.unit.tap.running import CANDIDATE, STABLE, Running
from tests.unit.trainer.fakes import document, rows, write_rows

# The claim is mounted where the process looks for it.
PROGRAM = "import sys; from pathlib import Path; from retune_stores import pvc; pvc.MOUNT = Path(sys.argv[1])\n"
PROGRAM += "from retune_trainer.__main__ import main; sys.exit(main(['watch']))"


@pytest.fixture
async def canary(tmp_path):
    async with Running(tmp_path) as tap:
        await tap.serve(features=True)
        yield tap


@pytest.fixture
async def pod(claim, tmp_path):
    """Starts a watch pod that probes an address; returns the process, and how its message is read."""
    environment = {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PATH": os.environ["PATH"],
        "RETUNE_CONFIG": str(tmp_path / "run.json"),
        "RETUNE_WORK": str(tmp_path / "work"),
        "RETUNE_TERMINATION_LOG": str(tmp_path / "end"),
    }
    write_rows(claim / "gold.jsonl", rows(40, "gold"))
    started = []

    async def start(url: str):
        probe = {"url": f"{url}/v1", "model": "triage", "header": "x-retune-stable", "examples": 25, "seed": 3}
        (tmp_path / "run.json").write_text(json.dumps({**document(), "watch": {"count": True, "probe": probe}}))
        place = str(claim.parent)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, place, env=environment)
        started.append(process)
        return process, lambda: json.loads((tmp_path / "end").read_text())

    yield start
    for process in started:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def prompts_seen(tap):
    async with tap.http.get(f"{tap.cluster}/v1/features?model=triage&since=0") as reply:
        return len((await reply.json())["rows"])


async def test_stable_answers_and_nothing_is_counted_as_evidence_or_as_a_users_prompt(canary, pod):
    canary.upstream.behaviours[STABLE] = Behaviour(text="answer 7")
    canary.upstream.behaviours[CANDIDATE] = Behaviour(text="wrong")
    process, message = await pod(canary.users)
    assert await process.wait() == 0
    found = message()["watch"]
    assert found["examples"] == {"train": 12, "corrections": 0}
    assert (found["probe"]["asked"], found["probe"]["answered"]) == (25, 25)
    assert len(canary.upstream.asked(STABLE)) == 25
    assert canary.upstream.asked(CANDIDATE) == []
    prompts = {body["prompt"] for body in canary.upstream.asked(STABLE)}
    assert len(prompts) == 25
    assert found["probe"]["right"] == int("gold question 7" in prompts)
    assert all(total == 0 for _, total in (await canary.counts()).values())
    assert await prompts_seen(canary) == 0
    await canary.ask("a user")  # whose requests are counted, as ever
    assert sum(total for _, total in (await canary.counts()).values()) == 1
    assert await prompts_seen(canary) == 1


async def test_sigterm_ends_a_probe_at_once_and_says_so(canary, pod):
    canary.upstream.default.before = asyncio.Event()
    process, message = await pod(canary.users)
    await asyncio.wait_for(canary.upstream.arrived.wait(), 30)
    process.terminate()
    assert await asyncio.wait_for(process.wait(), 10) == 75
    assert message()["outcome"] == "Interrupted"
