"""Builders of facts for the unit tests: each gives something plausible, and takes what the test is about."""

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from retune.api import (
    Attempt,
    AttemptStage,
    FineTuneJobSpec,
    FineTuneJobStatus,
    FineTuneRunSpec,
    FineTuneRunStatus,
    Trigger,
    TriggerKind,
)
from retune.decide.facts import Child, JobFacts, Meta, Pod, Policy, RunFacts, Stage, Termination
from retune.decide.naming import child_name, run_name
from retune.decide.snapshot import snapshot

T = TypeVar("T")
Raw = dict[str, Any]
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
ADAPTER = "sha256:" + "c" * 64
POLICY = Policy(
    trainer_image="registry.example/trainer:1",
    operator_version="0.1.0",
    artifacts_uri="s3://default/retune",
    currency="EUR",
    gpu_hour_price="2.50",
    cpu_hour_price="0.04",
)
RESOLVED: Raw = {
    "baseModel": {"uri": "s3://models/tiny", "digest": DIGEST},
    "train": {"digest": DIGEST, "examples": 640, "format": "PromptCompletion"},
    "gold": {"digest": "sha256:" + "b" * 64, "examples": 240, "format": "PromptCompletion"},
}
MEASURED: Raw = {
    "data": {"examples": 640, "duplicateFraction": 0.01, "conflicts": 2, "conflictFraction": 0.003, "empty": 0},
    "leakage": {"gold": 240, "exact": 0, "near": 1, "nearFraction": 0.004},
    "privacy": {"rows": 0, "redacted": 0},
}
CHECKED: Raw = {
    "outcome": "Succeeded",
    "error": None,
    "resolved": RESOLVED,
    "measured": MEASURED,
    "versions": {"trainer": "0.1.0"},
}


def at(seconds: float) -> datetime:
    """`seconds` after NOW."""
    return NOW + timedelta(seconds=seconds)


def comparison(candidate: float | None = 0.8, reference: float | None = 0.1, **changes: Any) -> Raw:
    """The candidate against the base on the gold set, its uplift known to 0.05 either way."""
    uplift = round(candidate - reference, 6) if candidate is not None and reference is not None else None
    bounds = {"lower": round(uplift - 0.05, 6), "upper": round(uplift + 0.05, 6)} if uplift is not None else {}
    base: Raw = {"set": "Gold", "against": "Base", "metric": "ExactMatch", "n": 240, "smallest": 0.06}
    return {**base, "reference": reference, "candidate": candidate, "uplift": uplift, **bounds, **changes}


def trained(candidate: float | None = 0.8, base: float | None = 0.1, *others: Raw) -> Raw:
    """The termination message of a training pod that succeeded; `others` are further comparisons."""
    gold = comparison(candidate, base)
    return {
        "outcome": "Succeeded",
        "error": None,
        "steps": 40,
        "resumedFrom": None,
        "tokensPerSecond": 140.0,
        "scores": {
            "metric": "ExactMatch",
            "base": base,
            "candidate": candidate,
            "uplift": gold["uplift"],
            "interval": [gold["lower"], gold["upper"]] if "lower" in gold else None,
            "n": 240,
        },
        "comparisons": [gold, *others],
        "metrics": {"ExactMatch": {"base": base, "candidate": candidate}},
        "segments": [{"name": "en", "n": 120, "base": base, "candidate": candidate, "p": 0.9}],
        "segmentsTested": 1,
        "artifact": {"uri": "s3://models/retune/support/triage/run/adapter/cccccccccccc", "digest": ADAPTER},
        "versions": {"torch": "2.9.0"},
    }


REPORTED: Raw = {
    "outcome": "Succeeded",
    "error": None,
    "reportUri": "s3://models/retune/support/triage/run/report.html",
}


def failed(reason: str, field: str, message: str) -> Raw:
    """The termination message of a pod that found something wrong."""
    return {"outcome": "Failed", "error": {"reason": reason, "field": field, "message": message}}


def written(**changes: Any) -> Raw:
    """A small valid FineTuneJob.spec as a user writes it; `changes` replace its parts, None removes one."""
    base: Raw = {
        "baseModel": {"uri": "s3://models/tiny"},
        "dataset": {"train": {"uri": "s3://data/train.jsonl"}, "gold": {"uri": "s3://data/gold.jsonl"}},
        "training": {"gpusPerNode": 1, "epochs": 1, "maxRetries": 2, "resources": {"requests": {"cpu": "500m"}}},
        "evaluation": {"metrics": [{"name": "ExactMatch"}], "acceptance": {"metric": "ExactMatch", "minUplift": 0.02}},
        "artifacts": {"uri": "s3://models/retune", "secretRef": {"name": "store"}},
    }
    return {key: value for key, value in {**base, **changes}.items() if value is not None}


