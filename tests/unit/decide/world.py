"""A small cluster for one run: Jobs, pods, and an operator that sees them late, crashes, and loses answers.

Time is a number that only the test moves. The Job controller and the kubelet do what Kubernetes' do, one step a call.
"""

import json
from collections import deque
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Generic, TypeVar

from tests.unit import make

from retune.api import FineTuneRunStatus
from retune.decide.actions import CreateChild, CreateConfig, DeleteChild, RunDecision
from retune.decide.facts import Child, Pod, RunFacts, Stage, Termination
from retune.decide.naming import child_name
from retune.decide.run import decide_run

T = TypeVar("T")
ENDS = ("success", "crash", "input", "store", "superseded", "interrupted", "terminated", "oom", "disrupted", "unknown")
MESSAGES = {Stage.PREFLIGHT: make.CHECKED, Stage.TRAIN: make.trained(), Stage.REPORT: make.REPORTED}
FOR_GOOD = ("success", "crash", "input", "oom")


@dataclass
class Watched(Generic[T]):
    """Objects of one kind as they are, and as the operator has heard of them so far."""

    real: dict[str, T] = field(default_factory=dict)
    seen: dict[str, T] = field(default_factory=dict)
    events: deque[tuple[str, T | None]] = field(default_factory=deque)

    def set(self, name: str, value: T | None) -> None:
        """Change the world; the operator hears of it later."""
        if value is None:
            self.real.pop(name, None)
        else:
            self.real[name] = value
        self.events.append((name, value))

    def deliver(self, count: int | None = None) -> None:
        """Let the operator hear of the oldest changes."""
        for _ in range(len(self.events) if count is None else min(count, len(self.events))):
            name, value = self.events.popleft()
            if value is None:
                self.seen.pop(name, None)
            else:
                self.seen[name] = value


