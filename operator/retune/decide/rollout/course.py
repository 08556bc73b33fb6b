"""A rollout while a chain of rules works on it: where it stands, what the evidence says, and what is written of it.

Pure. Rules read and change a `Course`; `traffic` then makes the arms follow from its status, `telling` its words.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from retune.api import Rollout, RolloutIntent, RolloutStatus, RunPhase
from retune.decide.arms import Arm, Edge, Split
from retune.decide.conditions import Truth, find
from retune.decide.draft import RunDraft
from retune.decide.evidence.judge import Judgement, Memory, Plan, begin, judge, restart_for_bake
from retune.decide.readings import Serving, ServingPod, TapReading
from retune.decide.rollout.kept import Kept, read_kept
from retune.decide.rollout.scene import Scene, candidate_arm, scene_of_run
from retune.decide.rollout.stages import Stage, after, current, stages
from retune.decide.rollout.stop_losses import SLOW, slow_edge, watched

LAG = 30.0  # s after a verified change of weight until the user's own counters can be trusted to show it
CAUSE_LIMIT = 1024  # characters of status.rollout.message


@dataclass
class Course:
    """One step of a rollout."""

    draft: RunDraft
    scene: Scene
    candidate: Arm
    spec: Rollout
    kept: Kept
    judgement: Judgement | None = None
    moved: bool = False  # another stage: what was counted until here is worth keeping
    lost: bool = False  # evidence that should have been there could not be read

    @property
    def status(self) -> RolloutStatus:
        """Where it stands, as it becomes."""
        return self.draft.status.rollout or RolloutStatus()

    @property
    def now(self) -> datetime:
        """The time."""
        return self.draft.facts.now

    @property
    def seen(self) -> Serving:
        """What is known of the pods and their taps."""
        return self.draft.facts.serving

    @cached_property
    def stages(self) -> tuple[Stage, ...]:
        """All stages after the loading."""
        return stages(self.spec, self.draft.facts.spec.number)

    @property
    def stage(self) -> Stage | None:
        """The stage it is at; None: it loads."""
        return current(self.stages, self.status)

    @cached_property
    def ready(self) -> tuple[ServingPod, ...]:
        """Pods that users reach."""
        return tuple(p for p in self.seen.pods if p.ready and not p.deleting and not p.over)

    @cached_property
    def taps(self) -> tuple[TapReading, ...]:
        """What the taps of those pods said."""
        return tuple(self.seen.taps[p.uid] for p in self.ready if p.uid in self.seen.taps)

    @property
    def written(self) -> Split | None:
        """What the taps were last told of this job's model."""
        return self.seen.arms.models.get(self.scene.model) if self.seen.arms is not None else None

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """From when an answer is bad; one that is measured is frozen while the candidate loads."""
        fixed = self.scene.edges
        if self.spec.stop_loss:
            return fixed
        last, told = self.written, None
        if last is not None and last.salt == self.draft.facts.meta.uid:
            told = next((e for e in last.edges if e.name == SLOW), None)
        if told is None and self.status.stage is RunPhase.LOADING:
            told = slow_edge(self.taps)
        return (*fixed, told) if told is not None else fixed

    @property
    def plan(self) -> Plan:
        """What the evidence is judged by."""
        verified = self.status.verified_at
        return Plan(
            run_number=self.draft.facts.spec.number,
            watched=watched(self.spec, self.edges),
            confidence=self.spec.confidence,
            promote_confidence=self.spec.promote_confidence,
            blocked_user=verified is None or self.since(verified) < LAG,
            pooled=self.scene.separate,
        )

    @property
    def due(self) -> bool:
        """Whether figures may be written to the object again."""
        last = self.status.evidence_at
        return last is None or self.since(last) >= self.draft.facts.policy.evidence_every

    def since(self, then: datetime | None) -> float:
        """Seconds from `then` until now; 0 if it never was."""
        return (self.now - then).total_seconds() if then is not None else 0.0

    def change(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the status model
        """Change fields of `status.rollout`."""
        self.draft.set(rollout=self.status.model_copy(update=changes))

    def enter(self, stage: Stage | None, **changes: Any) -> None:  # noqa: ANN401 - fields of the status model
        """Go to `stage`; None: load (again)."""
        phase = stage.phase if stage is not None else RunPhase.LOADING
        self.draft.set(phase=phase)
        self.change(
            stage=phase,
            step=stage.step if stage is not None else None,
            weight=stage.weight if stage is not None else 0,
            since=self.now,
            verified_at=None,
            held_because=None,
            message=None,
            down_since=None,
            **changes,
        )
        self.moved = True
        if stage is not None:
            self._for_bake(stage)

    def hold(self, reason: str, message: str) -> bool:
        """It goes no further now, and says why; the figures in `message` are renewed with the evidence."""
        if self.status.held_because != reason or self.due:
            self.change(held_because=reason, message=_short(message))
        return True

    def decide(self, intent: RolloutIntent, reason: str, message: str) -> bool:
        """Write down how it ends. From here on the candidate gets nothing."""
        self.change(
            intent=intent, intent_at=self.now, weight=0, held_because=reason, message=_short(message), paused_since=None
        )
        self.moved = True
        return True

    def say(self, type_: str, truth: Truth, reason: str, message: str) -> None:
        """Set a condition; figures alone are renewed with the evidence."""
        old = find(self.draft.status.conditions, type_)
        if old is None or (old.status, old.reason) != (truth, reason) or (self.due and old.message != message):
            self.draft.condition(type_, truth, reason, message)

    def shift(self, seconds: float) -> None:
        """Let the clocks forget the last `seconds`."""
        by = timedelta(seconds=seconds)
        since, started = self.status.since, self.status.started_at
        self.change(since=since + by if since else None, started_at=started + by if started else None)

    def first_met(self) -> None:
        """From here on the candidate is judged; what pods have spent on it before still counts."""
        evidence = begin(self.plan, self.now.timestamp())
        evidence, _ = self._ask(evidence, self.stages[0])  # what the taps have counted so far is no evidence
        self.kept = Kept(evidence=evidence, spent=self.kept.spent)

    def look(self) -> None:
        """Ask the evidence, once the candidate meets anybody."""
        stage = self.stage
        if stage is None:
            return
        at, plan = self.now.timestamp(), self.plan
        memory = self.kept.evidence
        if memory is None:
            self.lost = stage is not self.stages[0]
            memory = begin(plan, at)
            self.moved = True
        self.kept = replace(self.kept, evidence=memory)
        self._for_bake(stage)  # the operator may have died between the status and the note
        memory, self.judgement = self._ask(self.kept.evidence or memory, stage)
        self.kept = replace(self.kept, evidence=memory)

    def _for_bake(self, stage: Stage) -> None:
        """The tests start afresh when the bake begins, once: what is counted from then on is evidence again."""
        memory, began = self.kept.evidence, self.status.since or self.now
        if stage.phase is RunPhase.BAKING and memory is not None and not self.kept.baking:
            memory = restart_for_bake(memory, self.plan, began.timestamp())
            self.kept = replace(self.kept, evidence=memory, baking=True)
            self.moved = True

    def _ask(self, memory: Memory, stage: Stage) -> tuple[Memory, Judgement]:
        following = after(self.stages, stage)
        return judge(
            memory,
            self.plan,
            tuple(t for t in self.seen.taps.values() if self._counts(t)),
            self.seen.queries,
            stratum=stage.stratum,
            baking=stage.phase is RunPhase.BAKING,
            w_next=following.weight / 100 if following is not None and following.weight else 1.0,
            at=self.now.timestamp(),
        )

    def _counts(self, tap: TapReading) -> bool:
        """In mode Deployment pods of one arm can have different models, while their Deployment is rolled."""
        models = {"stable": self.scene.stable.digest, "canary": self.candidate.digest}
        return not self.scene.separate or all(state.digest == models[arm] for arm, state in tap.arms.items())


def _short(message: str) -> str:
    return message if len(message) <= CAUSE_LIMIT else message[: CAUSE_LIMIT - 1] + "…"


def course(draft: RunDraft) -> Course | None:
    """The rollout of a run; None: its snapshot has none, or there is no model."""
    facts = draft.facts
    scene = scene_of_run(facts)
    candidate = candidate_arm(scene, facts.meta.name, draft.status) if scene is not None else None
    if scene is None or candidate is None:
        return None
    return Course(draft, scene, candidate, facts.spec.rollout or Rollout(), read_kept(facts.serving.memory) or Kept())
