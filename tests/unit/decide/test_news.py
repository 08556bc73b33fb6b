"""Who is told of what: once for a channel and an occurrence, whatever restarts; never old news; nothing is lost."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit import make

from retune.api import (
    Attempt,
    AttemptStage,
    Condition,
    Cost,
    DriftState,
    DriftStatus,
    Evidence,
    FineTuneJobStatus,
    FineTuneRunStatus,
    NotificationEvent,
    RolloutStatus,
    RunPhase,
    Scores,
    Trigger,
    TriggerKind,
)
from retune.decide.actions import JobDecision, Tell
from retune.decide.conditions import find
from retune.decide.facts import JobFacts, RunFacts
from retune.decide.job import decide_job
from retune.decide.naming import HALT_ANNOTATION
from retune.decide.news import words
from retune.decide.news.told import MOST, Delivery, Telling, bounded, closed

UID = "job-uid"


class Job:
    """A job as the operator sees it, reconcile after reconcile; its status is what the API server has kept."""

    def __init__(self, *notifications: dict[str, Any], channels: tuple[str, ...] = ("ops", "team"), **spec: Any):
        self.notifications = list(notifications)
        self.channels = set(channels)
        self.spec = spec
        self.status = FineTuneJobStatus()
        self.runs: list[RunFacts] = []
        self.annotations: dict[str, str] = {}
        self.now = make.NOW
        self.delivered: list[Delivery] = []
        self.drift: tuple[DriftStatus, ...] | None = None
        self.decision = JobDecision(self.status)

    def facts(self) -> JobFacts:
        runs = tuple(replace(run, now=self.now) for run in self.runs)
        spec = make.job_spec(**self.spec, notifications=self.notifications)
        facts = make.job_facts(spec, self.status, runs, now=self.now, annotations=self.annotations)
        telling = Telling(frozenset(self.channels), tuple(self.delivered))
        if self.drift is not None:
            facts = replace(facts, status=facts.status.model_copy(update={"drift": self.drift}))
        return replace(facts, telling=telling)

    def look(self, seconds: float = 1.0) -> list[Tell]:
        """One reconcile; what it asks to be told."""
        self.now += timedelta(seconds=seconds)
        self.decision = decide_job(self.facts())
        kept = self.decision.status.model_dump(mode="json", by_alias=True, exclude_none=True)
        self.status = FineTuneJobStatus.model_validate(json.loads(json.dumps(kept)))
        self.delivered = []
        return [action for action in self.decision.actions if isinstance(action, Tell)]

    def tell(self, seconds: float = 1.0) -> list[tuple[str, str]]:
        """Reconcile until nothing is asked any more, with channels that take everything: (channel, event)."""
        heard = []
        for _ in range(10):
            asked = self.look(seconds)
            if not asked:
                return heard
            for action in asked:
                for channel in action.channels:
                    heard.append((channel, action.told.event.value))
                    self.delivered.append(Delivery(action.told.key, channel, action.told.event))
        raise AssertionError("it is told again and again")

    def run(self, phase: RunPhase, number: int = 1, **status: Any) -> RunFacts:
        """The job's newest run, or what has become of it."""
        if phase.is_terminal:
            status = {"ended_at": self.now.replace(microsecond=0), "report_uri": "s3://models/report.html"} | status
        spec = make.run_spec(number, make.job_spec(**self.spec), status.pop("trigger", None))
        run = make.run_facts(FineTuneRunStatus(phase=phase, **status), spec=spec)
        self.runs = [*(r for r in self.runs if r.spec.number != number), run]
        return run


def asking(channel: str, *events: str) -> dict[str, Any]:
    return {"channel": channel, "on": list(events)}


def text_of(job: Job) -> str:
    (asked,) = job.look()
    return f"{asked.told.title}\n{asked.told.text}\n{asked.told.link}"


ENDS = [phase for phase in RunPhase if phase.is_terminal]


@pytest.mark.parametrize("phase", ENDS)
def test_an_end_is_told_once_to_those_who_asked_for_it(phase: RunPhase) -> None:
    job = Job(asking("ops", phase.value), asking("team", "Halted"))
    job.look()
    job.run(RunPhase.TRAINING)
    assert job.tell() == []
    job.run(phase)
    assert job.tell() == [("ops", phase.value)]
    assert job.tell() == []


