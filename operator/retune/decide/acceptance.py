"""Is the candidate good enough to be published? The scores are the pod's, the judgement is ours."""

from dataclasses import dataclass

from retune.api import Acceptance, Scores


@dataclass(frozen=True)
class Verdict:
    """`accepted`, with a PascalCase reason and a message that holds the numbers."""

    accepted: bool
    reason: str
    message: str


def judge(scores: Scores, acceptance: Acceptance) -> Verdict:
    """Compare point estimates with `minimum` and `minUplift`. Confidence bounds are not used yet: docs/fields.md."""
    metric, base, candidate = scores.metric, scores.base or 0.0, scores.candidate or 0.0
    said = f"{metric} {candidate:.3f} on {scores.n} gold examples, base {base:.3f}, uplift {candidate - base:+.3f}"
    if acceptance.minimum is not None and candidate < acceptance.minimum:
        return Verdict(False, "BelowMinimum", f"{said}; evaluation.acceptance.minimum asks for {acceptance.minimum:g}.")
    if acceptance.min_uplift is not None and candidate - base < acceptance.min_uplift:
        return Verdict(
            False, "UpliftTooSmall", f"{said}; evaluation.acceptance.minUplift asks for {acceptance.min_uplift:+g}."
        )
    return Verdict(True, "Accepted", f"{said}.")
