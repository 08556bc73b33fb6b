"""When the world is looked at, what is believed of the answer, and that a failing pod is not sent again and again."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Condition, FineTuneJobStatus, FineTuneRunStatus, RunPhase, StableModel
from retune.decide.actions import CreateWatch, DeleteChild
from retune.decide.arms import Arm, ArmKind, Arms, Split
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.facts import Child, Counted, Pod, Sent, Stage, WatchFacts
from retune.decide.readings import Serving as Seen
from retune.decide.watch import Examples, Probed, WatchResult, newest_count, newest_probe, read, result
from retune.decide.watching import look

NEW = {"newExamples": {"count": 100, "checkEvery": "1h"}}
DROP = {"drift": [{"name": "quality", "builtin": "QualityDrop", "threshold": 0.05}], "probe": {"every": "2h"}}
SERVING = {"optOutHeader": "x-stable"}
EXAMPLES = {"train": 640, "corrections": 12}
PROBE = {"asked": 50, "answered": 49, "score": 40.5, "right": 40, "metric": "ExactMatch"}
HOUR = 3600.0
UP = Condition(type="Ready", status="True", reason="StableServes", message="", last_transition_time=make.NOW)
STABLE = StableModel(run="triage-1-7d3e", digest=make.ADAPTER, uri="s3://models/1", since=make.NOW)


def message(examples: Any = None, probe: Any = None, error: Any = None) -> dict[str, Any]:
    return {"outcome": "Succeeded", "error": error, "watch": {"examples": examples, "probe": probe}}


def sent(
    said: Any = None, *, count: bool = True, probe: bool = False, at: float = 0, attempt: int = 1, code: int = 0
) -> Sent:
    """A watch pod that was made at `at` and ended with a message a minute later."""
    name = f"triage-watch-{int(make.at(at).timestamp()) // 60}"
    failed = ("PodFailurePolicy", f"failed with exit code {code}") if code else None
    child = Child(name, f"uid-{at}", Stage.WATCH, attempt, complete=not code, failed=failed, created=make.at(at))
    started, finished = make.at(at + 5), make.at(at + 60)
    pod = make.ended(code, said, Stage.WATCH, attempt, started=started, finished=finished, name=f"{name}-x")
    return Sent(child, count, probe, (pod,))


def failing(at: float, attempt: int, **asked: bool) -> Sent:
    error = {
        "reason": "DatasetNotFound",
        "field": "spec.dataset.train.uri",
        "message": "s3://x does not exist; upload it",
    }
    told = {"outcome": "Failed", "error": error}
    return sent(told, at=at, attempt=attempt, code=64, **asked)


def running(at: float = 0, **asked: bool) -> Sent:
    ended = sent(at=at, **asked)
    return replace(ended, child=replace(ended.child, complete=False), pods=())


def draft(
    *pods: Sent,
    triggers: dict[str, Any] | None = None,
    now: float = 0,
    status: FineTuneJobStatus | None = None,
    annotations: dict[str, str] | None = None,
    runs: tuple[Any, ...] = (),
    **changes: Any,
) -> JobDraft:
    spec = make.job_spec(**{"triggers": NEW if triggers is None else triggers, "serving": SERVING, **changes})
    status = status or FineTuneJobStatus(stable=STABLE, conditions=(UP,))
    facts = make.job_facts(spec, status, runs, now=make.at(now), annotations=annotations)
    return JobDraft(replace(facts, watch=WatchFacts(sent=tuple(pods))), status)


def created(made: JobDraft) -> list[tuple[bool, bool, int]]:
    assert look(made) is False, "a watch holds nothing else up"
    return [(a.count, a.probe, a.attempt) for a in made.actions if isinstance(a, CreateWatch)]


def deleted(made: JobDraft) -> set[str]:
    look(made)
    return {a.uid for a in made.actions if isinstance(a, DeleteChild)}


def watched(made: JobDraft) -> Condition | None:
    look(made)
    return find(made.status.conditions, "Watched")


# ------------------------------------------------------------------------------------------------------ when one is due


def test_what_is_not_asked_for_is_not_watched() -> None:
    for triggers in ({}, {"drift": [{"name": "mix", "builtin": "PromptDrift", "threshold": 0.2}]}):
        made = draft(triggers=triggers)
        assert created(made) == []
        assert watched(made) is None


def test_a_job_without_a_place_for_artifacts_is_not_watched() -> None:
    made = draft(artifacts=None)
    assert created(made) == [(True, False, 1)]
    made = draft(artifacts=None)
    made.facts = replace(made.facts, policy=replace(make.POLICY, artifacts_uri=""))
    assert created(made) == []


def test_examples_are_counted_at_once_and_then_every_interval() -> None:
    assert created(draft()) == [(True, False, 1)]
    last = sent(message(EXAMPLES))
    waits = draft(last, now=HOUR - 1)
    assert created(waits) == []
    assert waits.requeue == pytest.approx(1)
    assert created(draft(last, now=HOUR)) == [(True, False, 1)]


def test_the_name_says_the_job_and_the_minute_and_the_sample_changes_with_it() -> None:
    made = draft(now=600)
    look(made)
    minute = int(make.at(600).timestamp()) // 60
    (action,) = (a for a in made.actions if isinstance(a, CreateWatch))
    assert (action.name, action.seed) == (f"triage-watch-{minute}", minute)


def test_only_one_pod_at_a_time_whatever_is_due() -> None:
    assert created(draft(running(), now=5 * HOUR, triggers={**NEW, **DROP})) == []


def test_both_go_into_one_pod_when_both_are_due() -> None:
    assert created(draft(triggers={**NEW, **DROP})) == [(True, True, 1)]
    both = sent(message(EXAMPLES, PROBE), probe=True)
    assert created(draft(both, now=HOUR, triggers={**NEW, **DROP})) == [(True, False, 1)]


def test_a_probe_needs_a_stable_model_that_serves_everywhere() -> None:
    def ready(status: str) -> FineTuneJobStatus:
        return FineTuneJobStatus(stable=STABLE, conditions=(UP.model_copy(update={"status": status}),))

    assert created(draft(triggers=DROP)) == [(False, True, 1)]
    assert created(draft(triggers=DROP, status=ready("False"))) == []
    assert created(draft(triggers=DROP, status=FineTuneJobStatus(conditions=(UP,)))) == []
    assert created(draft(triggers=DROP, serving=None)) == []


def test_no_candidate_is_ever_asked_a_probes_questions() -> None:
    run = make.run_facts(FineTuneRunStatus(phase=RunPhase.CANARY))

    def told(header: str | None) -> JobDraft:
        """Taps follow a document with that header."""
        made, split = draft(triggers=DROP, runs=(run,)), Split(Arm(ArmKind.BASE), opt_out_header=header)
        serving = Seen(arms=Arms("support", "triage", "job-uid", {"triage": split}, 3))
        return JobDraft(replace(made.facts, serving=serving), made.status)

    assert created(told("x-stable")) == [(False, True, 1)]
    assert created(told(None)) == []
    assert created(draft(triggers=DROP, runs=(run,))) == [], "whatever the spec says: taps do not know it yet"
    assert created(draft(triggers=DROP, serving={})) == [(False, True, 1)]


def test_in_mode_deployment_stable_is_asked_between_rollouts_as_nothing_tells_questions_from_users_in_one() -> None:
    separate = {"mode": "Deployment", "httpRoute": {"parentRefs": [{"name": "gate"}]}}
    served: dict[str, Any] = {"triggers": DROP, "serving": separate, "method": {"type": "Full"}}
    assert created(draft(**served)) == [(False, True, 1)]
    run = make.run_facts(FineTuneRunStatus(phase=RunPhase.CANARY))
    assert created(draft(**served, runs=(run,))) == []


def test_a_model_that_cannot_be_served_is_not_asked() -> None:
    assert watched(draft(triggers=DROP, serving={"mode": "Deployment"})) is None


@pytest.mark.parametrize("metric", ["Top3", "Perplexity"])
def test_a_metric_that_no_server_gives_is_not_probed(metric: str) -> None:
    chosen = {"metrics": [{"name": metric}], "acceptance": {"metric": metric}}
    assert created(draft(triggers=DROP, evaluation=chosen)) == []


@pytest.mark.parametrize("how", ["retune.dev/pause", "retune.dev/halt"])
def test_nothing_is_sent_while_a_person_has_stopped_the_job(how: str) -> None:
    assert created(draft(annotations={how: "because"})) == []
    assert created(draft(suspend=True)) == []


def test_a_job_that_was_dated_by_a_wrong_clock_does_not_stop_the_watch() -> None:
    assert created(draft(sent(message(EXAMPLES), at=30 * HOUR))) == [(True, False, 1)]


# ---------------------------------------------------------------------------------------------------- failing and after


def test_a_failing_pod_is_sent_again_ever_more_rarely_and_at_least_hourly() -> None:
    waits = []
    for attempt in range(1, 12):
        made = draft(failing(0, attempt), now=1)
        assert created(made) == []
        waits.append((made.requeue or 0) + 1)
        assert created(draft(failing(0, attempt), now=waits[-1])) == [(True, False, attempt + 1)]
    assert waits[:4] == [60, 120, 240, 480]
    assert waits == sorted(waits)
    assert waits[-1] == HOUR


def test_the_condition_says_what_failed_why_and_what_to_do() -> None:
    said = watched(draft(failing(0, 3), now=1))
    assert said is not None
    assert (said.status, said.reason) == ("False", "DatasetNotFound")
    assert said.message == (
        "Examples cannot be counted: spec.dataset.train.uri: s3://x does not exist; upload it. "
        "3 tries in a row have failed. The next is made 0:04:00 after the last."
    )


def test_once_it_works_again_the_count_of_failures_starts_anew() -> None:
    well = sent(message(EXAMPLES), at=1000, attempt=4)
    made = draft(failing(0, 3), well, now=1000 + HOUR)
    assert created(made) == [(True, False, 1)]
    said = watched(draft(failing(0, 3), well, now=1100))
    assert said is not None
    assert (said.status, said.message) == ("True", "Examples are counted.")


def test_of_two_things_the_one_that_failed_is_tried_again_alone() -> None:
    half = sent(message(EXAMPLES, None, {"reason": "StoreUnreachable", "field": None, "message": "busy"}), probe=True)
    made = draft(half, now=120, triggers={**NEW, **DROP})
    assert created(made) == [(False, True, 2)]
    said = watched(made)
    assert said is not None
    assert said.message.startswith("The serving model cannot be asked: busy.")


def test_what_was_read_and_superseded_is_deleted_and_the_newest_of_each_purpose_stays() -> None:
    old, counted, probed = sent(message(EXAMPLES), at=0), sent(message(EXAMPLES), at=100), None
    probed = sent(message(None, PROBE), count=False, probe=True, at=50)
    assert deleted(draft(old, counted, probed, now=200, triggers={**NEW, **DROP})) == {"uid-0"}
    assert deleted(draft(old, running(at=100), now=200)) == set()
    gone = replace(old, child=replace(old.child, deleting=True))
    assert deleted(draft(gone, counted, now=200)) == set()


def test_when_nothing_is_watched_any_more_nothing_is_left() -> None:
    status = FineTuneJobStatus(stable=STABLE, conditions=(UP, UP.model_copy(update={"type": "Watched"})))
    made = draft(sent(message(EXAMPLES)), triggers={}, status=status)
    assert deleted(made) == {"uid-0"}
    assert find(made.status.conditions, "Watched") is None


def test_a_result_whose_pod_is_gone_is_no_failure() -> None:
    last = replace(sent(message(EXAMPLES)), pods=())
    assert created(draft(last, now=HOUR - 1)) == []
    said = watched(draft(last, now=100))
    assert said is not None
    assert said.status == "True"


def test_a_pod_that_does_not_start_is_told_before_it_is_given_up() -> None:
    pod = Pod("p", "u", Stage.WATCH, 1, "Pending", created=make.NOW, waiting=("ErrImagePull", "not found"))
    waits = replace(running(), pods=(pod,))
    early, late = watched(draft(waits, now=30)), watched(draft(waits, now=90))
    assert early is not None
    assert late is not None
    assert early.status == "Unknown"
    assert (late.status, late.reason) == ("False", "ErrImagePull")
    assert "spec.training.image" in late.message


def test_while_all_is_well_the_status_is_not_written_again() -> None:
    triggers = {**NEW, **DROP}
    first = draft(sent(message(EXAMPLES, PROBE), probe=True), now=100, triggers=triggers)
    look(first)
    again = sent(message({**EXAMPLES, "train": 700}, PROBE), probe=True, at=2 * HOUR)
    later = draft(again, now=2 * HOUR + 100, triggers=triggers, status=first.status)
    look(later)
    assert later.status == first.status


# ------------------------------------------------------------------------------------------------- what a pod has said


def test_results_become_facts_the_newest_of_each() -> None:
    pods = (
        sent(message(EXAMPLES), at=0),
        sent(message({"train": 700, "corrections": 12}), at=HOUR),
        sent(message(None, PROBE), count=False, probe=True, at=1800),
        failing(2 * HOUR, 1),
        running(3 * HOUR, probe=True),
    )
    assert newest_count(pods) == Counted(700, 12, make.at(HOUR + 5))
    probe = newest_probe(pods)
    assert probe is not None
    assert (probe.asked, probe.answered, probe.score) == (50, 49, 40.5)
    assert probe.at == make.at(1805).timestamp()  # what was asked before a promotion says nothing of the new model
    assert probe.name == pods[2].child.name
    assert newest_count(pods[2:]) is None


def test_the_contracts_message_is_read() -> None:
    assert read(message(EXAMPLES, PROBE)) == WatchResult(Examples(640, 12), Probed(50, 49, 40.5, 40, "ExactMatch"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changed",
    [
        {"asked": 0, "answered": 1},
        {"asked": 10_001},
        {"answered": 51},
        {"answered": True},
        {"answered": 49.0},
        {"score": 50.1},
        {"score": -0.1},
        {"score": None},
        {"score": True},
        {"score": "40"},
        {"score": float("nan")},
        {"score": float("inf")},
        {"right": 50},
        {"metric": "Mine"},
        {"metric": ["ExactMatch"]},
        {"metric": None},
    ],
)
def test_a_probe_that_cannot_be_is_not_believed(changed: dict[str, Any]) -> None:
    assert read(message(None, {**PROBE, **changed})).probe is None


@pytest.mark.parametrize(
    "changed", [{"train": -1}, {"train": 10**13}, {"train": "640"}, {"corrections": None}, {"train": 1.5}]
)
def test_a_count_that_cannot_be_is_not_believed(changed: dict[str, Any]) -> None:
    assert read(message({**EXAMPLES, **changed})).examples is None


def test_a_pod_that_says_nonsense_is_told_as_such() -> None:
    said = result(sent({"hello": "world"}))
    assert said is not None
    assert said.error is not None
    assert said.error.reason == "ResultUnreadable"


def test_a_killed_pod_is_told_with_a_cure() -> None:
    killed = sent(code=137)
    end = replace(killed.pods[0].termination, reason="OOMKilled")  # type: ignore[type-var]
    said = result(replace(killed, pods=(replace(killed.pods[0], termination=end),)))
    assert said is not None
    assert said.error is not None
    assert said.error.reason == "OutOfMemory"
    assert ".count" in said.error.message


def test_a_pod_that_took_too_long_is_told_by_its_job() -> None:
    late = sent(code=137)
    child = replace(late.child, failed=("DeadlineExceeded", "Job was active longer than specified deadline"))
    said = result(Sent(child, count=True, probe=False))
    assert said is not None
    assert said.error is not None
    assert said.error.reason == "Timeout"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
KEYS = ["watch", "error", "examples", "probe", "train", "corrections", "asked", "answered", "score", "right", "metric"]


@given(st.dictionaries(st.sampled_from(KEYS), JSON | st.dictionaries(st.sampled_from(KEYS), JSON), max_size=4))
def test_whatever_a_foreign_image_says_the_operator_goes_on(told: dict[str, Any]) -> None:
    for said in (told, message(told, told, told)):
        made = draft(sent(said, probe=True), now=10, triggers={**NEW, **DROP})
        look(made)
        FineTuneJobStatus.model_validate_json(made.status.model_dump_json(by_alias=True, exclude_none=True))
        count, probe = newest_count(made.facts.watch.sent), newest_probe(made.facts.watch.sent)
        assert count is None or min(count.train, count.corrections) >= 0
        assert probe is None or 0 <= probe.score <= probe.answered <= probe.asked


def test_a_day_of_watching_is_as_many_pods_as_were_asked_for() -> None:
    """Every minute somebody looks; a pod takes a minute. In the end there are two Jobs, not forty-eight."""
    pods: list[Sent] = []
    made, start = 0, make.NOW
    for minute in range(24 * 60):
        now: datetime = start + timedelta(minutes=minute)
        seconds = (now - start).total_seconds()
        pods = [
            replace(p, child=replace(p.child, complete=True))
            if not p.child.over and p.child.created and now - p.child.created >= timedelta(minutes=1)
            else p
            for p in pods
        ]
        step = draft(*pods, now=seconds, triggers={**NEW, **DROP})
        look(step)
        gone = {a.uid for a in step.actions if isinstance(a, DeleteChild)}
        pods = [p for p in pods if p.child.uid not in gone]
        for action in step.actions:
            if isinstance(action, CreateWatch):
                made += 1
                said = message(EXAMPLES if action.count else None, PROBE if action.probe else None)
                ended = sent(said, count=action.count, probe=action.probe, at=seconds, attempt=action.attempt)
                pods.append(replace(ended, child=replace(ended.child, complete=False)))
    assert made == 24
    assert len(pods) <= 2
