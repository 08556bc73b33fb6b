"""A restart of the operator changes nothing; a memory that cannot be read begins anew and says so."""

import base64
import json
import tracemalloc
import zlib
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.decide.drift.looks import NEXT, NOON, SERVED, Looks, rows, trigger

from retune.api.triggers import DriftReference
from retune.decide.drift.evidence import Counted, DriftEvidence, ProbeResult, QueryReading
from retune.decide.drift.watch import dump, load

TRIGGERS = (
    trigger(lasting="1m"),
    trigger("drop", builtin="QualityDrop", threshold=0.05, fewest=300),
    trigger("overrides", builtin="OverrideRate", threshold=0.05, lasting="1m"),
    trigger("own", query="up", threshold=3, lasting="1m"),
)
LOOKS = 75


def story():
    """Evidence, look by look: a reference, a shift, silence, a promotion."""
    random, told, counted = np.random.default_rng(7), [], []
    for look in range(LOOKS):
        now = NOON + timedelta(seconds=30 * (look + 1))
        prompts = rows(random, 40, first=40 * look + 1, at=now, shift=0.6 * (look >= 35))
        if look >= 45:
            prompts += rows(random, 5, first=5 * (look - 44), at=now, pod="b", shift=0.6)
        window = now.timestamp() - 15
        counted.append(Counted("a", window, int(random.binomial(30, 0.02 + 0.5 * (look > 30))), 30))
        silent = look in (41, 42) or 50 <= look < 55
        told.append(
            DriftEvidence(
                rows=() if silent else prompts,
                version=None if silent else 1,
                served=SERVED if look < 64 else NEXT,
                rated=None if silent else tuple(counted[-9:]),
                overrides=None if silent else tuple(counted[-9:]),
                queries={"own": QueryReading(float("nan") if look % 17 == 5 else look / 10, now.timestamp())},
                probe=ProbeResult(f"p{look // 9}", NOON.timestamp() + 270 * (look // 9), 50, 50, 45.0 - look // 3),
                accuracy_at_promotion=0.9,
            )
        )
    return told


@pytest.fixture(scope="module")
def whole():
    return play(frozenset())


def play(cuts):
    looks, said = Looks(*TRIGGERS), []
    for look, evidence in enumerate(story()):
        if look in cuts:
            looks.memory = load(dump(looks.memory))
        looks.look(evidence)
        said.append(looks.statuses)
    return said


@settings(max_examples=6, deadline=None, derandomize=True)
@given(cuts=st.frozensets(st.integers(1, LOOKS - 1), min_size=1, max_size=4))
def test_a_restart_at_any_look_changes_nothing(whole, cuts) -> None:
    assert play(cuts) == whole


def test_the_story_has_what_a_restart_could_change(whole) -> None:
    states = [{said[i].state.value for said in whole} for i in range(4)]
    assert states[0] >= {"Unknown", "Ok", "Breached", "Firing"}
    assert states[1] >= {"Unknown", "Breached"}
    assert states[2] >= {"Unknown", "Ok", "Breached", "Firing"}
    assert states[3] >= {"Ok", "Breached", "Firing"}


def test_a_restart_from_an_older_memory_reads_the_rings_again() -> None:
    told = [each for each in story()[:60] if each.version]
    straight, restarted = Looks(trigger(lasting="1m")), Looks(trigger(lasting="1m"))
    for each in told[:26]:
        straight.look(each)
        restarted.look(each)
    kept = dump(restarted.memory)
    for each in told[26:31]:
        straight.look(each)
    restarted.memory, restarted.now = load(kept), straight.now - timedelta(seconds=30)
    ring = tuple(row for each in told[20:31] for row in each.rows)
    restarted.look(DriftEvidence(rows=ring, version=1, served=SERVED))
    for each in told[31:]:
        straight.look(each)
        restarted.look(each)
    assert restarted.statuses[0].state == straight.statuses[0].state
    assert restarted.statuses[0].samples == straight.statuses[0].samples


def broken():
    looks = Looks(trigger())
    looks.prompts(25)
    text = dump(looks.memory)
    yield from ("", "{}", "null", "[]", text[:-50], text.replace('"version":1', '"version":2', 1))
    yield json.dumps({**json.loads(text), "body": json.loads(text)["body"].replace("j-1", "j-7")})


@pytest.mark.parametrize("text", list(broken()), ids=map(str, range(7)))
def test_a_memory_that_cannot_be_read_begins_anew_and_all_is_unknown(text) -> None:
    assert load(text) is None
    status = Looks(trigger(), memory=load(text)).prompts(1)
    assert status.state == "Unknown"
    assert "no tap" in status.message or "being collected" in status.message


def test_a_week_of_busy_prompts_fits_into_a_config_map() -> None:
    looks = Looks(*TRIGGERS, reference=DriftReference())
    for hour in range(24 * 8):
        at = looks.now + timedelta(hours=1)
        prompts = rows(looks.random, 160, first=160 * hour + 1, at=at, seconds=3600)
        # Bytes without any order cannot be made smaller.
        prompts = tuple(type(r)(r.pod, r.seq, r.at, looks.random.bytes(64)) for r in prompts)
        counts = tuple(Counted("a", at.timestamp() - 15 * i, 1, 9) for i in range(240, 0, -1))
        evidence = DriftEvidence(rows=prompts, version=1, served=SERVED, rated=counts, overrides=counts)
        looks.look(evidence, after=3600)
    assert looks.statuses[0].samples >= 2000
    assert len(dump(looks.memory)) < 900_000


def test_what_unpacks_to_more_than_is_ever_kept_is_not_unpacked() -> None:
    looks = Looks(TRIGGERS[0])
    looks.prompts(30)
    told = json.loads(dump(looks.memory))
    body = json.loads(told["body"])
    bomb = zlib.compressobj(9)
    large = b"".join(bomb.compress(bytes(2**20)) for _ in range(256)) + bomb.flush()
    body["prompts"]["pool"]["rows"] = base64.b64encode(large).decode()
    text = json.dumps(body)
    forged = json.dumps({"version": told["version"], "crc": zlib.crc32(text.encode()), "body": text})
    tracemalloc.start()
    assert load(forged) is None
    assert tracemalloc.get_traced_memory()[1] < 2**26
    tracemalloc.stop()
