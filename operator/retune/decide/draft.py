"""A decision while its chain of rules works on it: the facts, the status as it becomes, and what is to be done."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from retune.api import Attempt, Condition, FineTuneJobSpec, FineTuneJobStatus, FineTuneRunStatus, RunPhase
from retune.decide.actions import Action, DeleteChild, Event
from retune.decide.conditions import Truth, events_of, keep_times, set_condition
from retune.decide.cost import cost
from retune.decide.facts import JobFacts, RunFacts, Stage
from retune.decide.ledger import Ledger

Facts = TypeVar("Facts", JobFacts, RunFacts)
Status = TypeVar("Status", FineTuneJobStatus, FineTuneRunStatus)


@dataclass
class Draft(Generic[Facts, Status]):
    """What both kinds have in common."""

    facts: Facts
    status: Status
    actions: list[Action] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    requeue: float | None = None

    def again_in(self, seconds: float) -> None:
        """Look again after `seconds` at the latest, whatever happens."""
        seconds = max(seconds, 0.05)
        self.requeue = seconds if self.requeue is None else min(self.requeue, seconds)

    def set(self, **changes: Any) -> None:  # noqa: ANN401 - fields of the status model
        """Change fields of the status."""
        self.status = self.status.model_copy(update=changes)

    def condition(self, type_: str, truth: Truth, reason: str, message: str) -> None:
        """Set one condition."""
        self.set(
            conditions=set_condition(
                self.status.conditions,
                type_,
                truth,
                reason,
                message,
                generation=self.facts.meta.generation,
                now=self.facts.now,
            )
        )

    def finish(self) -> Sequence[Event]:
        """The chain has ended: transition times are those of the whole step; its events."""
        before: Sequence[Condition] = self.facts.status.conditions
        self.set(conditions=keep_times(before, self.status.conditions))
        return [*self.events, *events_of(before, self.status.conditions)]


@dataclass
class JobDraft(Draft[JobFacts, FineTuneJobStatus]):
    """A decision on a FineTuneJob. `ledger`: its money, as it becomes."""

    ledger: Ledger = field(default_factory=Ledger)

    @property
    def spec(self) -> FineTuneJobSpec:
        """The spec, once the rule `valid` has seen that there is one."""
        assert self.facts.spec is not None  # noqa: S101 - `valid` ends the chain otherwise
        return self.facts.spec

    @property
    def latest(self) -> RunFacts | None:
        """The run with the highest number."""
        return max(self.facts.runs, key=lambda r: r.spec.number, default=None)

    @property
    def active(self) -> RunFacts | None:
        """The run in flight; there is one at most."""
        latest = self.latest
        if latest is None or (latest.status.phase is not None and latest.status.phase.is_terminal):
            return None
        return latest


@dataclass
class RunDraft(Draft[RunFacts, FineTuneRunStatus]):
    """A decision on a FineTuneRun."""

    def replace_attempt(self, old: Attempt, new: Attempt) -> None:
        """Put `new` in the place of `old`."""
        self.set(attempts=tuple(new if a is old else a for a in self.status.attempts))

    def check(self) -> None:
        """See that the status is one that the API server would take: parts of it are what a pod said.

        Raises:
            ValueError: it is not.
        """
        FineTuneRunStatus.model_validate(self.status.model_dump(warnings=False))

    def delete_live_children(self, keep: Stage | None = None) -> None:
        """Take away what still runs, but for those of stage `keep`."""
        live = (c for c in self.facts.children if not c.over and not c.deleting and c.stage is not keep)
        self.actions += [DeleteChild(c.name, c.uid) for c in live]

    def end(self, phase: RunPhase) -> None:
        """The run is over, for good."""
        self.set(phase=phase, ended_at=self.facts.now, cost=cost(self.status.attempts, self.facts.spec.prices))
