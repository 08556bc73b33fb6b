"""What the operator signs the tap takes, and what the tap says the operator reads: both by their own code."""

from __future__ import annotations

import json

from tests.unit.tap.running import CANDIDATE, KEY, STABLE, Running

from retune.decide.arms import Arm, ArmKind, Arms, Corrections, Edge, Pilot, Quota, Split, Stage
from retune.decide.readings import ServingPod
from retune.kube.envelope import Signer
from retune.observe.features import read_features
from retune.observe.tap_state import read_state

POD = ServingPod("triage-0", "pod-uid", "127.0.0.1", ready=True)


def adapter(name: str) -> Arm:
    digest = f"sha256:{name.rpartition('-')[2]}{'0' * 52}"
    return Arm(ArmKind.ADAPTER, name, "triage-1", digest, f"s3://models/{name}")


def split(**changes: object) -> Split:
    whole = {
        "stable": adapter(STABLE),
        "candidate": adapter(CANDIDATE),
        "keep": (adapter("triage-cccccccccccc"),),
        "stage": Stage.CANARY,
        "stratum": "3:1",
        "weight": 50,
        "salt": "run-uid",
        "shadow": 10,
        "pilot": Pilot("x-user-group", ("staff",)),
        "sticky_header": "x-user-id",
        "opt_out_header": "x-retune-stable",
        "edges": (
            Edge("errors", "Errors"),
            Edge("slow", "Slow", seconds=2.0, of="FirstToken"),
            Edge("wordy", "Long", tokens=800),
            Edge("overrides", "Overrides", window=600.0),
            Edge("json", "InvalidOutput", schema={"type": "object"}),
        ),
        "quota": Quota(requests=5000),
        "patience": 120.0,
    }
    return Split(**whole | changes)


async def told(running: Running, **changes: object) -> Arms:
    arms = Arms("support", "triage", "uid-1", {"triage": split(**changes)}, 7)
    assert await running.push(Signer(KEY).sealed(arms).encode()) == 200
    await running.look()
    return arms


async def reading(running: Running):
    async with running.http.get(f"{running.cluster}/v1/state?windows=0") as reply:
        return read_state(await reply.read(), POD, "triage")


async def test_the_tap_gives_the_share_that_the_operator_signed_and_says_so(running):
    arms = await told(running)
    await reading(running)  # somebody watches now
    found = await reading(running)
    assert (found.generation, found.stratum, found.weight, found.held) == (7, "3:1", 50, "")
    assert {arm: (state.name, state.state) for arm, state in found.arms.items()} == {
        "stable": (STABLE, "Ready"),
        "canary": (CANDIDATE, "Ready"),
    }
    assert found.arms["canary"].digest == arms.models["triage"].candidate.digest


async def test_what_users_did_arrives_at_the_operator(running):
    await told(running)
    await reading(running)
    for user in range(40):
        await (await running.ask(f"u{user}")).read()
    running.later(16)
    found = await reading(running)
    errors = {s.arm: sum(s.total) for s in found.series if s.metric == "errors"}
    assert sum(errors.values()) == 40
    assert found.routed["3:1"] == (errors["stable"], errors["canary"])
    assert found.p95["firstToken"] >= 0
    assert (found.timed["response"], found.timed["candidate"]) == (errors["stable"], errors["canary"])
    assert sum(total for _, _, total in found.windows["errors"]) == errors["stable"]


async def test_the_tap_does_for_drift_and_corrections_what_the_operator_signed(running):
    edges = (Edge("drift:overrides", "Overrides", window=600.0), Edge("drift:rated", "Rated", window=600.0))
    kept = Corrections("s3://models/support/triage/corrections/", ("PERSON",), 300)
    await told(running, edges=edges, features=True, corrections=kept)
    plan = running.tap.models["triage"].plan
    assert plan.features
    assert (plan.corrections.uri, plan.corrections.entities, plan.corrections.most) == (kept.uri, kept.entities, 300)
    reply = await running.ask(running.user_of("stable"))
    said = {"id": reply.headers["x-retune-id"], "thumbs": "down"}
    async with running.http.post(f"{running.users}/v1/feedback", json=said) as taken:
        assert taken.status == 202
    running.later(620)
    running.later(15)
    found = await reading(running)
    assert {edge: [tuple(counts) for _, *counts in rows] for edge, rows in found.windows.items()} == {
        "drift:overrides": [(0, 1)],
        "drift:rated": [(1, 1)],
    }
    assert found.series == (), "no stop-loss is fed with them"
    async with running.http.get(f"{running.cluster}/v1/features?model=triage&since=0") as reply:
        rows = read_features(await reply.read(), POD.uid, 0, 512).rows
    assert [row.pod for row in rows] == [POD.uid]


async def test_a_tap_that_has_no_candidate_is_read_too(running):
    await told(running, candidate=None, keep=(), stage=Stage.IDLE, stratum="-", weight=0, pilot=None, shadow=0)
    found = await reading(running)
    assert (found.weight, list(found.arms)) == (0, ["stable"])


async def test_what_the_operator_did_not_sign_is_not_heard(running):
    sealed = json.loads(Signer(KEY).sealed(Arms("support", "triage", "uid-1", {"triage": split()}, 7)))
    sealed["signature"] = Signer(KEY).sealed(Arms("support", "triage", "uid-1", {}, 8)).split('"')[-2]
    assert await running.push(json.dumps(sealed).encode()) == 403
