"""What takes a candidate back: the job's stop-losses, or those of a job that names none, and where their edges lie.

Pure. An edge that has to be measured (slow: twice what stable takes) is frozen before the candidate meets anybody.
"""

from collections.abc import Iterable
from math import inf

from retune.api import Evaluation, MetricName, Rollout, StopLoss, StopLossBuiltin
from retune.decide.arms import Edge
from retune.decide.evidence.judge import Watched
from retune.decide.readings import TapReading

SLOW = "slow"
# Bucket edges of the taps' histograms, s: the default edge is one of them, so that graphs and stop-loss agree.
_EDGES = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_DEFAULTS = (
    StopLoss(name="errors", builtin=StopLossBuiltin.ERRORS),
    StopLoss(name="overrides", builtin=StopLossBuiltin.OVERRIDES),
)


def watched(rollout: Rollout, edges: Iterable[Edge]) -> tuple[Watched, ...]:
    """What is judged, with the limits in force. `edges`: those in force at the taps."""
    named = rollout.stop_loss or _DEFAULTS
    found = [Watched(s.name, _builtin(s), s.max_ratio, s.max_rate, s.margin) for s in named]
    if not rollout.stop_loss and any(edge.name == SLOW for edge in edges):
        usual = StopLoss.model_fields["max_ratio"].default
        found.append(Watched(SLOW, StopLossBuiltin.SLOW.value, usual, None, None))
    return tuple(found)


def _builtin(stop_loss: StopLoss) -> str | None:
    return stop_loss.builtin.value if stop_loss.builtin is not None else None


def edges(rollout: Rollout, evaluation: Evaluation, window: float) -> tuple[Edge, ...]:
    """From when an answer is bad, as far as the spec alone says. `window`: s in which people's overrides count."""
    schema = next((m.json_schema for m in evaluation.metrics if m.name is MetricName.JSON_VALID), None)
    found = []
    for stop_loss in rollout.stop_loss or _DEFAULTS:
        builtin = stop_loss.builtin
        if builtin is None:
            continue
        found.append(
            Edge(
                name=stop_loss.name,
                builtin=builtin.value,
                seconds=stop_loss.slow.seconds if stop_loss.slow is not None else None,
                of=stop_loss.slow.of if stop_loss.slow is not None else None,
                tokens=stop_loss.long.tokens if stop_loss.long is not None else None,
                window=window if builtin is StopLossBuiltin.OVERRIDES else None,
                schema=schema if builtin is StopLossBuiltin.INVALID_OUTPUT else None,
            )
        )
    return tuple(found)


def slow_edge(taps: Iterable[TapReading]) -> Edge | None:
    """The bucket edge above twice stable's 95th percentile at the slowest tap; None: nothing is known of it yet."""
    for of, name in (("firstToken", "FirstToken"), ("response", "Response")):
        seen = [tap.p95[of] for tap in taps if 0 < tap.p95.get(of, 0.0) < inf]
        if seen:
            twice = 2 * max(seen)
            at = next((edge for edge in _EDGES if edge >= twice), _EDGES[-1])
            return Edge(name=SLOW, builtin=StopLossBuiltin.SLOW.value, seconds=at, of=name)
    return None
