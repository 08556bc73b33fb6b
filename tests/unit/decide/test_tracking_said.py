"""Where a run is tracked: the report pod says it, the status shows it, and nothing that it says can harm the report."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import (
    AttemptStage,
    Evidence,
    EvidenceState,
    FineTuneRunStatus,
    RolloutStatus,
    RunPhase,
    TrackingStatus,
)
from retune.decide.actions import CreateChild
from retune.decide.facts import Stage
from retune.decide.run import decide_run

TRACKING = {"mlflow": {"uri": "http://mlflow:5000", "experiment": "x"}, "wandb": {"project": "x"}}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=2000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["url", "error"]), inner, max_size=2),
    max_leaves=6,
)


def reported(tracking: Any) -> FineTuneRunStatus:
    """The status once the report pod has said this of tracking."""
    status = FineTuneRunStatus(
        phase=RunPhase.PROMOTED,
        ended_at=make.NOW,
        attempts=(make.attempt(1, ended_at=make.NOW), make.attempt(1, AttemptStage.REPORT)),
    )
    result = {**make.REPORTED, "tracking": tracking}
    child = make.child(Stage.REPORT, 1, complete=True)
    pod = make.ended(0, result, Stage.REPORT, 1)
    spec = make.run_spec(spec=make.job_spec(tracking=TRACKING))
    return decide_run(make.run_facts(spec=spec, status=status, children=(child,), pods=(pod,))).status


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ({"mlflow": {"url": "http://m/#/1"}}, TrackingStatus(mlflow="http://m/#/1")),
        ({"wandb": {"error": "no such project"}}, TrackingStatus(wandb="no such project")),
        (
            {"mlflow": {"url": "http://m/#/1", "error": "no artifacts"}, "wandb": {"url": "s3://b/w"}},
            TrackingStatus(mlflow="http://m/#/1; no artifacts", wandb="s3://b/w"),
        ),
        ({}, None),
        (None, None),
    ],
)
def test_the_status_names_the_place_or_says_why_there_is_none(said: Any, shown: TrackingStatus | None) -> None:
    assert reported(said).tracking == shown


@given(st.dictionaries(st.sampled_from(["mlflow", "wandb", "other"]), JSON, max_size=3) | JSON)
def test_whatever_is_said_of_tracking_the_report_counts(said: Any) -> None:
    status = reported(said)
    assert status.report_uri == make.REPORTED["reportUri"]
    FineTuneRunStatus.model_validate_json(status.model_dump_json(by_alias=True))


def test_a_run_is_tracked_where_its_job_said_when_it_began() -> None:
    told = make.run_spec(spec=make.job_spec(tracking=TRACKING)).model_dump(by_alias=True, exclude_none=True)
    assert told["tracking"] == TRACKING
    assert make.run_spec(spec=make.job_spec()).tracking is None


def test_the_report_pod_is_told_how_far_a_rollout_came_and_what_it_counted() -> None:
    evidence = Evidence(name="errors", bad=3, total=410, state=EvidenceState.OK)
    status = FineTuneRunStatus(
        phase=RunPhase.PROMOTED,
        ended_at=make.NOW,
        attempts=(make.attempt(1, started_at=make.NOW, ended_at=make.NOW),),
        rollout=RolloutStatus(weight=100, message="Promoted", evidence=(evidence,)),
    )
    (asked,) = decide_run(replace(make.run_facts(), status=status)).actions
    assert isinstance(asked, CreateChild)
    told = json.loads(asked.status)["rollout"]
    assert (told["weight"], told["message"]) == (100, "Promoted")
    assert told["evidence"] == [{"name": "errors", "bad": 3, "total": 410, "state": "Ok"}]
