"""Waiting reasons, names and conditions: small pure functions, as tables and properties."""

import re
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Condition
from retune.decide.conditions import MESSAGE_LIMIT, events_of, find, moment, set_condition
from retune.decide.facts import Pod, Stage
from retune.decide.naming import LIMIT, child_name, run_name
from retune.decide.waiting import SLOW_START, waiting

# ------------------------------------------------------------------------------------------------------------- waiting


@pytest.mark.parametrize(
    ("reason", "fatal", "cure"),
    [
        ("ImagePullBackOff", True, "spec.training.image"),
        ("ErrImagePull", True, "spec.training.imagePullSecrets"),
        ("InvalidImageName", True, "spec.training.image"),
        ("CreateContainerConfigError", True, "Secret"),
        ("Unschedulable", False, "gpusPerNode"),
        ("SomethingNew", False, ""),
    ],
)
def test_why_a_training_pod_waits(reason: str, fatal: bool, cure: str) -> None:
    found = waiting(Stage.TRAIN, (make.pod(waiting=(reason, "says the cluster.")),), None, make.at(60))
    assert found is not None
    assert (found.reason, found.fatal) == (reason, fatal)
    assert found.message.startswith("says the cluster.")
    assert cure in found.message
    assert not found.message.endswith("..")


def test_a_preflight_pod_that_fits_nowhere_is_not_told_about_gpus() -> None:
    stuck = make.pod(Stage.PREFLIGHT, waiting=("Unschedulable", "0/3 nodes"))
    found = waiting(Stage.PREFLIGHT, (stuck,), None, make.at(60))
    assert found is not None
    assert "gpus" not in found.message
    assert "preflight pod" in found.message


@pytest.mark.parametrize(
    ("pods", "denied", "reason"),
    [
        ((), None, None),
        ((), ("FailedCreate", "exceeded quota: gpus"), "FailedCreate"),
        ((make.pod(),), None, None),
        ((make.running(),), None, None),
        ((make.ended(1),), None, None),
        # the pod is there by now: the complaint is an old one
        ((make.running(),), ("FailedCreate", "exceeded quota"), None),
        ((make.pod(phase="Failed", waiting=("ImagePullBackOff", "old")),), None, None),
    ],
)
def test_when_there_is_something_to_wait_for(
    pods: tuple[Pod, ...], denied: tuple[str, str] | None, reason: str | None
) -> None:
    found = waiting(Stage.TRAIN, pods, denied, make.at(60))
    assert (found.reason if found else None) == reason
    assert found is None or not found.fatal


@pytest.mark.parametrize(("age", "said"), [(0, False), (SLOW_START - 1, False), (SLOW_START, True), (600, True)])
def test_starting_is_no_news_until_it_takes_long(age: float, said: bool) -> None:
    pods = (make.pod(waiting=("ContainerCreating", "")),)
    found = waiting(Stage.TRAIN, pods, None, make.at(age))
    assert (found is not None) == said
    assert found is None or not found.fatal


# --------------------------------------------------------------------------------------------------------------- names

JOB_NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


@given(JOB_NAMES, st.uuids(), st.integers(1, 10**9), st.sampled_from(Stage), st.integers(1, 64))
def test_names_are_valid_labels_of_at_most_63_characters(
    job: str, uid: object, number: int, stage: Stage, attempt: int
) -> None:
    run = run_name(job, str(uid), number)
    for name in (run, child_name(run, stage, attempt)):
        assert len(name) <= LIMIT == 63
        assert DNS_LABEL.fullmatch(name)
    assert run == run_name(job, str(uid), number)


@given(JOB_NAMES, st.lists(st.integers(1, 10**6), min_size=2, max_size=20, unique=True))
def test_runs_and_attempts_have_names_of_their_own(job: str, numbers: list[int]) -> None:
    runs = [run_name(job, "uid", n) for n in numbers]
    children = [child_name(run, stage, n) for run in runs[:3] for stage in Stage for n in range(1, 12)]
    assert len(set(runs)) == len(runs)
    assert len(set(children)) == len(children)


def test_a_namesake_of_a_deleted_job_has_other_runs() -> None:
    assert run_name("triage", "one", 1) != run_name("triage", "two", 1)


# ---------------------------------------------------------------------------------------------------------- conditions

TRUTHS = st.sampled_from(["True", "False", "Unknown"])
WORDS = st.sampled_from(["Running", "Crashed", "Waiting"])


def set_at(
    conditions: tuple[Condition, ...], type_: str, truth: str, reason: str, now: datetime
) -> tuple[Condition, ...]:
    return set_condition(conditions, type_, truth, reason, "text", generation=2, now=now)  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.sampled_from("ABC"), TRUTHS, WORDS), max_size=20))
def test_the_transition_time_moves_with_the_status_and_only_then(changes: list[tuple[str, str, str]]) -> None:
    conditions: tuple[Condition, ...] = ()
    moved: dict[str, tuple[str, datetime]] = {}
    for second, (type_, truth, reason) in enumerate(changes):
        now = make.at(second)
        if moved.get(type_, ("", now))[0] != truth:
            moved[type_] = (truth, now)
        conditions = set_at(conditions, type_, truth, reason, now)
        found = find(conditions, type_)
        assert found is not None
        assert (found.status, found.last_transition_time) == moved[type_]
        assert (found.reason, found.observed_generation) == (reason, 2)
    assert [c.type for c in conditions] == list(dict.fromkeys(type_ for type_, _, _ in changes))


def test_a_long_message_is_cut_where_the_reader_sees_it() -> None:
    (found,) = set_condition((), "Trained", "False", "Crashed", "x" * 5000, generation=1, now=make.NOW)
    assert len(found.message) == MESSAGE_LIMIT
    assert found.message.endswith("…")


@pytest.mark.parametrize(
    ("old", "new", "kinds"),
    [
        (None, ("False", "Crashed"), ["Warning"]),
        (("False", "Crashed"), ("False", "Crashed"), []),
        (("False", "Crashed"), ("False", "OutOfMemory"), ["Warning"]),
        (("Unknown", "Retrying"), ("True", "Trained"), ["Normal"]),
        (None, ("True", "Valid"), []),
        (None, ("False", "Suspended"), ["Normal"]),
        (None, ("Unknown", "Unschedulable"), ["Normal"]),
    ],
)
def test_an_event_for_every_piece_of_news(old: tuple[str, str] | None, new: tuple[str, str], kinds: list[str]) -> None:
    before = set_at((), "Trained", *old, make.NOW) if old else ()
    after = set_at(before, "Trained", *new, make.at(1))
    assert [e.type for e in events_of(before, after)] == kinds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2026-03-01T12:00:05Z", 5.0), ("2026-03-01T12:00:05.250000Z", 5.25), ("2026-03-01T13:00:05+01:00", 5.0)],
)
def test_times_as_kubernetes_writes_them(text: str, seconds: float) -> None:
    assert moment(text) == make.at(seconds)


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_time_stays_none(nothing: str | None) -> None:
    assert moment(nothing) is None
