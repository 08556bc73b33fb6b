"""How an attempt ended: the Job's conditions and the pod, against what status.attempts[].exit says."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.decide.facts import Child, Pod, Stage
from retune.decide.outcome import COUNTED, FATAL, Exit, Outcome, outcome

DISRUPTION = "Pod support/pod has condition DisruptionTarget matching FailJob rule at index 0"
WRONG = make.failed("DatasetEmpty", "spec.dataset.train.uri", "no examples. Add some.")


def end(child: Child, *pods: Pod, limit: str = "3Gi") -> Outcome:
    found = outcome(child, pods, limit)
    assert found is not None
    return found


@pytest.mark.parametrize("pods", [(), (make.pod(),), (make.running(),), (make.ended(1),)])
def test_it_has_not_ended_before_the_job_controller_says_so(pods: tuple[Pod, ...]) -> None:
    assert outcome(make.child(), pods, "") is None


# The table of design/0002: what the operator does by exit code.
CODES = [
    (64, Exit.INPUT_ERROR, "InvalidInput"),
    (65, Exit.CRASHED, "StoreUnreachable"),
    (70, Exit.LOST, "Superseded"),
    (75, Exit.DISRUPTED, "Interrupted"),
    (143, Exit.DISRUPTED, "Interrupted"),
    (1, Exit.CRASHED, "Crashed"),
    (2, Exit.CRASHED, "Crashed"),
    (137, Exit.CRASHED, "Crashed"),
    (139, Exit.CRASHED, "Crashed"),
    (255, Exit.CRASHED, "Crashed"),
]


@pytest.mark.parametrize(("code", "expected", "reason"), CODES)
def test_exit_codes_without_a_message(code: int, expected: Exit, reason: str) -> None:
    found = end(make.failed_child(code), make.ended(code))
    assert (found.exit, found.reason) == (expected, reason)


@pytest.mark.parametrize(("code", "expected", "reason"), CODES)
def test_the_jobs_condition_remembers_the_code_of_a_pod_that_is_gone(code: int, expected: Exit, reason: str) -> None:
    found = end(make.failed_child(code))
    assert (found.exit, found.reason) == (expected, reason)


def test_what_ends_the_run_and_what_counts_against_the_retries() -> None:
    """design/0002: 64 ends the run, 65 and crashes count, disruptions do not."""
    assert {Exit.INPUT_ERROR, Exit.OUT_OF_MEMORY, Exit.TIMEOUT} == FATAL
    assert {Exit.CRASHED} == COUNTED


def test_success_is_what_the_message_says() -> None:
    found = end(make.child(complete=True), make.ended(0, make.trained()))
    assert found.exit is Exit.SUCCEEDED
    assert found.result["scores"]["candidate"] == 0.8


def test_success_whose_pod_was_gone_is_read_again_not_taken_for_failure() -> None:
    found = end(make.child(complete=True))
    assert (found.exit, found.reason) == (Exit.LOST, "ResultLost")
    assert found.exit not in FATAL | COUNTED


def test_wrong_input_names_field_reason_and_cure() -> None:
    found = end(make.failed_child(64), make.ended(64, WRONG))
    assert (found.exit, found.reason) == (Exit.INPUT_ERROR, "DatasetEmpty")
    assert found.message == "spec.dataset.train.uri: no examples. Add some."


def test_a_crash_without_field_says_only_the_message() -> None:
    found = end(make.failed_child(1), make.ended(1, make.failed("TrainingDiverged", "", "loss is not a number")))
    assert (found.exit, found.reason, found.message) == (Exit.CRASHED, "TrainingDiverged", "loss is not a number")


@pytest.mark.parametrize(("limit", "said"), [("3Gi", "its memory limit (3Gi)"), ("", "the node's memory")])
def test_an_oom_kill_names_the_limit_and_the_fields(limit: str, said: str) -> None:
    found = end(make.failed_child(137), make.ended(137, reason="OOMKilled"), limit=limit)
    assert found.exit is Exit.OUT_OF_MEMORY
    assert said in found.message
    assert "spec.training.resources.limits.memory" in found.message


@pytest.mark.parametrize(
    ("child", "pods"),
    [
        (make.child(failed=("DeadlineExceeded", "Job was active longer than specified deadline")), ()),
        (make.child(failed=("DeadlineExceeded", "")), (make.ended(143),)),
        (make.failed_child(75), (make.ended(75, evicted="DeadlineExceeded"),)),
        (make.failed_child(137), (make.ended(137, evicted="DeadlineExceeded"),)),
        # its image was never there: the kubelet fails such a pod without any container state
        (make.child(failed=("BackoffLimitExceeded", "")), (make.pod(phase="Failed", evicted="DeadlineExceeded"),)),
    ],
)
def test_a_deadline_is_a_timeout_however_the_container_took_it(child: Child, pods: tuple[Pod, ...]) -> None:
    assert end(child, *pods).exit is Exit.TIMEOUT


@pytest.mark.parametrize(
    ("child", "pods"),
    [
        (make.child(failed=("PodFailurePolicy", DISRUPTION)), ()),
        (make.child(failed=("PodFailurePolicy", DISRUPTION)), (make.ended(137, disrupted="PreemptionByScheduler: p"),)),
        (make.child(failed=("PodFailurePolicy", DISRUPTION)), (make.ended(1, disrupted="EvictionByEvictionAPI: e"),)),
        (make.failed_child(137), (make.ended(137, evicted="Evicted"),)),
        (make.failed_child(1), (make.pod(phase="Failed", evicted="OutOfcpu"),)),
        (make.failed_child(137), (make.ended(137, evicted="NodeShutdown"),)),
        (make.failed_child(1), (make.ended(1, deleting=True),)),
    ],
)
def test_what_was_taken_away_never_counts(child: Child, pods: tuple[Pod, ...]) -> None:
    found = end(child, *pods)
    assert found.exit is Exit.DISRUPTED
    assert found.exit not in COUNTED | FATAL


def test_a_container_that_the_kubelet_lost_track_of_is_a_lost_node_not_a_crash() -> None:
    """After a reboot the kubelet reports exit code 137, reason ContainerStatusUnknown and times of 1970."""
    lost = make.ended(137, reason="ContainerStatusUnknown")
    found = end(make.failed_child(137), lost)
    assert found.exit is Exit.LOST
    assert lost.name in found.message


def test_a_pod_gone_without_a_trace_is_lost() -> None:
    found = end(make.child(failed=("BackoffLimitExceeded", "Job has reached the specified backoff limit")))
    assert (found.exit, found.reason) == (Exit.LOST, "PodLost")
    assert "backoff limit" in found.message


def test_a_preflight_that_needs_too_much_or_too_long_is_not_told_to_change_what_does_not_concern_it() -> None:
    """What a preflight pod is given does not come from spec.training, so that is not the cure."""
    oom = end(make.failed_child(137, Stage.PREFLIGHT), make.ended(137, stage=Stage.PREFLIGHT, reason="OOMKilled"))
    late = end(make.child(Stage.PREFLIGHT, failed=("DeadlineExceeded", "")))
    assert (oom.exit, late.exit) == (Exit.OUT_OF_MEMORY, Exit.TIMEOUT)
    for found in (oom, late):
        assert "spec.training" not in found.message
        assert "spec.dataset" in found.message


FOREIGN: list[Any] = [
    {"error": "boom"},
    {"error": ["boom"]},
    {"error": {"reason": 5, "field": [], "message": {}}},
    {"error": {"reason": "x" * 5000, "field": "y" * 5000, "message": "z" * 5000}},
    {"error": {"reason": "", "message": None}},
    {"outcome": 7},
]


@pytest.mark.parametrize("message", FOREIGN)
@pytest.mark.parametrize("code", [0, 1, 64, 65])
def test_a_foreign_image_may_say_anything(code: int, message: Any) -> None:
    child = make.child(complete=True) if code == 0 else make.failed_child(code)
    found = end(child, make.ended(code, message))
    assert isinstance(found.reason, str)
    assert 1 <= len(found.reason) <= 128, "the reason of a condition"
    assert isinstance(found.message, str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=200),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
SAID = st.fixed_dictionaries(
    {},
    optional={
        "outcome": st.sampled_from(["Succeeded", "Failed"]) | JSON,
        "error": JSON | st.fixed_dictionaries({}, optional={"reason": JSON, "field": JSON, "message": JSON}),
    },
)


@given(code=st.integers(0, 255), message=SAID, reason=st.sampled_from(["Error", "OOMKilled", "StartError", ""]))
def test_every_end_has_a_reason_that_a_condition_can_hold(code: int, message: Any, reason: str) -> None:
    child = make.child(complete=True) if code == 0 else make.failed_child(code)
    found = end(child, make.ended(code, message, reason=reason))
    assert 1 <= len(found.reason) <= 128
    assert (found.exit is Exit.SUCCEEDED) == (code == 0 and message.get("outcome") == "Succeeded")


def test_success_with_an_unreadable_result_is_not_repeated_for_ever() -> None:
    """An image that is no trainer exits 0 and says nothing we know; asking again brings the same, and costs money."""
    found = end(make.child(complete=True), make.ended(0, {}))
    assert found.exit in FATAL | COUNTED
    assert "spec.training.image" in found.message


def test_the_newest_of_several_pods_decides() -> None:
    old = make.ended(1, name="zzz", created=datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
    new = make.ended(64, WRONG, name="aaa", created=datetime(2026, 3, 1, 12, 5, tzinfo=UTC))
    assert end(make.failed_child(64), old, new).exit is Exit.INPUT_ERROR
