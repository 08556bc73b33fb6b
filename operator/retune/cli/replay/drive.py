"""A rollout gone through on paper: past polls in, the operator's judge asked at each, its verdicts out. Pure.

Where the data name their steps, these are followed as they were. Where they do not, the rollout's own are, from its
first weight on, as soon as hold, minRequests and the evidence allow it: what the split was then makes no difference to
the tests, which are given both arms' counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from retune.api.phases import RunPhase
from retune.api.quantity import seconds
from retune.api.rollout import Promotion, Rollout, StopLoss, StopLossBuiltin
from retune.api.run import EvidenceState
from retune.cli.replay.reading import RUN, Tape, Totals
from retune.cli.replay.trace import CANARY, STABLE, Poll, Trace
from retune.cli.wording import clock
from retune.decide.evidence.judge import Judgement, MetricVerdict, Plan, Watched, begin, judge, restart_for_bake
from retune.decide.rollout.stages import Stage, after, first_step, stages

HOLD, ADVANCE, ROLL_BACK = "Hold", "Advance", "RollBack"
IDLE = 60.0  # s after which the evidence is asked although there is nothing new to compare
_JUDGED = (RunPhase.CANARY, RunPhase.BAKING)


@dataclass(frozen=True)
class Row:
    """What one poll said at the stage that was in force until then."""

    time: float
    stage: Stage
    verdict: str
    judgement: Judgement


@dataclass(frozen=True)
class End:
    """How it would have ended."""

    verdict: str
    time: float
    reason: str


def drive(trace: Trace, rollout: Rollout, losses: tuple[StopLoss, ...]) -> Iterator[Row | End]:
    """Every poll until there is an end, and then the end. `losses`: those that the data are judged by."""
    return _Drive(trace, rollout, losses).run()


class _Drive:
    """Where the rollout stands while the polls go by."""

    def __init__(self, trace: Trace, rollout: Rollout, losses: tuple[StopLoss, ...]) -> None:
        self._trace, self._rollout, self._stages = trace, rollout, stages(rollout, RUN)
        self._plan = Plan(
            RUN,
            tuple(_watched(loss, buckets=trace.buckets) for loss in losses),
            rollout.confidence,
            rollout.promote_confidence,
        )
        names = [loss.name for loss in losses]
        strata = [stage.stratum for stage in self._stages]
        self._counters = Tape(names, strata) if trace.buckets else Totals(names)
        self._start = self._since = trace.polls[0].time
        self._stage = first_step(self._stages)
        self._memory = begin(self._plan, self._start)
        self._last: Judgement | None = None
        self._looked = self._start
        self._news: set[tuple[str, str]] = set()  # metric and arm that have counted something since the last look

    def run(self) -> Iterator[Row | End]:
        """See `drive`."""
        row = None
        for poll in self._trace.polls:
            if poll.step and poll.step != self._stage.name:
                self._go(next(stage for stage in self._stages if stage.name == poll.step), poll.time)
            row = self._look(poll)
            yield row
            end = self._end(row)
            if end is not None:
                yield end
                return
            following = after(self._stages, self._stage)
            if row.verdict == ADVANCE and following is not None and not poll.step:
                self._go(following, poll.time)
        if row is not None:
            yield End("Inconclusive", row.time, f"the data end in {_where(row.stage)}{self._lacks(row)}")

    def _look(self, poll: Poll) -> Row:
        self._counters.take(poll, self._stage.stratum)
        self._news.update((key.metric, key.arm) for key in poll.added)
        found = self._last
        if found is None or self._due(poll.time):
            found = self._judge(self._plan, poll.time)
        return Row(poll.time, self._stage, self._verdict(found, poll.time), found)

    def _due(self, time: float) -> bool:
        """Whether there is anything to compare: something new in both arms, or some time has gone by."""
        both = any((metric, CANARY) in self._news for metric, arm in self._news if arm == STABLE)
        return both or time - self._looked >= IDLE

    def _judge(self, plan: Plan, time: float) -> Judgement:
        stage, following = self._stage, after(self._stages, self._stage)
        taps, queries = self._counters.read(time, stage.stratum, stage.weight)
        self._memory, found = judge(
            self._memory,
            plan,
            taps,
            queries,
            stratum=stage.stratum,
            baking=stage.phase is RunPhase.BAKING,
            w_next=following.weight / 100 if following is not None and following.weight else 1.0,
            at=time,
        )
        self._last, self._looked = found, time
        self._news.clear()
        return found

    def _go(self, stage: Stage, time: float) -> None:
        self._stage, self._since = stage, time
        if stage.phase is RunPhase.BAKING:
            self._memory = restart_for_bake(self._memory, self._plan, time)
        # Counters without steps are frozen over a change of weight, as in the operator, and thawed at once: what is
        # counted from here on has the new weight.
        self._judge(replace(self._plan, blocked_user=True), time)
        self._judge(self._plan, time)

    def _verdict(self, found: Judgement, time: float) -> str:
        """By the same conditions, in the same order, as in the operator's rollout."""
        if found.breached or found.interference:
            return ROLL_BACK
        stage, rollout = self._stage, self._rollout
        ill = found.blind or any(one.state is EvidenceState.BASELINE_UNHEALTHY for one in found.metrics)
        if ill or self._late(time) or time - self._since < stage.hold:
            return HOLD
        if stage.phase not in _JUDGED:
            return ADVANCE
        proven = rollout.promotion is Promotion.NO_HARM or found.may_advance
        return ADVANCE if proven and found.canary_total >= rollout.min_requests else HOLD

    def _late(self, time: float) -> bool:
        return time - self._start >= seconds(self._rollout.timeout)

    def _end(self, row: Row) -> End | None:
        if row.verdict == ROLL_BACK:
            return End("RolledBack", row.time, _breach(row.judgement))
        if row.verdict == ADVANCE and after(self._stages, row.stage) is None:
            return End("Promoted", row.time, f"no stop-loss was breached until the end of {_where(row.stage)}")
        if self._late(row.time):
            reason = f"rollout.timeout ({self._rollout.timeout}) is over in {_where(row.stage)}{self._lacks(row)}"
            return End("Inconclusive", row.time, reason)
        return None

    def _lacks(self, row: Row) -> str:
        """What it would still have needed."""
        found, rollout = row.judgement, self._rollout
        lacks = [f"{one.name} {one.state.value}" for one in found.metrics if one.state is not EvidenceState.OK]
        held = row.time - self._since
        if held < row.stage.hold:
            lacks.append(f"held for {clock(held)} of {clock(row.stage.hold)}")
        if row.stage.phase in _JUDGED:
            if found.canary_total < rollout.min_requests:
                lacks.append(f"{found.canary_total} of {rollout.min_requests} requests (rollout.minRequests)")
            elif rollout.promotion is Promotion.EVIDENCE:
                lacks += [_open(one) for one in found.metrics if not one.passes and one.state is EvidenceState.OK]
        return f"; {', '.join(lacks)}" if lacks else ""


