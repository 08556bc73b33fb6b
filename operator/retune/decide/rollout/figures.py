"""What answers take and cost, before a candidate met its users and when it is promoted. Pure.

cost per 1,000 = 1,000 * pods * (GPUs * price of a GPU hour + cores * price of a core hour) / requests an hour

Pods are those of the job that are ready, but for a candidate's own, which go with its rollout; GPUs and cores are what
a pod asks for, its tap's among them; prices are the run's. Requests are those that the taps count for the stop-losses.
"""

from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from retune.api import ServingFigures, decimal
from retune.decide.arms import ArmKind
from retune.decide.cost import cores
from retune.decide.readings import TapReading
from retune.decide.rollout.course import Course
from retune.decide.settle import TAP_CPU

FEWEST = 20  # answers: of fewer, the slowest is the 95th percentile
HOUR = 3600.0
PLACES, LARGEST = Decimal("0.000001"), Decimal(10**9)  # as the status can hold it


def before(course: Course) -> ServingFigures:
    """Of stable: its last answers, and the requests of the last hour."""
    elsewhere = course.scene.stable.kind is ArmKind.ENDPOINT  # what its machine costs is not known here
    cost = None if elsewhere else _cost(course, [_last_hour(tap) for tap in course.taps])
    return ServingFigures(p95_seconds=_p95(course, "response"), cost_per_1k=cost)


def after(course: Course) -> ServingFigures:
    """Of the candidate: its last answers, and the requests of the last stage, whoever answered them."""
    cost = _cost(course, [_this_stage(course, tap) for tap in course.taps])
    return ServingFigures(p95_seconds=_p95(course, "candidate"), cost_per_1k=cost)


def _p95(course: Course, of: str) -> float | None:
    """At the slowest tap: of all taps' answers together it is no more than that."""
    seen = [tap.p95[of] for tap in course.taps if of in tap.p95 and tap.timed.get(of, 0) >= FEWEST]
    return float(f"{max(seen):.4g}") if seen else None


def _cost(course: Course, counted: Iterable[tuple[int, float]]) -> str | None:
    """`counted`: by tap, requests and in how many seconds."""
    hourly, told = _pods(course) * _pod_hour(course), [(n, span) for n, span in counted if span > 0]
    an_hour = sum(n * HOUR / span for n, span in told)
    if sum(n for n, _ in told) < FEWEST or hourly == 0:
        return None
    per_1k = (hourly * 1000 / Decimal(an_hour)).quantize(PLACES, ROUND_HALF_UP)
    return str(per_1k) if per_1k < LARGEST else None


def _pods(course: Course) -> int:
    return sum(not pod.canary for pod in course.ready)


def _pod_hour(course: Course) -> Decimal:
    spec = course.draft.facts.spec
    given = course.scene.serving.resources
    asked = {**((given.limits if given else None) or {}), **((given.requests if given else None) or {})}
    gpus = cores(asked.get(spec.training.gpu_resource, "0"))
    cpus = cores(asked.get("cpu")) + cores(TAP_CPU)
    return gpus * decimal(spec.prices.gpu_hour) + cpus * decimal(spec.prices.cpu_hour)


def _last_hour(tap: TapReading) -> tuple[int, float]:
    span = min(tap.now - tap.started, HOUR)
    counts = (sum(row[2] for row in rows if row[0] >= tap.now - span) for rows in tap.windows.values())
    return max(counts, default=0), span


def _this_stage(course: Course, tap: TapReading) -> tuple[int, float]:
    stage, status = course.stage, course.status
    if stage is None:
        return 0, 0.0
    # A pause moves `since` on, and the taps go on counting; what was verified was so at the stage's beginning.
    span = min(max(course.since(status.since), course.since(status.verified_at)), tap.now - tap.started)
    by_metric: dict[str, int] = {}
    for series in tap.series:
        if series.stratum == stage.stratum:
            by_metric[series.metric] = by_metric.get(series.metric, 0) + sum(series.total)
    return max(by_metric.values(), default=0), span
