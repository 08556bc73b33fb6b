"""Nothing unsigned, foreign or older moves traffic."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tap.running import CANDIDATE, PUBLIC, Running, envelope, model, payload

from retune_tap.arms import ArmsError
from retune_tap.envelope import Desk


def desk() -> Desk:
    return Desk(PUBLIC, "support", "triage", "uid-1")


def status(of: Desk, document: bytes) -> int:
    with pytest.raises(ArmsError) as raised:
        of.take(document)
    return raised.value.status


def test_a_document_is_taken_once_and_answered_as_taken_again():
    of = desk()
    assert of.take(envelope(payload(7))).generation == 7
    assert of.take(envelope(payload(7))).generation == 7


def test_a_replayed_older_document_and_another_of_the_same_generation_are_refused():
    of = desk()
    of.take(envelope(payload(7)))
    assert status(of, envelope(payload(6, weight=100))) == 409
    assert status(of, envelope(payload(7, weight=100))) == 409
    assert of.current.models["triage"].weight == 50


def test_a_forged_signature_and_a_changed_payload_are_refused():
    of = desk()
    assert status(of, envelope(payload(7), Ed25519PrivateKey.generate())) == 403
    changed = json.loads(envelope(payload(7)))
    changed["payload"] = json.loads(envelope(payload(8)))["payload"]
    assert status(of, json.dumps(changed).encode()) == 403
    assert of.current is None


@pytest.mark.parametrize("foreign", [{"namespace": "other"}, {"job": "other"}, {"uid": "another-uid"}])
def test_a_document_of_another_job_is_refused(foreign):
    assert status(desk(), envelope({**payload(7), **foreign})) == 403


@pytest.mark.parametrize(
    "wrong",
    [
        {"weight": 101},
        {"weight": -1},
        {"weight": "50"},
        {"weight": True},
        {"stage": "Party"},
        {"stable": None},
        {"edges": [{"name": "slow", "builtin": "Slow", "seconds": 0, "of": "FirstToken"}]},
        {"edges": [{"name": "x", "builtin": "Errors"}] * 2},
        {"edges": [{"name": "x", "builtin": "Other"}]},
        {"candidate": {"kind": "Base", "name": "base"}},
        {"candidate": {"kind": "Adapter", "name": CANDIDATE, "digest": "", "uri": "s3://x"}},
        {"quota": {"requests": -1, "bad": None}},
        {"patience": "long"},
        {"salt": "x" * 1000},
    ],
)
def test_what_is_malformed_is_refused_though_it_is_signed(wrong):
    assert status(desk(), envelope(payload(7, **wrong))) == 400


def test_numbers_that_are_none_are_refused():
    assert status(desk(), envelope(json.dumps(payload(7, weight=float("nan"))).encode())) == 400


def test_a_newer_operators_additions_do_not_keep_a_rollback_out():
    document = payload(7)
    document["models"]["triage"] = {**model(weight=0), "later": {"addition": 1}}
    assert desk().take(envelope(document)).models["triage"].weight == 0


@given(st.binary(max_size=300))
def test_no_bytes_do_more_than_be_refused(junk):
    assert status(desk(), junk) in {400, 403}
    assert status(desk(), envelope(junk)) in {400, 403}


async def test_the_port_answers_each_with_its_status(running):
    assert await running.push(b"junk") == 400
    assert await running.push(envelope(payload(3), Ed25519PrivateKey.generate())) == 403
    assert await running.push(envelope(payload(3, uid="x"))) == 403
    assert await running.push(envelope(payload(3))) == 200
    assert await running.push(envelope(payload(3))) == 200
    async with running.http.post(f"{running.cluster}/v1/arms", data=envelope(payload(2))) as reply:
        assert (reply.status, await reply.json()) == (409, {"generation": 3})


async def test_without_a_document_nothing_but_health_is_served(running):
    assert (await running.ask("ann")).status == 503
    for path, expected in (("/healthz", 200), ("/readyz", 503), ("/metrics", 200)):
        async with running.http.get(running.cluster + path) as reply:
            assert reply.status == expected


async def test_a_restarted_tap_reads_the_mounted_document_and_does_not_go_back(tmp_path):
    (tmp_path / "arms.json").write_bytes(envelope(payload(9, weight=100)))
    async with Running(tmp_path) as again:
        again.tap.read_file()
        await again.look()
        assert (await again.ask("ann")).headers["x-retune-arm"] == "canary"
        assert await again.push(envelope(payload(8, weight=0))) == 409
        again.file.write_bytes(envelope(payload(10, weight=0)))
        again.tap.read_file()
        assert (await again.ask("ann")).headers["x-retune-arm"] == "stable"
        again.file.write_bytes(b"half a docum")
        again.tap.read_file()
        assert again.tap.desk.generation == 10
