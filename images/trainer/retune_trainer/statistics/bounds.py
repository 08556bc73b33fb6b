"""What a paired comparison shows, by the method that fits it: Tango's score for right or wrong, else the bootstrap."""

from __future__ import annotations

import math
from dataclasses import dataclass

from retune_trainer.statistics import bootstrap, smallest_effect, tango
from retune_trainer.statistics.paired import Paired

# A segment with fewer examples is not judged.
SEGMENT = 50


@dataclass(frozen=True)
class Bounds:
    """One-sided bounds of an uplift, and the smallest that could have been shown; None where they cannot be had."""

    lower: float | None
    upper: float | None
    smallest: float | None
    method: str


def bounds(paired: Paired, alpha: float) -> Bounds:
    """Both bounds at one-sided level `alpha` each."""
    if paired.binary:
        n, (gained, lost) = len(paired), paired.changed
        return Bounds(
            tango.lower(gained, lost, n, alpha),
            tango.upper(gained, lost, n, alpha),
            smallest_effect.binary(gained + lost, n, alpha),
            "Tango",
        )
    found = bootstrap.resample(paired, alpha)
    if found is None:
        return Bounds(None, None, None, "Bootstrap")
    lower, upper = found.lower(alpha), found.upper(alpha)
    if not (math.isfinite(lower) and math.isfinite(upper)):
        return Bounds(None, None, None, "Bootstrap")
    return Bounds(lower, upper, smallest_effect.resampled(found, alpha), "Bootstrap")


def regression_p(paired: Paired, allowed: float, alpha: float) -> float | None:
    """How likely so bad a result is if the candidate is at most `allowed` worse; None under `SEGMENT` examples."""
    n = len(paired)
    if n < SEGMENT:
        return None
    if paired.binary:
        gained, lost = paired.changed
        return tango.p_value(lost, gained, n, allowed, alpha)
    found = bootstrap.resample(paired, alpha)
    return found.p_above(-allowed) if found is not None else None
