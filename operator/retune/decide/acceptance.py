"""Is the candidate good enough to be published? The scores are the pod's, the judgement is ours."""

import math
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
    metric, base, candidate = scores.metric, scores.base, scores.candidate
    if base is None or candidate is None or not (math.isfinite(base) and math.isfinite(candidate)):
        return Verdict(False, "NotMeasured", f"{metric} of base ({base}) or candidate ({candidate}) is not known.")
    uplift = round(candidate - base, 6)  # what is shown is what decides: 0.12 - 0.1 is 0.02
    said = f"{metric} {candidate:.3f} on {scores.n} gold examples, base {base:.3f}, uplift {uplift:+.3f}"
    if acceptance.minimum is not None and candidate < acceptance.minimum:
        return Verdict(False, "BelowMinimum", f"{said}; evaluation.acceptance.minimum asks for {acceptance.minimum:g}.")
    if acceptance.min_uplift is not None and uplift < acceptance.min_uplift:
        return Verdict(
            False, "UpliftTooSmall", f"{said}; evaluation.acceptance.minUplift asks for {acceptance.min_uplift:+g}."
        )
    return Verdict(True, "Accepted", f"{said}.")
