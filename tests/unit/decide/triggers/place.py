"""A job in virtual time: its status as the API server would keep it, its runs, and a clock that tests move."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.unit import make

from retune.api import (
    Artifact,
    DriftState,
    DriftStatus,
    FineTuneJobSpec,
    FineTuneJobStatus,
    FineTuneRunStatus,
    RunPhase,
)
from retune.decide.actions import CreateRun, DeleteRun, JobDecision
from retune.decide.facts import Counted, Meta, RunFacts, WatchFacts
from retune.decide.job import decide_job

DAILY = {"schedule": {"cron": "0 3 * * *", "timeZone": "Europe/Berlin"}, "cooldown": "0s"}


def firing(name: str = "mix", **changes: Any) -> DriftStatus:
    """A drift trigger that fires since noon of the first day."""
    told: dict[str, Any] = {"state": DriftState.FIRING, "value": 0.31, "samples": 3200, "breached_since": make.NOW}
    return DriftStatus(name=name, **{**told, **changes})


class Place:
    """One job and who looks at it."""

    def __init__(self, triggers: dict[str, Any], now: datetime = make.NOW, **parts: Any) -> None:
        self.spec: FineTuneJobSpec = make.job_spec(triggers=triggers, **parts)
        self.status = FineTuneJobStatus()
        self.runs: list[RunFacts] = []
        self.now = now
        self.annotations: dict[str, str] = {}
        self.watch = WatchFacts()
        self.behind = timedelta()  # the API server's clock, by which runs are dated
        self.writes = 0
        self.starts: list[datetime] = []  # of all runs, as the API server has dated them

    def look(self) -> JobDecision:
        """One reconcile: the status is written if it changed, and what is to be created is."""
        facts = make.job_facts(self.spec, self.status, tuple(self.runs), now=self.now, annotations=self.annotations)
        decision = decide_job(replace(facts, watch=self.watch))
        told = decision.status.model_dump_json(by_alias=True, exclude_none=True)
        if told != self.status.model_dump_json(by_alias=True, exclude_none=True):
            self.writes += 1
        self.status = FineTuneJobStatus.model_validate_json(told)
        for create in (action for action in decision.actions if isinstance(action, CreateRun)):
            if all(run.meta.name != create.name for run in self.runs):
                uid = f"uid-{create.spec.number}"
                created = (self.now - self.behind).replace(microsecond=0)
                meta = Meta("support", create.name, uid, created=created)
                self.starts.append(created)
                self.runs.append(RunFacts(meta, create.spec, FineTuneRunStatus(), make.POLICY, self.now))
        gone = {action.uid for action in decision.actions if isinstance(action, DeleteRun)}
        self.runs = [run for run in self.runs if run.meta.uid not in gone]
        return decision

    def settle(self) -> JobDecision:
        """Look until nothing changes: a write of the status, and a new run, are seen at once."""
        for _ in range(10):
            before = (self.writes, len(self.runs))
            decision = self.look()
            if (self.writes, len(self.runs)) == before:
                return decision
        raise AssertionError("every look writes the status again")

    def end(self, phase: RunPhase = RunPhase.PROMOTED) -> None:
        """The run in flight ends now."""
        run = self.runs[-1]
        artifact = Artifact(uri=f"s3://models/{run.spec.number}", digest=f"sha256:{run.spec.number}")
        ended = {"phase": phase, "ended_at": self.now.replace(microsecond=0), "artifact": artifact}
        self.runs[-1] = replace(run, status=run.status.model_copy(update=ended))

    def first(self) -> "Place":
        """The first run has been made and promoted; who made the job waits for the second."""
        self.settle()
        self.end()
        self.settle()
        return self

    def fly(self) -> None:
        """Each run ends as soon as it has been seen."""
        for _ in range(5):
            self.settle()
            if self.runs[-1].status.phase is not None:
                return
            self.end()
        raise AssertionError("each run is followed by another")

    def wait(self, **span: float) -> "Place":
        """Time passes, and nobody looks."""
        self.now += timedelta(**span)
        return self

    def sleep_until(self, end: datetime) -> None:
        """Look only when `status.nextRun` says that something starts, until `end`."""
        while True:
            decision, (at, _) = self.settle(), self.waits_for
            if at is None or at > end:
                self.now = end
                self.fly()
                return
            asked = decision.requeue_after
            assert asked is not None
            assert asked == min((at - self.now).total_seconds(), 3600), (
                "the looks in between are for a clock that jumps"
            )
            self.now = at
            self.fly()

    def count(self, train: int, corrections: int = 0) -> None:
        """Somebody has counted the examples."""
        self.watch = replace(self.watch, examples=Counted(train, corrections, self.now))

    def drift(self, *told: DriftStatus) -> None:
        """Somebody has judged drift."""
        self.status = self.status.model_copy(update={"drift": told})

    @property
    def kinds(self) -> list[str]:
        """What started the runs."""
        return [run.spec.trigger.kind.value for run in self.runs]

    @property
    def waits_for(self) -> tuple[datetime | None, str]:
        """`status.nextRun`."""
        coming = self.status.next_run
        assert coming is not None
        return coming.at, coming.reason


def utc(*parts: int) -> datetime:
    """A moment."""
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]