class World:
    """One run and everything that happens to it."""

    def __init__(self, max_retries: int = 2, retry_backoff: int = 10) -> None:
        self.time = 0.0
        self.children: Watched[Child] = Watched()
        self.pods: Watched[Pod] = Watched()
        spec = make.job_spec(training=make.training(maxRetries=max_retries))
        self.spec = make.run_spec(spec=spec)
        self.policy = replace(make.POLICY, retry_backoff=retry_backoff)
        self.status = FineTuneRunStatus()
        self.suspended = False
        self.cancel = ""
        self.writes = 0
        self.uids = 0
        self.created: list[tuple[Stage, int]] = []

    @property
    def now(self) -> datetime:
        return make.at(self.time)

    @property
    def ended(self) -> bool:
        return self.status.phase is not None and self.status.phase.is_terminal

    # ---------------------------------------------------------------------------------------------- the operator

    def facts(self) -> RunFacts:
        return make.run_facts(
            self.status,
            spec=self.spec,
            policy=self.policy,
            now=self.now,
            suspended=self.suspended,
            cancel=self.cancel,
            children=tuple(self.children.seen[n] for n in sorted(self.children.seen)),
            pods=tuple(self.pods.seen[n] for n in sorted(self.pods.seen)),
        )

    def reconcile(self, crash_after: int | None = None, lost: bool = False) -> RunDecision:
        """One step. `crash_after` writes the operator dies; with `lost`, answers to creates never arrive."""
        decision = decide_run(self.facts())
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
            match action:
                case CreateConfig():
                    pass
                case CreateChild(stage, attempt):
                    self._create(stage, attempt, lost)
                case DeleteChild(name, uid):
                    self.delete_child(name, uid)
                case _:
                    raise AssertionError(f"{action} is no action on a run")
        return decision

    def restart(self) -> None:
        """A new operator lists everything before it acts."""
        self.children.deliver()
        self.pods.deliver()

    def _create(self, stage: Stage, attempt: int, lost: bool) -> None:
        name = child_name(make.RUN, stage, attempt)
        if name in self.children.real:
            return  # AlreadyExists
        self.uids += 1
        made = Child(name, f"uid-{self.uids}", stage, attempt, created=self.now)
        self.created.append((stage, attempt))
        self.children.set(name, made)
        if not lost:
            self.children.seen[name] = made  # the operator remembers what it wrote

    # ------------------------------------------------------------------------------------ Kubernetes' controllers

    def delete_child(self, name: str, uid: str) -> None:
        """In the foreground: the Job stays until its pods are gone."""
        found = self.children.real.get(name)
        if found is None or found.uid != uid or found.deleting:
            return
        self.children.set(name, replace(found, deleting=True))
        for pod in self.pods_of(found):
            self.pods.set(pod.name, replace(pod, deleting=True))

    def pods_of(self, child: Child) -> list[Pod]:
        return [p for p in self.pods.real.values() if p.name.startswith(f"{child.name}-{child.uid}")]

    def control(self) -> None:  # noqa: C901 - one controller, read from top to bottom
        """What the Job controller and the garbage collector do: pods for Jobs, conditions for ended pods, clean-up."""
        for child in list(self.children.real.values()):
            pods = self.pods_of(child)
            if child.deleting:
                for pod in pods:
                    if pod.over:
                        self.pods.set(pod.name, None)
                if not self.pods_of(child):
                    self.children.set(child.name, None)
                continue
            if child.over:
                continue
            if not pods:
                if child.name in self._had_pods:
                    self._fail(child, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
                else:
                    self._had_pods.add(child.name)
                    name = f"{child.name}-{child.uid}"
                    made = Pod(name, name, child.stage, child.attempt, "Pending", created=self.now)
                    self.pods.set(name, made)
            elif all(p.over for p in pods):
                pod = pods[0]
                if pod.phase == "Succeeded":
                    self.children.set(child.name, replace(child, complete=True))
                elif pod.disrupted:
                    text = f"Pod support/{pod.name} has condition DisruptionTarget matching FailJob rule at index 0"
                    self._fail(child, "PodFailurePolicy", text)
                else:
                    assert pod.termination is not None
                    code = pod.termination.exit_code
                    self._fail(child, "PodFailurePolicy", make.failed_child(code).failed[1])  # type: ignore[index]
        for pod in list(self.pods.real.values()):
            if pod.deleting and pod.over:
                self.pods.set(pod.name, None)

    def _fail(self, child: Child, reason: str, message: str) -> None:
        self.children.set(child.name, replace(child, failed=(reason, message)))

    @property
    def _had_pods(self) -> set[str]:
        return self.__dict__.setdefault("had_pods", set())

    def kubelet_starts(self, pod: Pod) -> None:
        self.pods.set(pod.name, replace(pod, phase="Running", running_since=self.now))

    def kubelet_ends(self, pod: Pod, how: str) -> None:
        """The container ends in one of the ways of `ENDS`."""
        message: Any = {}
        reason, disrupted = "Error", ""
        match how:
            case "success":
                code, reason = 0, "Completed"
                message = MESSAGES[pod.stage]
            case "input":
                code, message = 64, make.failed("DatasetEmpty", "spec.dataset.train.uri", "no examples")
            case "store":
                code, message = 65, make.failed("StoreUnreachable", "spec.artifacts.uri", "no answer")
            case "superseded":
                code = 70
            case "interrupted":
                code = 75
            case "terminated":
                code = 143
            case "oom":
                code, reason = 137, "OOMKilled"
            case "unknown":
                code, reason = 137, "ContainerStatusUnknown"
            case "disrupted":
                code, disrupted = 137, "PreemptionByScheduler: preempted"
            case _:
                code = 1
        end = Termination(code, reason, message, pod.running_since, self.now)
        phase = "Succeeded" if code == 0 else "Failed"
        ended = replace(pod, phase=phase, running_since=None, termination=end, disrupted=disrupted)
        self.pods.set(pod.name, ended)

    def live_pods(self, stage: Stage | None = None) -> list[Pod]:
        return [p for p in self.pods.real.values() if not p.over and (stage is None or p.stage is stage)]

    # ---------------------------------------------------------------------------------------------------- in the end

    def to_training(self) -> None:
        """The straight way until the first training pod runs, and the operator knows."""
        while self.status.phase != "Training":
            self.control()
            for pod in self.live_pods():
                if pod.running_since is None:
                    self.kubelet_starts(pod)
                elif pod.stage is Stage.PREFLIGHT:
                    self.kubelet_ends(pod, "success")
            self.restart()
            self.reconcile()
            self.time += 1

    def settle(self, how: str, rounds: int = 60) -> None:
        """Everything is delivered, nobody crashes any more, and every pod ends in the same way."""
        for _ in range(rounds):
            self.control()
            for pod in self.live_pods():
                if pod.deleting:
                    self.kubelet_ends(pod, "terminated" if pod.running_since else "crash")
                elif pod.running_since is None:
                    self.kubelet_starts(pod)
                else:
                    self.kubelet_ends(pod, how)
            self.restart()
            self.reconcile()
            self.time += 301


def stored(status: FineTuneRunStatus) -> FineTuneRunStatus:
    """The status as it comes back from the API server, which refuses what the schema does not allow."""
    text = json.dumps(status.model_dump(mode="json", by_alias=True, exclude_none=True), allow_nan=False)
    return FineTuneRunStatus.model_validate_json(text)
