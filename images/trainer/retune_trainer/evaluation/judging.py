"""From answers to comparisons, scores and segments, as the contract has them. Pure; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retune_stores.errors import InputError
from retune_trainer.config import RunConfig
from retune_trainer.evaluation.asking import Answers
from retune_trainer.learning.interface import Which
from retune_trainer.statistics.bounds import SEGMENT, Bounds, bounds, regression_p
from retune_trainer.statistics.paired import Paired

GOLD, FRESH, GUARD = "Gold", "Fresh", "Guard"
AGAINST = {Which.BASE: "Base", Which.STABLE: "Stable"}


def level(config: RunConfig) -> float:
    """The one-sided level of this look: the operator's, or that of a first and only look."""
    given = config.expected.alpha
    return given if given is not None else 1 - config.spec.evaluation.acceptance.confidence


def judge(config: RunConfig, found: Sequence[Answers]) -> dict[str, Any]:
    """`comparisons`, `scores`, `metrics`, `segments`, `segmentsTested`, `alpha` and `bound`. Gold is the first set.

    Raises:
        InputError: the weights of a set's examples are all 0.
    """
    alpha = level(config)
    gold = found[0]
    comparisons, methods = [], []
    for answers in found:
        for reference in answers.asked.models:
            if reference is not Which.CANDIDATE:
                comparison, method = _compare(answers, reference, alpha)
                comparisons.append(comparison)
                methods.append(method)
    # The serving model is asked after the base, and decides if there is one.
    last = max(index for index, each in enumerate(comparisons) if each["set"] == GOLD)
    decisive = comparisons[last]
    metrics = {
        name: {which.value: _rounded(_score(gold, which, name)) for which in gold.asked.models}
        for name in gold.asked.metrics
    }
    segments = _segments(gold, config.spec.evaluation.max_segment_regression, alpha)
    return {
        "alpha": alpha,
        "bound": methods[last],
        "scores": {
            "metric": gold.asked.deciding,
            **metrics[gold.asked.deciding],
            "uplift": decisive["uplift"],
            "interval": [decisive["lower"], decisive["upper"]],
            "n": decisive["n"],
        },
        "comparisons": comparisons,
        "metrics": metrics,
        "segments": segments,
        "segmentsTested": sum(segment["p"] is not None for segment in segments),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)


def _score(answers: Answers, which: Which, name: str, rows: Sequence[int] | None = None) -> float | None:
    each = answers.contributions(which, name)
    chosen = each if rows is None else [each[row] for row in rows]
    return answers.asked.metrics[name].aggregate(chosen)


def _paired(answers: Answers, reference: Which, rows: Sequence[int]) -> Paired:
    name = answers.asked.deciding
    ours, theirs = answers.contributions(Which.CANDIDATE, name), answers.contributions(reference, name)
    return Paired.of(
        [theirs[row][0] for row in rows],
        [ours[row][0] for row in rows],
        [ours[row][1] for row in rows],
        exponential=answers.asked.metrics[name].exponential,
    )


def _compare(answers: Answers, reference: Which, alpha: float) -> tuple[dict[str, Any], str]:
    asked = answers.asked
    metric = asked.metrics[asked.deciding]
    paired = _paired(answers, reference, range(len(asked.examples)))
    if paired.weights.sum() <= 0:
        message = (
            f"every example of the {asked.name.lower()} set weighs 0; a mistake on some of them must cost something"
        )
        raise InputError("DatasetMalformed", "spec.dataset.weightField", message)
    then, now = _score(answers, reference, asked.deciding), _score(answers, Which.CANDIDATE, asked.deciding)
    known = then is not None and now is not None
    shown = bounds(paired, alpha) if known else Bounds(None, None, None, "Bootstrap")
    uplift = (then - now if metric.exponential else now - then) if then is not None and now is not None else None
    comparison = {
        "set": asked.name,
        "against": AGAINST[reference],
        "metric": asked.deciding,
        "reference": _rounded(then),
        "candidate": _rounded(now),
        "uplift": _rounded(uplift),
        "lower": _rounded(shown.lower),
        "upper": _rounded(shown.upper),
        "n": len(asked.examples),
        "smallest": _rounded(shown.smallest),
    }
    return comparison, shown.method


def _segments(gold: Answers, allowed: float | None, alpha: float) -> list[dict[str, Any]]:
    """All segments, those first that most likely lost more than is allowed."""
    rows: dict[str, list[int]] = {}
    for row, example in enumerate(gold.asked.examples):
        if example.segment is not None:
            rows.setdefault(example.segment, []).append(row)
    name, models = gold.asked.deciding, gold.asked.models
    reference = Which.STABLE if Which.STABLE in models else Which.BASE
    tested = sum(len(each) >= SEGMENT for each in rows.values())
    segments: list[dict[str, Any]] = []
    for segment, chosen in sorted(rows.items()):
        scores = {which.value: _rounded(_score(gold, which, name, chosen)) for which in models}
        p = None
        if allowed is not None and None not in scores.values():
            # Whoever corrects for many segments asks for levels as small as this.
            p = regression_p(_paired(gold, reference, chosen), allowed, alpha / max(1, tested))
        segments.append({"name": segment, "n": len(chosen), **scores, "p": None if p is None else float(f"{p:.4g}")})
    return sorted(segments, key=lambda each: (each["p"] is None, each["p"] or 0.0, each["name"]))
