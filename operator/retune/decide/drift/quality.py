"""Whether the serving model answers worse than it did, and how often people override it. Pure.

The drop is measured over several lengths of time at once, so that a large one is found soon and a small one at all;
each has its share of the chance of error (`rates.ALPHA`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from retune.decide.drift import rates
from retune.decide.drift.clocks import Reading
from retune.decide.drift.evidence import Counted, ProbeResult
from retune.decide.drift.tallies import Tally, by_five, count, fresh

HOUR = 3600.0
PROBES = (1, 2, 4, 8, 16)  # last probes that are looked at together
OLDEST = 7 * 86_400.0  # s, of a probe
HOURS = (1, 6, 24)  # of rated answers, the same
PIECE = 300.0  # s
MINUTE = 60.0
FEWEST_PROBED = 50  # answers
FEWEST_RATED = 500  # answers
FEWEST_ANSWERS = 100  # for OverrideRate
BASE_ALPHA = 0.001  # that the first rated answers of a model were that much better than it is


@dataclass(frozen=True)
class Quality:
    """What is known of the serving model's answers.

    Attributes:
        probes: (name, at, answered, score), oldest first.
        base: (bad, total) of its first rated answers.
        rated: of those after them.
        overrides: of all answers.
        heard: when a tap last told of rated answers, and of overrides; seconds since the epoch.
    """

    probes: tuple[tuple[str, float, int, float], ...] = ()
    base: tuple[int, int] = (0, 0)
    rated: Tally = field(default_factory=lambda: Tally(PIECE, 289))
    overrides: Tally = field(default_factory=lambda: Tally(MINUTE, 1441))
    heard: tuple[float | None, float | None] = (None, None)


def restarted(quality: Quality) -> Quality:
    """Another model serves: what was said of the one before does not count; windows already read stay read."""
    rated, overrides = replace(quality.rated, pieces={}), replace(quality.overrides, pieces={})
    return Quality(rated=rated, overrides=overrides, heard=quality.heard)


def learn(
    quality: Quality,
    probe: ProbeResult | None,
    rated: Sequence[Counted] | None,
    overrides: Sequence[Counted] | None,
    *,
    since: float,
    base: int,
    now: float,
) -> Quality:
    """After a look. `since`: when the model began to serve; `base`: how many rated answers it is measured against."""
    probes = quality.probes
    if probe is not None and probe.answered > 0 and probe.at >= since and probe.name not in {p[0] for p in probes}:
        probes = (*probes, (probe.name, probe.at, probe.answered, probe.score))
    probes = tuple(p for p in sorted(probes, key=lambda p: p[1]) if now - p[1] < OLDEST)[-max(PROBES) :]
    quality = replace(quality, probes=probes)
    if rated is not None:
        tally, new = fresh(quality.rated, rated, now=now, last=quality.heard[0])
        new = [window for window in new if window.start > since]
        first, later = _split(quality.base, new, base)
        tally = count(tally, later, now)
        quality = replace(quality, rated=tally, base=first, heard=(now, quality.heard[1]))
    if overrides is not None:
        tally, new = fresh(quality.overrides, overrides, now=now, last=quality.heard[1])
        tally = count(tally, [window for window in new if window.start > since], now)
        quality = replace(quality, overrides=tally, heard=(quality.heard[0], now))
    return quality


def drop(
    quality: Quality,
    threshold: float,
    fewest: int | None,
    accepted: float | None,
    *,
    base: int,
    every: float,
    now: float,
) -> Reading:
    """QualityDrop: how much worse than when it was accepted; by probes, or by rated answers where there are more."""
    rated = sum(n for _, n in quality.rated.within(max(HOURS) * HOUR, now))
    recent = bool(quality.probes) and now - quality.probes[-1][1] <= max(HOUR / 12, 10 * every)
    probed = sum(p[2] for p in quality.probes)
    probing = recent and accepted is not None
    if rated > (probed if probing else 0) or (not probing and quality.base[1]):
        if quality.heard[0] != now:
            return Reading(None, message="no tap answered")
        return _rated(quality, threshold, FEWEST_RATED if fewest is None else fewest, base=base, now=now)
    if accepted is None:
        return Reading(
            None, message="the serving model's accuracy on gold is not known, and too few answers were rated"
        )
    if not recent:
        return Reading(None, message="no probe of the serving model has ended lately")
    if probed < (needed := FEWEST_PROBED if fewest is None else fewest):
        return Reading(None, samples=probed, message=f"{probed} of {needed} answers to probes")
    best: tuple[float, float, int] | None = None
    for last in PROBES[: sum(size <= len(quality.probes) for size in PROBES)]:
        some = quality.probes[-last:]
        answered, score = sum(p[2] for p in some), sum(p[3] for p in some)
        least = accepted - rates.upper(score, answered, rates.ALPHA / len(PROBES))
        if best is None or least > best[0]:
            best = (least, accepted - score / answered, answered)
    return _drop(best, threshold, "answers to probes")


def overridden(quality: Quality, threshold: float, fewest: int | None, now: float) -> Reading:
    """OverrideRate: the share of stable's answers of the last hour that people overrode."""
    if quality.heard[1] != now:
        return Reading(None, message="no tap answered")
    pieces = quality.overrides.within(HOUR, now)
    bad, total = sum(b for b, _ in pieces), sum(n for _, n in pieces)
    if total < (needed := FEWEST_ANSWERS if fewest is None else fewest):
        return Reading(None, samples=total, message=f"{total} of {needed} answers in the last hour")
    phi = rates.dispersion(by_five(quality.overrides))
    least = rates.lower(bad / phi, total / phi, rates.ALPHA)
    said = f"{bad} of {total} answers overridden in the last hour; the rate is at least {least:.3g}"
    return Reading(least > threshold, bad / total, total, message=said)


def _rated(quality: Quality, threshold: float, needed: int, *, base: int, now: float) -> Reading:
    first_bad, first = quality.base
    if first < base:
        return Reading(None, samples=first, message=f"{first} of {base} rated answers since the model serves")
    usual = rates.upper(first_bad, first, BASE_ALPHA)
    phi = rates.dispersion(by_five(quality.rated))
    best: tuple[float, float, int] | None = None
    for hours in HOURS:
        pieces = quality.rated.within(hours * HOUR, now)
        bad, total = sum(b for b, _ in pieces), sum(n for _, n in pieces)
        if total < needed:
            continue
        least = rates.lower(bad / phi, total / phi, rates.ALPHA / len(HOURS)) - usual
        if best is None or least > best[0]:
            best = (least, bad / total - first_bad / first, total)
    if best is None:
        total = sum(n for _, n in quality.rated.within(max(HOURS) * HOUR, now))
        return Reading(None, samples=total, message=f"{total} of {needed} rated answers in the last day")
    return _drop(best, threshold, "rated answers")


def _drop(best: tuple[float, float, int] | None, threshold: float, of: str) -> Reading:
    if best is None:
        return Reading(None, message=f"too few {of}")
    least, value, total = best
    said = f"{total} {of}; accuracy has dropped by at least {max(0.0, least):.3g}"
    return Reading(least > threshold, value, total, message=said)


def _split(base: tuple[int, int], new: list[Counted], needed: int) -> tuple[tuple[int, int], list[Counted]]:
    """The first rated answers of a model, and those after them."""
    bad, total = base
    for index, window in enumerate(new):
        if total >= needed:
            return (bad, total), new[index:]
        bad, total = bad + window.bad, total + window.total
    return (bad, total), []
