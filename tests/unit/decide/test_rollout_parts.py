"""The small computations of a rollout: stages, edges, quotas, and whether a weight is really given."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make
from tests.unit.decide.rollout_world import RolloutWorld

from retune.api import Rollout
from retune.decide.draft import RunDraft
from retune.decide.readings import TapReading
from retune.decide.rollout.course import Course, course
from retune.decide.rollout.exposure import fits
from retune.decide.rollout.kept import Kept, read_kept
from retune.decide.rollout.stages import after, stages
from retune.decide.rollout.stop_losses import edges, slow_edge, watched
from retune.decide.rollout.traffic import share


def test_stages_that_a_job_does_not_ask_for_are_left_out() -> None:
    plain = stages(Rollout.model_validate({"bake": "0s"}), 3)
    assert [(s.stratum, s.weight) for s in plain] == [("3:0", 10), ("3:1", 25), ("3:2", 50)]
    assert after(plain, plain[-1]) is None
    full = stages(Rollout.model_validate({"shadow": {}, "pilot": {"header": "x", "values": ["a"]}}), 3)
    assert [s.name for s in full] == ["shadow", "pilot", "0", "1", "2", "bake"]
    assert full[-1].weight == 90


def test_a_job_that_names_no_stop_loss_has_errors_overrides_and_once_known_slow() -> None:
    rollout = Rollout()
    known = edges(rollout, make.job_spec().evaluation, 600.0)
    assert [(e.builtin, e.window) for e in known] == [("Errors", None), ("Overrides", 600.0)]
    slow = slow_edge([TapReading("a", "a", 0, 0, 1, p95={"firstToken": 0.4})])
    assert slow is not None
    assert slow.seconds == 1.0
    assert [w.builtin for w in watched(rollout, (*known, slow))] == ["Errors", "Overrides", "Slow"]
    assert slow_edge([TapReading("a", "a", 0, 0, 1)]) is None


def test_a_named_stop_loss_is_taken_as_it_stands() -> None:
    rollout = Rollout.model_validate(
        {"stopLoss": [{"name": "json", "builtin": "InvalidOutput"}, {"name": "r", "bad": "$arm", "total": "$arm"}]}
    )
    schema = {"type": "object"}
    spec = make.job_spec(evaluation={"metrics": [{"name": "JsonValid", "schema": schema}]})
    found = edges(rollout, spec.evaluation, 600.0)
    assert [(e.name, e.schema) for e in found] == [("json", schema)], "the user's own counters are not the taps' matter"
    assert [w.builtin for w in watched(rollout, found)] == ["InvalidOutput", None]


@given(st.integers(0, 500), st.integers(0, 200), st.lists(st.integers(0, 200), min_size=1, max_size=6))
def test_quotas_never_add_up_to_more_than_the_cap(cap: int, gone: int, used: list[int]) -> None:
    quota = fits(cap, gone, used)
    total = gone + sum(max(u, quota) for u in used)
    assert total <= max(cap, gone + sum(used)), "nobody is given more than is left"
    more = gone + sum(max(u, quota + 1) for u in used)
    assert more > cap, "and nothing is kept back"


def _canary(stable: int, candidate: int, heaviest: float = 0.0, sticky: bool = False) -> Course:
    w = RolloutWorld({"steps": [{"weight": 10, "hold": "1h"}]}, {"stickyHeader": "x-user"} if sticky else None)
    w.until("Canary")
    for tap in w.taps.values():
        tap.routed = {"1:0": (stable, candidate)}
    facts = w.facts()
    if heaviest:
        taps = {uid: replace(t, heaviest=heaviest) for uid, t in facts.serving.taps.items()}
        facts = replace(facts, serving=replace(facts.serving, taps=taps))
    on = course(RunDraft(facts, facts.status))
    assert on is not None
    return on


@pytest.mark.parametrize(
    ("stable", "candidate", "given"),
    [(10, 1, None), (900, 100, True), (1000, 0, False), (500, 500, False), (910, 90, True)],
)
def test_a_share_is_believed_when_the_counters_show_it(stable: int, candidate: int, given: bool | None) -> None:
    assert share(_canary(stable, candidate))[0] is given


def test_one_heavy_user_who_sticks_to_an_arm_is_no_mismatch() -> None:
    assert share(_canary(800, 200))[0] is False
    assert share(_canary(800, 200, heaviest=0.15, sticky=True))[0] is True


def test_a_note_is_read_back_and_a_garbled_one_is_none() -> None:
    kept = Kept(at=5.0, counted=7, spent={"uid": (3, 1)}, shadow={"uid": (9, 2)})
    assert read_kept(kept.text()) == kept
    assert read_kept("") is None
    assert read_kept('{"version": 1}') is None
    assert read_kept("[1, 2]") is None
