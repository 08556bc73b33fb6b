"""A rollout's small cluster: pods with taps that obey the arms document, users, and an operator that can crash.

Time is a number that only the test moves. A tap here does with a document what design/0012 says it does.
"""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from tests.unit import make
from tests.unit.decide.world import stored

from retune.api import FineTuneJobStatus, FineTuneRunStatus, PinnedBaseModel, RunPhase, StableModel
from retune.decide.actions import CreateChild, PushArms, RunDecision, WriteArms, WriteMemory
from retune.decide.arms import Arms, Split, read_arms
from retune.decide.facts import Meta, RunFacts
from retune.decide.readings import (
    BUCKETS,
    ArmState,
    QueryReading,
    Series,
    Serving,
    ServingPod,
    ShadowCount,
    TapReading,
)
from retune.decide.run import decide_run
from retune.observe.taps import OVERLAP

MODEL = "triage"
OLD = "sha256:" + "d" * 64
STABLE = StableModel(
    run="triage-0-abcd",
    digest=OLD,
    uri="s3://models/retune/support/triage/0/adapter/dddddddddddd",
    since=make.at(-86_400),
)


@dataclass
class Counter:
    """Bad and total by bucket; whole numbers, spread evenly."""

    bad: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    total: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    at: int = 0

    def add(self, bad: int, total: int) -> None:
        for k in range(total):
            bucket = self.at % BUCKETS
            self.at += 1
            self.total[bucket] += 1
            self.bad[bucket] += (k + 1) * bad // total - k * bad // total