def test_every_end_of_a_run_is_an_event_that_can_be_asked_for() -> None:
    assert {phase.value for phase in ENDS} <= {event.value for event in NotificationEvent}


def test_the_docs_name_every_event() -> None:
    docs = Path(__file__).resolve().parents[3] / "docs/notifications.md"
    table = "".join(line for line in docs.read_text().splitlines() if line.startswith("| `"))
    assert [event for event in NotificationEvent if f"`{event.value}`" not in table] == []


def test_a_restart_before_a_message_went_out_asks_for_it_again_and_after_it_does_not() -> None:
    job = Job(asking("ops", "RolledBack"), asking("team", "RolledBack"))
    job.look()
    job.run(RunPhase.ROLLED_BACK)
    (first,) = job.look()
    assert first.channels == ("ops", "team")
    job.delivered = [Delivery(first.told.key, "ops", first.told.event)]
    (again,) = job.look()  # team is still tried; the operator restarts, and knows the status alone
    assert (again.told.key, again.channels) == (first.told.key, ("team",))
    job.delivered = [Delivery(first.told.key, "team", first.told.event)]
    assert job.look() == []
    assert job.status.told.count(first.told.key) == 1
    assert not any(entry.startswith(f"{first.told.key}/") for entry in job.status.told)


def test_a_job_from_before_the_upgrade_sends_no_old_news() -> None:
    job = Job(asking("ops", *(event.value for event in NotificationEvent)))
    for number in range(1, 6):
        job.run(RunPhase.FAILED, number)
        job.now += timedelta(hours=1)
    job.annotations = {HALT_ANNOTATION: "by somebody"}
    assert job.tell() == []
    job.annotations = {}
    assert job.tell() == []
    job.run(RunPhase.PROMOTED, 6)
    assert job.tell() == [("ops", "Promoted")]


def test_somebody_who_is_waited_for_is_told_even_if_it_was_so_before_the_upgrade() -> None:
    job = Job(asking("ops", "AwaitingApproval"))
    job.run(RunPhase.AWAITING_APPROVAL)
    assert job.tell() == [("ops", "AwaitingApproval")]


def test_a_channel_that_is_added_later_hears_only_of_what_comes_then() -> None:
    job = Job(asking("ops", "Failed"))
    job.look()
    job.run(RunPhase.PROMOTED, 1)
    assert job.tell() == []
    job.run(RunPhase.FAILED, 2)
    assert job.tell() == [("ops", "Failed")]
    job.notifications = [asking("ops", "Failed", "Promoted"), asking("team", "Failed", "Promoted")]
    assert job.tell() == []
    job.run(RunPhase.PROMOTED, 3)
    assert job.tell() == [("ops", "Promoted"), ("team", "Promoted")]


def test_a_job_that_asks_for_nothing_keeps_nothing() -> None:
    job = Job(asking("ops", "Failed"))
    job.look()
    assert job.status.told
    job.notifications = []
    job.look()
    assert job.status.told == ()
    assert find(job.status.conditions, "ChannelsKnown") is None


def test_an_unknown_channel_is_named_with_its_field_and_its_news_waits_for_it() -> None:
    job = Job(asking("ops", "Promoted"), asking("tema", "Promoted"))
    job.look()
    said = find(job.status.conditions, "ChannelsKnown")
    assert said is not None
    assert said.status == "False"
    assert 'spec.notifications[1].channel is "tema"' in said.message
    assert "docs/notifications.md" in said.message
    assert "team" not in said.message, "which channels there are is for the administrator to say"
    job.run(RunPhase.PROMOTED)
    assert job.tell() == [("ops", "Promoted")]
    job.channels.add("tema")
    assert job.tell() == [("tema", "Promoted")]
    said = find(job.status.conditions, "ChannelsKnown")
    assert said is not None
    assert said.status == "True"


def test_a_channel_that_was_given_up_is_said_once_in_an_event_and_not_tried_again() -> None:
    job = Job(asking("ops", "Failed"))
    job.look()
    job.run(RunPhase.FAILED)
    (asked,) = job.look()
    job.delivered = [Delivery(asked.told.key, "ops", asked.told.event, "a receiver did not answer, in 5 tries")]
    assert job.look() == []
    (event,) = (e for e in job.decision.events if e.reason == "NotTold")
    assert event.type == "Warning"
    assert "Channel ops was not told of Failed" in event.message
    assert "5 tries" in event.message
    job.look()
    assert not [e for e in job.decision.events if e.reason == "NotTold"]


