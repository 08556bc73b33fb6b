"""How often people stepped in between drift and promotion, and what else `status.recovery` says of it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.decide.triggers.place import Place, firing

from retune.api import Approval, DriftState, DriftStatus, Recovery, RolloutStatus, RunPhase, ServingFigures
from retune.decide.naming import RESUME_ANNOTATION, RETRY_ANNOTATION

DRIFT = {"drift": [{"name": "mix", "builtin": "PromptDrift", "threshold": 0.2}], "cooldown": "0s"}


def drifting() -> Place:
    """The first run serves, and an hour later drift has started a second one."""
    place = Place(DRIFT).first()
    place.drift(firing(breached_since=make.at(3600)))
    place.now = make.at(7200)
    place.settle()
    assert place.kinds == ["Created", "Drift"]
    return place


def ends(place: Place, phase: RunPhase = RunPhase.PROMOTED, **changes: Any) -> None:
    """An hour later the run in flight ends, with `changes` in its status."""
    place.wait(hours=1).end(phase)
    run = place.runs[-1]
    place.runs[-1] = replace(run, status=run.status.model_copy(update=changes))
    if phase is RunPhase.PROMOTED:
        place.drift(DriftStatus(name="mix", state=DriftState.UNKNOWN))
    place.settle()


def recovery(place: Place) -> Recovery:
    found = place.status.recovery
    assert found is not None
    return found


def ended_by(reason: str) -> RolloutStatus:
    return RolloutStatus(held_because=reason)


def test_a_loop_that_closes_by_itself_has_no_interventions() -> None:
    place = drifting()
    ends(place, rollout=ended_by("Promoted"))
    assert recovery(place).interventions == 0


def test_an_approval_counts_once_if_it_was_signed_in_that_time() -> None:
    place = drifting()
    known = Approval(name="legal", by="ada", at=make.at(60))
    signed = Approval(name="data", by="bo", at=make.at(8000))
    ends(place, RunPhase.REJECTED, approvals=(known, signed))
    ends(place, approvals=(known, signed))  # that of the run before holds for this one, too
    assert recovery(place).run == place.runs[-1].meta.name
    assert recovery(place).interventions == 1


@pytest.mark.parametrize(
    ("phase", "reason"),
    [
        (RunPhase.ROLLED_BACK, "RollbackAsked"),
        (RunPhase.CANCELLED, "Cancelled"),
    ],
)
def test_a_run_that_a_person_ended_on_the_way_counts(phase: RunPhase, reason: str) -> None:
    place = drifting()
    ends(place, phase, rollout=ended_by(reason))
    ends(place)
    assert recovery(place).interventions == 1


def test_a_run_that_the_stop_loss_took_back_is_nobodys_act() -> None:
    place = drifting()
    ends(place, RunPhase.ROLLED_BACK, rollout=ended_by("StopLoss"))
    ends(place)
    assert recovery(place).interventions == 0


def test_a_promotion_by_hand_counts() -> None:
    place = drifting()
    ends(place, rollout=ended_by("PromotedByHand"))
    assert recovery(place).interventions == 1


def test_a_run_that_a_person_started_on_the_way_counts() -> None:
    place = drifting()
    place.annotations = {RETRY_ANNOTATION: "now"}
    ends(place, RunPhase.REJECTED)
    assert place.kinds[-1] == "Retry"
    ends(place, RunPhase.REJECTED)
    assert place.kinds[-1] == "Drift"
    ends(place)
    assert recovery(place).interventions == 1


@pytest.mark.parametrize(
    ("value", "counted"),
    [
        ("2026-03-01T14:30:00Z", 1),
        ("2026-03-01T12:30:00Z", 0),  # before the drift was noticed
        ("2026-03-02T12:30:00Z", 0),  # after it was made good
        ("2026-03-01T14:30:00", 0),
        ("again", 0),
    ],
)
def test_a_resumption_counts_where_its_time_is_written_and_in_that_time(value: str, counted: int) -> None:
    place = drifting()
    place.annotations = {RESUME_ANNOTATION: value}
    ends(place)
    assert recovery(place).interventions == counted


def test_runs_that_are_deleted_later_have_still_been_part_of_it() -> None:
    place = drifting()
    cost = make.read_status({"cost": {"amount": "3.50"}}).cost
    ends(place, RunPhase.CANCELLED, cost=cost)
    ends(place, cost=cost)
    before = recovery(place)
    assert (before.cost, before.interventions) == ("7.00", 1)
    del place.runs[-2]
    place.settle()
    assert recovery(place) == before


def test_what_answers_took_and_cost_is_taken_over_from_the_rollout() -> None:
    place = drifting()
    before = ServingFigures(p95_seconds=2.0, cost_per_1k="0.31")
    after = ServingFigures(p95_seconds=1.5, cost_per_1k="0.29")
    ends(place, rollout=RolloutStatus(before=before, after=after))
    assert (recovery(place).before, recovery(place).after) == (before, after)
