"""From objects as Kubernetes gives them to facts."""

from typing import Any

import pytest
from tests.unit import make

from retune.decide.facts import Stage
from retune.observe import projections

LABELS = {"retune.dev/run": "r", "retune.dev/run-uid": "u", "retune.dev/stage": "train", "retune.dev/attempt": "2"}
T = "2026-03-01T12:00:00Z"


def raw_pod(status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    base = {"name": "p", "namespace": "ns", "uid": "1", "labels": LABELS, "creationTimestamp": T, **metadata}
    return {"metadata": base, "status": status or {}}


def state(**state: Any) -> dict[str, Any]:
    return {"containerStatuses": [{"name": "trainer", "state": state}]}


def ended(message: str = "", **more: Any) -> dict[str, Any]:
    return state(terminated={"exitCode": 1, "message": message, "startedAt": T, "finishedAt": T, **more})


def test_a_pod_that_was_just_created() -> None:
    found = projections.pod(raw_pod())
    assert (found.phase, found.stage, found.attempt, found.over) == ("Pending", Stage.TRAIN, 2, False)
    assert (found.created, found.waiting, found.running_since, found.termination) == (make.NOW, None, None, None)


def test_a_pod_that_runs() -> None:
    found = projections.pod(raw_pod({"phase": "Running", "podIP": "10.0.0.1", **state(running={"startedAt": T})}))
    assert (found.running_since, found.ip, found.over) == (make.NOW, "10.0.0.1", False)


def test_a_pod_that_ended_with_a_result() -> None:
    found = projections.pod(raw_pod({"phase": "Failed", **ended('{"outcome": "Failed"}', reason="OOMKilled")}))
    assert found.over
    assert found.termination is not None
    assert (found.termination.exit_code, found.termination.reason) == (1, "OOMKilled")
    assert found.termination.message == {"outcome": "Failed"}
    assert (found.termination.started, found.termination.finished) == (make.NOW, make.NOW)


@pytest.mark.parametrize("text", ["", "Killed", "{", "[]", "null", '"text"', "5"])
def test_a_termination_message_that_is_no_object_is_no_message(text: str) -> None:
    found = projections.pod(raw_pod({"phase": "Failed", **ended(text)}))
    assert found.termination is not None
    assert found.termination.message == {}


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_what_is_not_a_number_is_not_known(number: str) -> None:
    """Python's json writes and reads NaN; the API server refuses it, and a comparison with it is never false."""
    found = projections.pod(raw_pod({"phase": "Succeeded", **ended(f'{{"scores": {{"candidate": {number}}}}}')}))
    assert found.termination is not None
    assert found.termination.message == {"scores": {"candidate": None}}


@pytest.mark.parametrize("lost", ["0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z", None])
def test_times_that_the_kubelet_lost_are_not_known(lost: str | None) -> None:
    found = projections.pod(raw_pod({"phase": "Failed", **ended(startedAt=lost, finishedAt=lost)}))
    assert found.termination is not None
    assert (found.termination.started, found.termination.finished) == (None, None)


def test_a_sidecar_of_a_mesh_is_not_taken_for_the_trainer() -> None:
    proxy = {"name": "istio-proxy", "state": {"terminated": {"exitCode": 0, "message": ""}}}
    trainer = {"name": "trainer", "state": {"terminated": {"exitCode": 64, "message": ""}}}
    found = projections.pod(raw_pod({"phase": "Failed", "containerStatuses": [proxy, trainer]}))
    assert found.termination is not None
    assert found.termination.exit_code == 64


@pytest.mark.parametrize(
    ("status", "waiting"),
    [
        (
            {"phase": "Pending", **state(waiting={"reason": "ImagePullBackOff", "message": "m"})},
            ("ImagePullBackOff", "m"),
        ),
        ({"phase": "Pending", **state(waiting={})}, None),
        ({"phase": "Pending", **state(waiting={"reason": "ContainerCreating"})}, ("ContainerCreating", "")),
        ({"phase": "Running", **state(waiting={"reason": "ContainerCreating"})}, None),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}]},
            ("Unschedulable", "0/3"),
        ),
        ({"conditions": [{"type": "PodScheduled", "status": "True"}]}, None),
    ],
)
def test_why_a_pod_waits(status: dict[str, Any], waiting: tuple[str, str] | None) -> None:
    assert projections.pod(raw_pod(status)).waiting == waiting


@pytest.mark.parametrize(("status", "expected"), [("True", "PreemptionByScheduler: why"), ("False", "")])
def test_disruption(status: str, expected: str) -> None:
    condition = {"type": "DisruptionTarget", "status": status, "reason": "PreemptionByScheduler", "message": "why"}
    assert projections.pod(raw_pod({"phase": "Failed", "conditions": [condition]})).disrupted == expected


@pytest.mark.parametrize(("phase", "expected"), [("Failed", "Evicted"), ("Running", "")])
def test_eviction_by_the_kubelet(phase: str, expected: str) -> None:
    assert projections.pod(raw_pod({"phase": phase, "reason": "Evicted"})).evicted == expected


@pytest.mark.parametrize("empty", [{"containerStatuses": None, "conditions": None}, None])
def test_nulls_are_nothing(empty: dict[str, Any] | None) -> None:
    raw = raw_pod()
    raw["status"] = empty
    assert projections.pod(raw).phase == "Pending"


@pytest.mark.parametrize(
    ("conditions", "complete", "failed"),
    [
        (None, False, None),
        ([{"type": "Complete", "status": "True"}], True, None),
        ([{"type": "Complete", "status": "False"}], False, None),
        ([{"type": "SuccessCriteriaMet", "status": "True"}], False, None),
        ([{"type": "FailureTarget", "status": "True", "reason": "PodFailurePolicy"}], False, None),
        ([{"type": "Failed", "status": "True", "reason": "r", "message": "m"}], False, ("r", "m")),
        ([{"type": "Failed", "status": "True"}], False, ("", "")),
    ],
)
def test_a_job_has_ended_when_its_condition_says_so(
    conditions: Any, complete: bool, failed: tuple[str, str] | None
) -> None:
    """Not by counters, and not by FailureTarget or SuccessCriteriaMet: then its pods may still run."""
    raw = {
        "metadata": {"name": "j", "uid": "1", "labels": LABELS},
        "status": {"conditions": conditions, "failed": 1, "succeeded": 1},
    }
    found = projections.child(raw)
    assert (found.complete, found.failed, found.over) == (complete, failed, complete or failed is not None)


def test_only_our_annotations_are_remembered() -> None:
    annotations = {"kubectl.kubernetes.io/last-applied-configuration": "x" * 9000, "retune.dev/cancel": "why"}
    raw = {"metadata": {"name": "j", "uid": "1", "annotations": annotations, "deletionTimestamp": T, "generation": 4}}
    found = projections.meta(raw)
    assert found.annotations == {"retune.dev/cancel": "why"}
    assert (found.deleting, found.generation) == (True, 4)
