"""Is the candidate good enough to be shipped? The bounds are the pod's, at a level we gave it; the judgement is ours.

Rules: design 3-evidence, "Evaluation before shipping". Every verdict holds the number that decided.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from retune.api import Comparison, ComparisonSet, Evaluation, FineTuneRunStatus, MetricName, Reference, SegmentScores

SMALL = 50  # examples below which a part of the gold set is Unknown and does not decide
LOWER_IS_BETTER = frozenset({MetricName.PERPLEXITY})


@dataclass(frozen=True)
class Verdict:
    """`accepted`, with a PascalCase reason and a message that holds the numbers."""

    accepted: bool
    reason: str
    message: str


def judge(status: FineTuneRunStatus, evaluation: Evaluation) -> Verdict:
    """The verdict on a trained run. The first rule that is not met decides."""
    gold = _deciding(status.comparisons)
    if gold is None or not _known(gold.reference, gold.candidate, gold.uplift, gold.lower):
        return Verdict(False, "NotMeasured", "The candidate's scores on the gold set, or their bounds, are not known.")
    said = _say(gold, status)
    for problem in (
        _minimum(gold, evaluation),
        _uplift(gold, evaluation),
        _fresh(status.comparisons),
        _guard(status.comparisons, evaluation),
        _segments(status, evaluation),
    ):
        if problem is not None:
            return Verdict(False, problem[0], f"{said}; {problem[1]}")
    notes = [note for note in (_small_fresh(status.comparisons), _small_segments(status, evaluation)) if note]
    return Verdict(True, "Accepted", ". ".join([said, *notes]) + ".")


def _deciding(comparisons: Sequence[Comparison]) -> Comparison | None:
    """On gold: against the model that serves if there is one, else against the base."""
    return _find(comparisons, ComparisonSet.GOLD, Reference.STABLE) or _find(
        comparisons, ComparisonSet.GOLD, Reference.BASE
    )


def _find(comparisons: Sequence[Comparison], set_: ComparisonSet, against: Reference) -> Comparison | None:
    return next((c for c in comparisons if c.set is set_ and c.against is against), None)


def _known(*numbers: float | None) -> bool:
    return all(n is not None and math.isfinite(n) for n in numbers)


def _say(gold: Comparison, status: FineTuneRunStatus) -> str:
    look = status.look
    sure = f", {_sureness(look.alpha)} sure" if look is not None else ""
    again = f" at look {look.number}" if look is not None and look.number > 1 else ""
    return (
        f"{gold.metric} {gold.candidate:.3f} on {gold.n} gold examples, {gold.against.value.lower()} "
        f"{gold.reference:.3f}, uplift {gold.uplift:+.3f} (at least {gold.lower:+.3f}{sure}{again})"
    )


def _sureness(alpha: float) -> str:
    """1 - alpha as percent, with as many digits as it takes not to be certain: 97.5%, 99.988%."""
    return f"{1 - alpha:.{max(1, math.ceil(-math.log10(alpha)) - 1)}%}"


Problem = tuple[str, str] | None


def _minimum(gold: Comparison, evaluation: Evaluation) -> Problem:
    wanted = evaluation.acceptance.minimum
    if wanted is None or gold.candidate is None:
        return None
    short = gold.candidate > wanted if gold.metric in LOWER_IS_BETTER else gold.candidate < wanted
    return ("BelowMinimum", f"evaluation.acceptance.minimum asks for {wanted:g}.") if short else None


def _uplift(gold: Comparison, evaluation: Evaluation) -> Problem:
    acceptance = evaluation.acceptance
    lower = gold.lower if gold.lower is not None else -math.inf
    shown = f" So many examples would have shown {gold.smallest:+.3f}." if gold.smallest is not None else ""
    if gold.against is Reference.STABLE:
        if lower >= -acceptance.max_regression:
            return None
        message = (
            "it may be worse than the serving model by more than evaluation.acceptance.maxRegression "
            f"({acceptance.max_regression:g}).{shown}"
        )
        return "Regression", message
    if lower >= acceptance.min_uplift:
        return None
    message = f"evaluation.acceptance.minUplift asks for at least {acceptance.min_uplift:+g} beyond doubt.{shown}"
    return "UpliftTooSmall", message


def _fresh(comparisons: Sequence[Comparison]) -> Problem:
    """Later runs must be better than what serves on the newest examples: a test of tomorrow, not of yesterday."""
    fresh = _find(comparisons, ComparisonSet.FRESH, Reference.STABLE)
    if fresh is None or fresh.n < SMALL:
        return None
    if fresh.lower is not None and math.isfinite(fresh.lower) and fresh.lower > 0:
        return None
    message = (
        f"on {fresh.n} fresh gold examples the uplift over the serving model is {_signed(fresh.uplift)} "
        f"(at least {_signed(fresh.lower)}), not better beyond doubt."
    )
    return "NotBetterOnFreshGold", message


def _small_fresh(comparisons: Sequence[Comparison]) -> str:
    fresh = _find(comparisons, ComparisonSet.FRESH, Reference.STABLE)
    if fresh is None or fresh.n >= SMALL:
        return ""
    return f"{fresh.n} fresh gold examples are too few to decide (under {SMALL})"


def _guard(comparisons: Sequence[Comparison], evaluation: Evaluation) -> Problem:
    if evaluation.guard is None:
        return None
    guard = _find(comparisons, ComparisonSet.GUARD, Reference.BASE)
    allowed = evaluation.guard.max_drop
    if guard is not None and guard.lower is not None and math.isfinite(guard.lower) and guard.lower >= -allowed:
        return None
    if guard is None:
        return "GuardNotMeasured", "evaluation.guard is set, but was not measured."
    message = (
        f"on {guard.n} guard examples {guard.metric} changes by {_signed(guard.uplift)} (at least "
        f"{_signed(guard.lower)}); evaluation.guard.maxDrop allows {-allowed:+g}."
    )
    return "GeneralAbilityLost", message


def _segments(status: FineTuneRunStatus, evaluation: Evaluation) -> Problem:
    """Holm's step-down over the segments (Holm, 1979): together they accuse falsely in at most alpha of the cases."""
    allowed = evaluation.max_segment_regression
    if allowed is None:
        return None
    alpha = status.look.alpha if status.look is not None else 1 - evaluation.acceptance.confidence
    worst = lost(status.segments, alpha, status.segments_tested)
    if not worst:
        return None
    told = ", ".join(f"{s.name} ({_share(s)} of {s.n}, p {s.p:.2g})" for s in worst)
    return "SegmentRegression", f"evaluation.maxSegmentRegression allows {-allowed:+g}, but these lost more: {told}."


def lost(segments: Sequence[SegmentScores], alpha: float, tested: int | None = None) -> list[SegmentScores]:
    """The segments that lost more than they may, beyond doubt at level `alpha` over all that were tested."""
    judged = sorted((s for s in segments if s.p is not None), key=lambda s: s.p or 0.0)
    count = max(tested or 0, len(judged))
    found = []
    for i, segment in enumerate(judged):
        if segment.p is None or segment.p > alpha / (count - i):
            break
        found.append(segment)
    return found


def _small_segments(status: FineTuneRunStatus, evaluation: Evaluation) -> str:
    if evaluation.max_segment_regression is None:
        return ""
    small = [s.name for s in status.segments if s.p is None]
    return f"Segments of under {SMALL} examples are Unknown: {', '.join(small[:5])}" if small else ""


def _share(segment: SegmentScores) -> str:
    before = segment.stable if segment.stable is not None else segment.base
    if before is None or segment.candidate is None:
        return "?"
    return f"{segment.candidate - before:+.3f}"


def _signed(number: float | None) -> str:
    return f"{number:+.3f}" if number is not None and math.isfinite(number) else "unknown"
