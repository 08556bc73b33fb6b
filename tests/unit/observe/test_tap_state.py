"""What a tap says of itself is believed as far as the contract allows it, and otherwise not at all."""

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import make
from tests.unit.serves import JOB, pod, state

from retune.decide.readings import ArmState, ShadowCount, TapReading
from retune.observe.tap_state import read_state

Raw = dict[str, Any]


def read(said: object) -> TapReading:
    return read_state(json.dumps(said).encode(), pod(), JOB)


def test_what_the_contract_allows_is_read_whole() -> None:
    found = read(state())
    assert (found.pod_uid, found.generation, found.started, found.now) == ("p1", 3, 1790000000.1, 1790000100.5)
    assert (found.stratum, found.weight, found.held) == ("3:1", 25, "")
    assert found.arms["canary"] == ArmState("triage-abc", make.ADAPTER, "Ready")
    assert {(s.metric, s.arm, s.stratum, sum(s.total)) for s in found.series} == {
        ("errors", "stable", "3:0", 7),
        ("errors", "canary", "3:0", 7),
    }
    assert found.routed == {"3:1": (900, 301)}
    assert found.windows == {"errors": ((1790000010.0, 0, 14),)}
    assert (found.fallbacks, found.heaviest, found.quota_requests, found.quota_bad) == (3, 0.04, 301, 2)
    assert found.p95 == {"firstToken": 0.4}
    assert found.timed == {"firstToken": 0, "response": 0}, "an older tap does not say of how many"
    assert found.shadow == ShadowCount(5, 1, 0, 3, 4)


def test_a_tap_without_a_document_yet_is_no_error() -> None:
    found = read({**state(generation=0), "models": {}})
    assert (found.generation, found.weight, found.series) == (0, 0, ())


def test_the_answer_of_another_pod_is_not_taken_for_this_ones() -> None:
    with pytest.raises(ValueError, match="another pod"):
        read(state(uid="p2"))


ZEROS = [0] * 32
WRONG: list[Raw] = [
    {"weight": 101},
    {"weight": -1},
    {"weight": True},
    {"weight": "25"},
    {"weight": 25.0},
    {"held": "Because"},
    {"arms": {"green": {}}},
    {"arms": {"stable": {"name": "base", "digest": "", "state": "Fine"}}},
    {"counters": {"errors": {"stable": {"3:0": {"bad": ZEROS[1:], "total": ZEROS}}}}},
    {"counters": {"errors": {"stable": {"3:0": {"bad": [1, *ZEROS[1:]], "total": ZEROS}}}}},
    {"counters": {"errors": {"stable": {"3:0": {"bad": ZEROS, "total": [1.5, *ZEROS[1:]]}}}}},
    {"counters": {"errors": {"stable": {"3:0": {"bad": ZEROS, "total": [2**60, *ZEROS[1:]]}}}}},
    {"counters": {"errors": {"green": {}}}},
    {"counters": {"errors": {"stable": {str(i): {"bad": ZEROS, "total": ZEROS} for i in range(100)}}}},
    {"routed": {"3:1": {"stable": -1, "canary": 0}}},
    {"heaviest": 1.5},
    {"windows": {"errors": [[0, 2, 1]]}},
    {"windows": {"errors": [[0, 1]]}},
    {"windows": {"errors": [[0, 0, 0]] * 1001}},
    {"shadow": {"sent": None}},
    {"latency": {"firstToken": {"p95": -1}}},
    {"latency": {"candidate": {"n": 1.5, "p95": 1}}},
]


@pytest.mark.parametrize("model", WRONG)
def test_what_the_contract_does_not_allow_is_refused_whole(model: Raw) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read(state(**model))


@pytest.mark.parametrize(
    "text", [b"", b"\xff", b"[]", b"null", b"{}", b"<html>", b'{"models": 1}', b"[" * 100_000, b'{"now": NaN}']
)
def test_garbage_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        read_state(text, pod(), JOB)


PLACES = st.lists(st.integers(0, 12), min_size=1, max_size=6)
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just([]), st.just({}), st.just([{}])
)


@settings(max_examples=300, deadline=None)
@given(PLACES, JUNK)
def test_whatever_is_put_in_any_place_it_is_read_or_refused_and_never_anything_else(path: list[int], junk: Any) -> None:
    said = copy.deepcopy(state())
    parent: Any = said
    for depth, step in enumerate(path):
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = keys[step % len(keys)]
        if depth == len(path) - 1 or not isinstance(parent[key], dict | list) or not parent[key]:
            break
        parent = parent[key]
    parent[key] = junk
    try:
        found = read(said)
    except ValueError:
        return
    assert 0 <= found.weight <= 100
    assert all(0 <= b <= t for s in found.series for b, t in zip(s.bad, s.total, strict=True))
