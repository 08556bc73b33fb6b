"""One public model: gives each request its arm, and keeps what is counted of it. No I/O."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from retune_tap.arms import Arm, Builtin, Model, Stage
from retune_tap.counting import CANARY, STABLE, Counters, Label
from retune_tap.deadlines import Deadlines
from retune_tap.edges import Ticket
from retune_tap.exposure import Exposure, Held
from retune_tap.fallback import Fallback
from retune_tap.heaviest import Heaviest
from retune_tap.metrics import Metrics
from retune_tap.pacing import Pacing
from retune_tap.sampling import Sample
from retune_tap.schema import Schema, SchemaError
from retune_tap.splitting import Place, Splitter, to_candidate

_SAMPLES = 1024


@dataclass(slots=True)
class Route:
    """A request's arm, and its way past the edges. `counted`: its feedback enters the evidence, too.

    `sampled`: what it asks is to be looked at for drift.
    """

    label: str
    arm: Arm
    ticket: Ticket
    counted: bool
    sampled: bool = False


@dataclass
class Shadows:
    """What became of the copies."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    agreed: int = 0
    compared: int = 0


class Served:
    """A public model's arms and counts. Counts outlive documents."""

    def __init__(
        self,
        name: str,
        plan: Model,
        *,
        ready: Callable[[Arm], bool],
        clock: Callable[[], float],
        wall: Callable[[], float],
        deadlines: Deadlines,
        metrics: Metrics,
        chance: random.Random,
        fixed: tuple[str, Arm] | None = None,
    ) -> None:
        """`clock` is monotonic and `wall` is Unix time, both in seconds; `ready` says whether an arm is loaded here.

        `fixed`: in mode Deployment, the one arm that this pod is, whatever the document gives to the other.
        """
        self.name = name
        self.fixed = fixed
        self.metrics = {arm: metrics.of(name, arm) for arm in (STABLE, CANARY)}
        self.counters = Counters()
        self.exposure = Exposure()
        self.fallback = Fallback()
        self.heaviest = Heaviest()
        self.shadows = Shadows()
        self.sample = Sample(wall())
        self.first_tokens: deque[float] = deque(maxlen=_SAMPLES)
        self.responses: deque[float] = deque(maxlen=_SAMPLES)
        self.candidates_responses: deque[float] = deque(maxlen=_SAMPLES)  # of this rollout's
        self._pacing = Pacing()
        self._ready, self._clock, self._wall = ready, clock, wall
        self._deadlines, self._chance = deadlines, chance
        self._asked: float | None = None
        self.plan = plan
        self.follow(plan)

    def follow(self, plan: Model) -> None:
        """A document came into force."""
        if plan.salt != self.plan.salt:
            self.candidates_responses.clear()
        self.plan = plan
        self._splitter = Splitter(plan.salt, self._chance)
        self._schemas: dict[str, Schema] = {}
        for edge in plan.edges:
            if edge.builtin is Builtin.INVALID_OUTPUT and edge.schema is not None:
                try:
                    self._schemas[edge.name] = Schema(edge.schema)
                except SchemaError:
                    # No count at all is seen by the operator and holds; counting everything as bad would roll back.
                    continue
        self.counters.open(plan.stratum)
        self.counters.keep_windows({edge.name for edge in plan.edges})
        self.exposure.under(plan.salt)

    @property
    def arms(self) -> dict[str, Arm]:
        """What stands behind the arms here, by arm."""
        if self.fixed:
            return dict([self.fixed])
        plan = self.plan
        return {STABLE: plan.stable, **({CANARY: plan.candidate} if plan.candidate else {})}

    @property
    def usual(self) -> tuple[str, Arm]:
        """Who answers what is not split."""
        return self.fixed or (STABLE, self.plan.stable)

    def asked(self) -> None:
        """Somebody asked for the state."""
        self._asked = self._clock()

    def held(self) -> Held | None:
        """Why the candidate gets nothing although the document gives it something."""
        plan = self.plan
        if self.fixed:
            return None  # the Gateway splits, before the tap
        if plan.candidate is None or not (plan.share or plan.stage is Stage.PILOT):
            return None
        if not self._ready(plan.candidate):
            return Held.NOT_READY
        if self._unwatched():
            return Held.PATIENCE
        return Held.QUOTA if self.exposure.used_up(plan.quota) else None

    def _unwatched(self) -> bool:
        patience = self.plan.patience
        return patience is not None and (self._asked is None or self._clock() - self._asked > patience)

    def weight(self) -> int:
        """The share in percent that is really given."""
        return 0 if self.held() else self.plan.share

    def route(self, headers: Mapping[str, str], now: float) -> Route:
        """Give a request its arm; `now` in the clock."""
        plan = self.plan
        sticky = headers.get(plan.sticky_header) if plan.sticky_header else None
        place = self._splitter.place(sticky)
        opts_out = bool(plan.opt_out_header and plan.opt_out_header in headers)
        if self.fixed and not (opts_out and self._may_opt_out):
            return self._split(self.fixed[0], place, sticky, now)
        if opts_out:
            return self._routed(STABLE, place.bucket, counted=False)
        held = self.held()
        if plan.stage is Stage.PILOT and plan.pilot and headers.get(plan.pilot.header) in plan.pilot.values:
            self.heaviest.saw(place.identity, now)
            cohort = CANARY if plan.candidate and not held else STABLE
            return self._routed(cohort, place.bucket, counted=self._pacing.admit(place.identity, now))
        arm = CANARY if not held and to_candidate(place.position, plan.share) else STABLE
        return self._split(arm, place, sticky, now)

    @property
    def _may_opt_out(self) -> bool:
        """Whether a pod that is one arm may leave a request out: stable's, while there is nobody to be compared with.

        The Gateway knows no opt-out. At the candidate nobody may hide from the stop-losses, and what stable's evidence
        lacked, the candidate's would have.
        """
        return self.usual[0] == STABLE and self.plan.candidate is None

    def _split(self, arm: str, place: Place, sticky: str | None, now: float) -> Route:
        """What the weight, here or at the Gateway, has given to an arm."""
        self.heaviest.saw(place.identity, now)
        self.counters.routed(arm, self.plan.stratum)
        route = self._routed(arm, place.bucket, counted=self._pacing.admit(place.identity, now))
        route.sampled = self.plan.features and self.sample.wants(sticky, self._wall())
        return route

    def _routed(self, label: str, bucket: int, *, counted: bool) -> Route:
        plan, now = self.plan, self._clock()
        arm = self.arms.get(label, plan.stable)
        salt = ""
        if label == CANARY:
            salt = self.exposure.gave()
        else:
            self.fallback.stable_asked(now)
        self.metrics[label].requests.inc()
        under = Label(label, plan.stratum, bucket)
        invalid = {edge.name for edge in plan.edges if edge.builtin is Builtin.INVALID_OUTPUT}
        went_bad = False

        def count(metric: str, bad: bool) -> None:
            nonlocal went_bad
            if counted:
                self.counters.count(metric, under, self._wall(), bad=bad)
            if bad and label == CANARY and not went_bad:
                went_bad = True
                self.exposure.went_bad(salt)
            if bad and metric in invalid:
                self.metrics[label].invalid.inc()

        ticket = Ticket(plan.edges, self._schemas, count, now, self._deadlines)
        return Route(label, arm, ticket, counted)

    def shadowed(self) -> Arm | None:
        """The candidate, if a copy of this request of stable is to go to it."""
        plan = self.plan
        if self.fixed or plan.stage is not Stage.SHADOW or not plan.shadow_percent or plan.candidate is None:
            return None
        if self._unwatched() or not self._ready(plan.candidate):
            return None
        return plan.candidate if self._chance.random() * 100 < plan.shadow_percent else None