def test_a_halt_by_a_person_is_news_each_time() -> None:
    job = Job(asking("ops", "Halted"))
    job.run(RunPhase.FAILED)
    job.look()
    for _ in range(2):
        job.annotations = {HALT_ANNOTATION: "by somebody"}
        assert job.tell() == [("ops", "Halted")]
        job.annotations = {}
        assert job.tell() == []


def test_a_halt_for_want_of_money_is_news_once() -> None:
    job = Job(asking("ops", "Halted"), budget={"total": 1, "gpuHourPrice": "3.20"})
    job.look()
    assert job.status.phase == "Halted"
    assert job.status.told[1].endswith("/Halted/0.BudgetExhausted"), "it held before anybody could be told"
    job = Job(asking("ops", "Halted"), budget={"total": 100, "gpuHourPrice": "3.20", "perRun": 5})
    job.look()
    job.spec = {"budget": {"total": 1, "gpuHourPrice": "3.20"}}
    assert job.tell(61) == [("ops", "Halted")]
    assert job.tell(61) == []


def fires(since: datetime, **changes: Any) -> tuple[DriftStatus, ...]:
    given: dict[str, Any] = {"name": "prompts", "state": DriftState.FIRING, "value": 0.34, "threshold": 0.2}
    return (DriftStatus(**{**given, "samples": 812, "breached_since": since, **changes}),)


DRIFT = {"triggers": {"drift": [{"name": "prompts", "builtin": "PromptDrift", "threshold": 0.2}], "cooldown": "90d"}}


def test_drift_is_told_with_its_numbers_and_not_again_while_it_flickers() -> None:
    job = Job(asking("ops", "DriftDetected"), **DRIFT)
    job.run(RunPhase.PROMOTED)
    job.look()
    job.drift = fires(job.now)
    (asked,) = job.look()
    for part in ("0.34", "threshold 0.2", "812 samples"):
        assert part in asked.told.text
    assert job.tell() == [("ops", "DriftDetected")]
    for _ in range(5):
        job.drift = fires(job.now, state=DriftState.OK, breached_since=None)
        assert job.tell(120) == []
        job.drift = fires(job.now)
        assert job.tell(120) == []
    job.drift = fires(job.now, state=DriftState.OK, breached_since=None)
    assert job.tell() == []
    job.now += timedelta(hours=2)
    job.drift = fires(job.now)
    assert job.tell() == [("ops", "DriftDetected")]


def test_an_end_waits_a_minute_for_its_report_but_an_alarm_does_not() -> None:
    job = Job(asking("ops", "Promoted", "RolledBack"))
    job.look()
    job.run(RunPhase.PROMOTED, report_uri=None)
    assert job.look() == []
    assert job.decision.requeue_after is not None
    assert job.decision.requeue_after <= 60
    run = job.runs[0]
    job.runs = [replace(run, status=run.status.model_copy(update={"report_uri": "s3://models/report.html"}))]
    (asked,) = job.look()
    assert "s3://models/report.html" in asked.told.link
    job.run(RunPhase.PROMOTED, 2, report_uri=None)
    assert [a.told.key for a in job.look()] == [asked.told.key]
    assert len(job.look(60)) == 2, "the report does not come"
    job.run(RunPhase.ROLLED_BACK, 3, report_uri=None)
    newest = max(job.look(), key=lambda a: a.told.key)
    assert newest.told.event is NotificationEvent.ROLLED_BACK
    assert "kubectl retune describe" in newest.told.link


def test_an_end_is_told_with_what_happened_and_its_numbers() -> None:
    job = Job(asking("ops", "RolledBack"))
    job.look()
    job.run(
        RunPhase.ROLLED_BACK,
        trigger=Trigger(kind=TriggerKind.DRIFT, name="prompts"),
        scores=Scores(metric="ExactMatch", base=0.1, candidate=0.8, uplift=0.7, interval=(0.65, 0.75), n=240),
        cost=Cost(amount="3.20", currency="EUR"),
        rollout=RolloutStatus(
            held_because="StopLoss",
            message="errors: 31 of 200, evidence of harm 140 of 100",
            evidence=(Evidence(name="errors", bad=31, total=200, stable_bad=10, stable_total=1800, state="Breached"),),
        ),
        attempts=(Attempt(stage=AttemptStage.TRAIN, number=1, started_at=make.NOW),),
    )
    told = text_of(job)
    for part in (
        "support/triage",
        "run 1 rolled back",
        "Drift prompts",
        "StopLoss: errors: 31 of 200",
        "Uplift +0.7 (+0.65 to +0.75) in ExactMatch, 240 gold examples",
        "errors 31 of 200 (stable 10 of 1800)",
        "Cost 3.20 EUR",
        "kubectl retune describe",
    ):
        assert part in told


