"""Users of the load generator and a real tap mean the same: arms, ids, overrides, and what the demo reads of them."""

import asyncio
import base64
import itertools
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hack.demo import taps
from hack.load.questions import Question
from hack.load.traffic import Plan, Traffic

from retune.decide.arms import Arm, ArmKind, Arms, Edge, Split, Stage
from retune_tap.serve import Ports, keeping, listen
from retune_tap.settings import Settings
from retune_tap.tap import Tap

NUMBER, STRATUM, WEIGHT = 3, "3:1", 50
NAME = "triage-a1a1a1a1a1a1"
CANDIDATE = Arm(ArmKind.ADAPTER, NAME, run="triage-3", digest="sha256:" + "a1" * 32, uri="s3://models/t/adapter/a1")
ASKED = [Question(f"Question {n}?\nTeam:", " delivery") for n in range(20)]


class Loaded:
    """A server that has every adapter at once."""

    async def ensure(self, arm: Any) -> None:
        pass

    async def loaded(self) -> frozenset[str]:
        return frozenset({NAME})


def answering() -> web.Application:
    """A model server whose base is right, and whose adapter never is."""
    ids = itertools.count(1)

    async def complete(request: web.Request) -> web.Response:
        body = await request.json()
        text = " refund" if body["model"] == NAME else " delivery"
        choice = {"index": 0, "text": text, "finish_reason": "stop"}
        said = {"id": f"cmpl-{next(ids)}", "object": "text_completion", "model": body["model"], "choices": [choice]}
        return web.json_response(said)

    app = web.Application()
    app.router.add_post("/v1/completions", complete)
    return app


def envelope(key: Ed25519PrivateKey) -> bytes:
    """The candidate gets half; an override counts for half a second."""
    split = Split(
        stable=Arm(ArmKind.BASE),
        candidate=CANDIDATE,
        stage=Stage.CANARY,
        stratum=STRATUM,
        weight=WEIGHT,
        salt="run-3",
        sticky_header="x-user-id",
        edges=(Edge("errors", "Errors"), Edge("overrides", "Overrides", window=0.5)),
    )
    payload = Arms("shop", "triage", "u1", {"triage": split}, 1).json().encode()
    told = {"payload": base64.b64encode(payload).decode(), "signature": base64.b64encode(key.sign(payload)).decode()}
    return json.dumps(told).encode()


@pytest.fixture
async def ports(tmp_path: Path) -> AsyncIterator[Ports]:
    """A tap before that server, in mid-canary."""
    server = web.AppRunner(answering())
    await server.setup()
    await web.TCPSite(server, "127.0.0.1", 0).start()
    key = Ed25519PrivateKey.generate()
    settings = Settings(
        namespace="shop",
        job="triage",
        job_uid="u1",
        model="triage",
        pod="triage-0",
        pod_uid="p0",
        arms_key=key.public_key().public_bytes_raw(),
        arms_file=tmp_path / "arms.json",
        upstream=f"http://127.0.0.1:{server.addresses[0][1]}",
        models=tmp_path,
        user_host="127.0.0.1",
        user_port=0,
        cluster_port=0,
    )
    tap = Tap(settings, Loaded(), clock=time.monotonic, wall=time.time, chance=random.Random(1))
    tap.take_document(envelope(key))
    opened = await listen(tap)
    async with keeping(tap):
        yield opened
    await opened.users_runner.cleanup()
    await opened.cluster_runner.cleanup()
    await tap.close()
    await server.cleanup()


async def once(url: str, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """What the tap says of the model, once it is so."""
    model: dict[str, Any] = {}
    try:
        async with asyncio.timeout(20):
            while not check(model):
                state = await asyncio.to_thread(taps.state, url)
                model = state["models"]["triage"]
    except TimeoutError:
        pytest.fail(f"last seen: {model}")
    return state


def overrides_settled(model: dict[str, Any]) -> int:
    """Answers whose window for overrides is over."""
    arms = model.get("counters", {}).get("overrides", {})
    return sum(sum(strata[STRATUM]["total"]) for strata in arms.values() if STRATUM in strata)


async def test_an_override_is_counted_once_in_the_arm_that_its_user_met(ports: Ports) -> None:
    plan = Plan(f"http://127.0.0.1:{ports.users}", "triage", ASKED, users=1000, moment=(0.0, 0.05), seed=5)
    cluster = f"http://127.0.0.1:{ports.cluster}"
    await once(cluster, lambda model: model.get("weight") == WEIGHT)
    traffic, stop = Traffic(plan, 150), asyncio.Event()
    asking = asyncio.create_task(traffic.run(stop))
    async with asyncio.timeout(20):
        while len(traffic.answers) < 200:  # noqa: ASYNC110 — a list tells nobody that it grew
            await asyncio.sleep(0.005)
    stop.set()
    await asking

    arms: dict[str, set[str]] = defaultdict(set)
    for answer in traffic.answers:
        arms[answer.user].add(answer.arm)
    assert all(len(found) == 1 for found in arms.values()), "same user, same arm"
    met = Counter(answer.arm for answer in traffic.answers)
    assert set(met) == {"stable", "canary"}
    assert all(answer.right is (answer.arm == "stable") for answer in traffic.answers)
    assert traffic.feedback == {202: met["canary"]}

    state = await once(cluster, lambda model: overrides_settled(model) == len(traffic.answers))
    counted = state["models"]["triage"]["counters"]["overrides"]
    assert sum(counted["canary"][STRATUM]["bad"]) == met["canary"] == sum(counted["canary"][STRATUM]["total"])
    assert sum(counted["stable"][STRATUM]["bad"]) == 0

    look = taps.added(time.time(), [state])
    assert (look.weight, look.faults(NUMBER), look.of_run(NUMBER)) == (WEIGHT, met["canary"], True)