def _where(stage: Stage) -> str:
    names = {RunPhase.BAKING: "the bake", RunPhase.PILOT: "the pilot", RunPhase.SHADOW: "shadow"}
    return f"{names.get(stage.phase) or f'step {stage.step}'} ({stage.weight} %)"


def _watched(loss: StopLoss, *, buckets: bool) -> Watched:
    """A stop-loss as the data let it be judged: with buckets as a tap's own count, without as the user's."""
    builtin = (loss.builtin or StopLossBuiltin.ERRORS).value if buckets else None
    return Watched(loss.name, builtin, loss.max_ratio, loss.max_rate, loss.margin)


def _open(one: MetricVerdict) -> str:
    if one.upper is None or one.stable_lower is None:
        return f"{one.name}: nothing counted"
    return f"{one.name}: {one.upper - one.stable_lower:.2g} more bad answers than stable's cannot be ruled out yet"


def _breach(found: Judgement) -> str:
    """What has carried the rollback, with its numbers."""
    if not found.breached:
        slow = ", ".join(one.name for one in found.metrics if one.detail) or "stable"
        return f"interference: {slow} got worse for stable's own requests beside the candidate"
    told = [
        f"{one.name}: {one.bad} of {one.total} bad, of stable {one.stable_bad} of {one.stable_total}"
        for one in found.metrics
        if one.name in found.breached
    ]
    return f"{'; '.join(told)}; evidence {found.combined:.4g}, and {found.threshold:.4g} takes it back"