@dataclass
class Tap:
    """One pod. `loads`: what becomes of a candidate here: Ready, Failed or Loading."""

    name: str
    started: float
    document: Arms | None = None
    silent: bool = False
    ready: bool = True
    loads: str = "Ready"
    obeys: bool = True
    p95: dict[str, float] = field(default_factory=dict)
    timed: dict[str, int] = field(default_factory=dict)
    counters: dict[tuple[str, str, str], Counter] = field(default_factory=dict)
    routed: dict[str, tuple[int, int]] = field(default_factory=dict)
    windows: dict[str, list[tuple[float, int, int]]] = field(default_factory=dict)
    shadow: ShadowCount = field(default_factory=ShadowCount)
    spent: int = 0
    salt: str = ""
    before: int = 0

    def crash(self, now: float) -> None:
        """Its container starts again: it follows the same document, and counts from 0."""
        self.before, self.started, self.spent = self.before + self.spent, now, 0
        self.counters, self.routed, self.windows = {}, {}, {}

    def take(self, document: Arms) -> None:
        """What a push or the mounted ConfigMap does: never back."""
        if self.document is None or document.generation > self.document.generation:
            self.document = document
            if self.split.salt != self.salt and self.split.salt:
                self.salt, self.spent = self.split.salt, 0

    @property
    def split(self) -> Split:
        assert self.document is not None
        return self.document.models[MODEL]

    @property
    def held(self) -> str:
        if self.split.candidate is not None and self.loads != "Ready":
            return "NotReady"
        quota = self.split.quota.requests
        return "Quota" if quota is not None and self.spent >= quota else ""

    @property
    def weight(self) -> int:
        return 0 if self.held or self.document is None else self.split.weight

    def serve(self, requests: int, bad_stable: float, bad_canary: float, now: float) -> None:
        """Users ask; every request is counted under the edges in force."""
        split = self.split
        share = self.weight if self.obeys else 0
        canary = round(requests * share / 100)
        if split.quota.requests is not None:
            canary = min(canary, max(split.quota.requests - self.spent, 0))
        stable = requests - canary
        self.spent += canary
        before = self.routed.get(split.stratum, (0, 0))
        self.routed[split.stratum] = (before[0] + stable, before[1] + canary)
        if split.pilot is not None and not self.held:  # a cohort besides
            canary += requests // 10
        for edge in split.edges:
            for arm, n, rate in (("stable", stable, bad_stable), ("canary", canary, bad_canary)):
                if n:
                    spot = self.counters.setdefault((edge.name, arm, split.stratum), Counter())
                    spot.add(round(n * rate) if edge.builtin == "Errors" else 0, n)
            window = (now // 15 * 15, round(stable * bad_stable) if edge.builtin == "Errors" else 0, stable)
            self.windows.setdefault(edge.name, []).append(window)

    def reading(self, now: float, oldest: float = 0.0) -> TapReading:
        split = self.split if self.document is not None else None
        arms: dict[str, ArmState] = {}
        if split is not None:
            arms["stable"] = ArmState(split.stable.name, split.stable.digest, "Ready")
            if split.candidate is not None:
                c = split.candidate
                arms["canary"] = ArmState(
                    c.name, c.digest, self.loads, "keys are wrong" if self.loads == "Failed" else ""
                )
        return TapReading(
            pod=self.name,
            pod_uid=f"uid-{self.name}",
            started=self.started,
            now=now,
            generation=self.document.generation if self.document is not None else 0,
            stratum=split.stratum if split is not None else "-",
            weight=self.weight if split is not None else 0,
            held=self.held if split is not None else "",
            arms=arms,
            series=tuple(
                Series(metric, arm, stratum, tuple(c.bad), tuple(c.total))
                for (metric, arm, stratum), c in sorted(self.counters.items())
            ),
            routed=dict(self.routed),
            windows={
                name: tuple(r for r in _merged(rows, now) if r[0] > oldest) for name, rows in self.windows.items()
            },
            quota_requests=self.spent,
            p95=dict(self.p95),
            timed=dict(self.timed),
            shadow=self.shadow,
        )


def _merged(rows: list[tuple[float, int, int]], now: float) -> list[tuple[float, int, int]]:
    found: dict[float, tuple[int, int]] = {}
    for start, bad, total in rows:
        if start + 15 <= now:
            was = found.get(start, (0, 0))
            found[start] = (was[0] + bad, was[1] + total)
    return [(start, bad, total) for start, (bad, total) in sorted(found.items())]


class RolloutWorld:
    """One run from the moment it is accepted, with two pods that serve."""

    def __init__(self, rollout: dict[str, Any] | None = None, serving: dict[str, Any] | None = None) -> None:
        self.time = 0.0
        spec = make.job_spec(serving=serving or {}, rollout=rollout or {})
        self.job_spec = spec
        self.spec = make.run_spec(spec=spec)
        self.policy = make.POLICY
        self.job = FineTuneJobStatus(
            stable=STABLE, base_model=PinnedBaseModel(uri="s3://models/tiny", digest=make.DIGEST)
        )
        self.taps = {name: Tap(name, make.at(-3600).timestamp()) for name in ("a", "b")}
        self.arms: Arms | None = None
        self.memory = ""
        self.status = accepted()
        self.suspended = self.paused = False
        self.rollback = self.cancel = ""
        self.annotations: dict[str, str] = {}
        self.queries: tuple[QueryReading, ...] = ()
        self.writes = 0
        self.notes = 0
        self.bad_stable, self.bad_canary = 0.0, 0.0
        self.weights: list[int] = []
        self.decision: RunDecision | None = None

    @property
    def now(self) -> datetime:
        return make.at(self.time)

    @property
    def ended(self) -> bool:
        return self.status.phase is not None and self.status.phase.is_terminal

    @property
    def split(self) -> Split:
        assert self.arms is not None
        return self.arms.models[MODEL]

    @property
    def phase(self) -> str:
        return str(self.status.phase)

    def pods(self) -> tuple[ServingPod, ...]:
        return tuple(
            ServingPod(t.name, f"uid-{t.name}", ip="10.0.0.1", ready=t.ready, ready_since=make.at(-3600))
            for t in self.taps.values()
        )

    def serving(self) -> Serving:
        at = self.now.timestamp()
        known = bool(self.memory) and self.status.phase is not RunPhase.LOADING
        oldest = at - OVERLAP if known else 0.0  # what was taken once is not asked for again
        return Serving(
            deployed="sha256:as-it-was",
            pods=self.pods(),
            taps={f"uid-{t.name}": t.reading(at, oldest) for t in self.taps.values() if t.ready and not t.silent},
            silent={f"uid-{t.name}": "timed out" for t in self.taps.values() if t.ready and t.silent},
            arms=self.arms,
            queries=self.queries,
            memory=self.memory,
        )

    def facts(self) -> RunFacts:
        meta = Meta("support", make.RUN, "run-uid-1", resource_version="7", annotations=self.annotations)
        return make.run_facts(
            self.status,
            spec=self.spec,
            policy=self.policy,
            now=self.now,
            meta=meta,
            job=self.job,
            serving=self.serving(),
            suspended=self.suspended or self.paused,
            paused=self.paused and not self.suspended,
            rollback=self.rollback,
            cancel=self.cancel,
        )

    def reconcile(self, crash_after: int | None = None, decision: RunDecision | None = None) -> RunDecision:
        """One step; the operator dies after `crash_after` writes, the status being the first."""
        self.decision = decision = decision or decide_run(self.facts())
        left = 1_000 if crash_after is None else crash_after
        if decision.status != self.status:
            if left == 0:
                return decision
            left -= 1
            self.status = stored(decision.status)
            self.writes += 1
        for action in decision.actions:
            if left == 0:
                return decision
            left -= 1
            self._act(action)
        return decision

    def _act(self, action: Any) -> None:
        match action:
            case WriteArms(arms):
                generation = self.arms.generation + 1 if self.arms is not None else 1
                self.arms = read_arms(replace(arms, generation=generation).json())
                self.weights.append(self.split.weight)
                self.push(list(self.taps.values()))
            case PushArms(pods):
                self.push([self.taps[p.name] for p in pods if p.name in self.taps])
            case WriteMemory(text):
                self.memory = text
                self.notes += 1
            case CreateChild():
                pass
            case _:
                raise AssertionError(f"{action} is no action on a run in rollout")

    def push(self, taps: list[Tap]) -> None:
        for tap in taps:
            if self.arms is not None and tap.ready and not tap.silent:
                tap.take(self.arms)

    def users(self, requests: int = 100) -> None:
        """Everybody's requests, at every tap that is up."""
        for tap in self.taps.values():
            if tap.ready and tap.document is not None:
                tap.serve(requests, self.bad_stable, self.bad_canary, self.now.timestamp())

    def pass_time(self, seconds: float, requests: int = 100, poll: float = 5.0) -> None:
        """Users ask and the operator looks, every `poll` seconds, until the run ends."""
        until = self.time + seconds
        while self.time < until and not self.ended:
            self.time += poll
            self.users(requests)
            self.reconcile()

    def until(self, phase: str, *, step: int | None = None, requests: int = 100, limit: int = 4000) -> None:
        """Let time pass until the run is there."""
        for _ in range(limit):
            at = self.status.rollout.step if self.status.rollout is not None else None
            if self.phase == phase and (step is None or at == step):
                return
            assert not self.ended, f"{self.phase} before {phase}: {self.status.rollout}"
            self.pass_time(5, requests)
        raise AssertionError(f"never {phase}: {self.status.rollout}")

    def condition(self, type_: str) -> Any:
        return next(c for c in self.status.conditions if c.type == type_)


def accepted() -> FineTuneRunStatus:
    """A run that has been trained and evaluated; the next look begins its rollout."""
    result = make.trained()
    told = {
        "phase": "Evaluating",
        "startedAt": "2026-03-01T11:00:00Z",
        "resolved": make.RESOLVED,
        "scores": result["scores"],
        "comparisons": result["comparisons"],
        "artifact": result["artifact"],
        "look": {"number": 1, "alpha": 0.025},
        "conditions": [
            {"type": name, "status": "True", "reason": name, "lastTransitionTime": "2026-03-01T11:00:00Z"}
            for name in ("GatesPassed", "Trained")
        ],
    }
    return FineTuneRunStatus.model_validate(told)