HOSTILE = [
    "@everyone look",
    "@here",
    "hey <!channel> and <@U123>",
    "[sign here](https://evil.example/)",
    "`code`",
    "a\r\nSubject: other",
    "\u202egnol\u202c",
    "zero\u200bwidth\x00\x1b[31m",
]


@pytest.mark.parametrize("hostile", HOSTILE)
def test_what_a_pod_says_mentions_nobody_and_stays_one_line(hostile: str) -> None:
    job = Job(asking("ops", "Failed"))
    job.look()
    failed = Condition(type="Trained", status="False", reason="Crashed", message=hostile, last_transition_time=make.NOW)
    job.run(RunPhase.FAILED, conditions=(failed,))
    told = text_of(job)
    lines = told.splitlines()
    assert len(lines) == 4, "title, how it ended, why, link"
    for sign in ("<", ">", "[", "`", "\x1b", "\u202e", "\x00"):
        assert sign not in told
    assert all(told[at + 1] == "\u200b" for at, c in enumerate(told) if c == "@"), "no name follows an @"


def test_a_message_is_bounded_whatever_it_is_about() -> None:
    job = Job(asking("ops", "Failed"))
    job.look()
    failed = Condition(
        type="Trained", status="False", reason="Crashed", message="x" * 4096, last_transition_time=make.NOW
    )
    job.run(RunPhase.FAILED, conditions=(failed,))
    (asked,) = job.look()
    assert len(asked.told.title) <= words.TITLE
    assert len(asked.told.text) <= words.TEXT
    assert words.plain(asked.told.text.splitlines()[1]) == asked.told.text.splitlines()[1], "plain text stays as it is"


def test_a_spec_that_cannot_be_read_tells_nobody_and_forgets_nothing() -> None:
    job = Job(asking("ops", "Failed"))
    job.look()
    job.run(RunPhase.FAILED)
    job.tell()
    facts = replace(job.facts(), spec=None, invalid="spec.x: y")
    assert decide_job(facts).status.told == job.status.told


def test_the_list_never_outgrows_the_status_and_keeps_what_could_be_told_again() -> None:
    current = frozenset(f"run-{n}/Promoted/{n}" for n in range(6))
    entries: tuple[str, ...] = (f"{UID}/Since/1",)
    for n in range(100):
        entries = closed(entries, f"old-{n}/Failed/{n}")
    entries += tuple(current) + tuple(f"run-9/Promoted/9/c{n}" for n in range(30))
    kept = bounded(entries, current | {"run-9/Promoted/9"})
    assert len(kept) == MOST
    assert kept[0] == f"{UID}/Since/1"
    assert current <= set(kept)
    assert sum(entry.startswith("run-9/") for entry in kept) == 30
    assert len(bounded(tuple(f"r/Failed/{n}/c" for n in range(200)), frozenset({"r/Failed/1"}))) == MOST


def test_a_long_life_with_sixteen_channels_fits_and_nobody_hears_twice() -> None:
    names = tuple(f"c{n}" for n in range(16))
    job = Job(*(asking(name, "Failed", "Promoted") for name in names), channels=names)
    job.look()
    for number in range(1, 40):
        job.run(RunPhase.PROMOTED if number % 2 else RunPhase.FAILED, number)
        job.runs = job.runs[-5:]
        assert len(job.tell()) == 16
        assert len(job.status.told) <= MOST


def test_a_clock_that_was_ahead_silences_nothing_for_good() -> None:
    job = Job(asking("ops", "Failed"))
    job.now += timedelta(days=400)
    job.look()
    job.now -= timedelta(days=400)
    job.look()
    job.run(RunPhase.FAILED)
    assert job.tell() == [("ops", "Failed")]