def job_spec(**changes: Any) -> FineTuneJobSpec:
    """The same, read."""
    return FineTuneJobSpec.model_validate(written(**changes))


def training(**changes: Any) -> Raw:
    """`training` of `written`, with changes."""
    return {**written()["training"], **changes}


def job_facts(
    spec: FineTuneJobSpec | None = None,
    status: FineTuneJobStatus | None = None,
    runs: tuple[RunFacts, ...] = (),
    *,
    now: datetime = NOW,
    annotations: dict[str, str] | None = None,
    policy: Policy = POLICY,
    invalid: str = "",
    deleting: bool = False,
) -> JobFacts:
    """A job named support/triage."""
    meta = Meta("support", "triage", "job-uid", generation=3, annotations=annotations or {}, deleting=deleting)
    spec = spec or (None if invalid else job_spec())
    return JobFacts(meta, spec, status or FineTuneJobStatus(), runs, policy, now, invalid)


def run_spec(
    number: int = 1, spec: FineTuneJobSpec | None = None, trigger: Trigger | None = None, policy: Policy = POLICY
) -> FineTuneRunSpec:
    """What the job's run `number` is made of."""
    spec = spec or job_spec()
    return snapshot(job_facts(spec, policy=policy), spec, trigger or Trigger(kind=TriggerKind.CREATED), number)


def run_facts(
    status: FineTuneRunStatus | None = None,
    *,
    spec: FineTuneRunSpec | None = None,
    now: datetime = NOW,
    policy: Policy = POLICY,
    **changes: Any,
) -> RunFacts:
    """A run of that job."""
    spec = spec or run_spec()
    meta = Meta("support", run_name("triage", "job-uid", spec.number), f"run-uid-{spec.number}", resource_version="7")
    return replace(RunFacts(meta, spec, status or FineTuneRunStatus(), policy, now), **changes)


def read_status(told: Raw) -> FineTuneRunStatus:
    """A status as it is written in YAML."""
    return FineTuneRunStatus.model_validate(told)


RUN = run_name("triage", "job-uid", 1)


def child(stage: Stage = Stage.TRAIN, attempt: int = 1, **changes: Any) -> Child:
    """The Job of one attempt."""
    name = child_name(RUN, stage, attempt)
    return replace(Child(name, f"uid-{name}", stage, attempt, created=NOW), **changes)


def failed_child(code: int, stage: Stage = Stage.TRAIN, attempt: int = 1, pod: str = "pod") -> Child:
    """A Job that its controller has declared failed because of a pod's exit code, in the controller's words."""
    message = f"Container trainer for pod support/{pod} failed with exit code {code} matching FailJob rule at index 1"
    return child(stage, attempt, failed=("PodFailurePolicy", message))


def pod(stage: Stage = Stage.TRAIN, attempt: int = 1, **changes: Any) -> Pod:
    """A pod that has been created and not started yet."""
    name = f"{child_name(RUN, stage, attempt)}-abcde"
    return replace(Pod(name, f"uid-{name}", stage, attempt, "Pending", created=NOW), **changes)


def running(stage: Stage = Stage.TRAIN, attempt: int = 1, since: datetime = NOW, **changes: Any) -> Pod:
    """A pod that runs."""
    return pod(stage, attempt, phase="Running", running_since=since, ip="10.0.0.9", **changes)


def ended(
    code: int,
    message: Any = None,
    stage: Stage = Stage.TRAIN,
    attempt: int = 1,
    *,
    reason: str = "",
    started: datetime | None = NOW,
    finished: datetime | None = None,
    **changes: Any,
) -> Pod:
    """A pod whose container has ended."""
    reason = reason or ("Completed" if code == 0 else "Error")
    end = Termination(code, reason, message or {}, started, finished or at(100))
    return pod(stage, attempt, phase="Succeeded" if code == 0 else "Failed", termination=end, **changes)


def attempt(number: int = 1, stage: AttemptStage = AttemptStage.TRAIN, **changes: Any) -> Attempt:
    """An entry of `status.attempts`."""
    return Attempt(stage=stage, number=number, **changes)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to the next timer as soon as nothing is ready. Nothing in it takes time."""

    def __init__(self) -> None:
        self._jumped = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self._jumped

    def jump(self, seconds: float) -> None:
        self._jumped += seconds


class _Jump(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise AssertionError("every task waits for something that no timer will bring")
            self._loop.jump(max(timeout, 0.0))
        return ready


def virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
