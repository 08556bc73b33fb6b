"""How numbers, times and names are put into words. Pure; the only place that knows units and digits."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation

MINUS = "\N{MINUS SIGN}"
DASH = "\N{EN DASH}"
THIN = "\N{NO-BREAK SPACE}"

FRACTIONS = frozenset({"ExactMatch", "TokenF1", "JsonValid", "Top1", "Top3"})
"""Metrics from 0 to 1, whose differences are told in percent points. Perplexity is none of them."""

METRICS = {
    "ExactMatch": "exact match",
    "TokenF1": "token F1",
    "JsonValid": "valid JSON",
    "Top1": "accuracy (Top1)",
    "Top3": "accuracy (Top3)",
    "Perplexity": "perplexity",
}

LIMITS = {
    ("data", "examples"): ("minExamples", "at least"),
    ("data", "duplicateFraction"): ("maxDuplicateFraction", "at most"),
    ("data", "conflictFraction"): ("maxConflictFraction", "at most"),
    ("data", "agreement"): ("minLabelAgreement", "at least"),
    ("data", "divergence"): ("productionBalance.maxDivergence", "at most"),
    ("leakage", "exact"): ("maxExact", "at most"),
    ("leakage", "nearFraction"): ("maxNearFraction", "at most"),
    ("baseline", "score"): ("goodEnough", "below"),
    ("payback", "months"): ("maxMonths", "at most"),
}
"""Which limit of `spec.gates.GATE` a gate's number is held against, and how."""

_NAMES = {
    "nearDuplicates": "near duplicates",
    "agreement": "agreement (Krippendorff's alpha)",
    "divergence": "distance from production's mix",
    "tooLong": "longer than maxLength",
    "tooLongFraction": "share longer than maxLength",
    "heldOut": "held out",
    "gold": "gold examples",
    "exact": "exact copies in training",
    "near": "near copies in training",
    "nearFraction": "share with a near copy",
    "rows": "rows with any",
    "redacted": "redacted before training",
    "n": "gold examples asked",
    "failed": "requests failed",
    "duplicateFraction": "share of duplicates",
    "conflictFraction": "share of conflicts",
    "empty": "empty rows",
    "spentOnTraining": "spent on training",
    "upfront": "to be earned back",
    "months": "payback",
    "maxMonths": "longest payback allowed",
    "monthlyToday": "a month with the model of today",
    "monthlyTuned": "a month with the tuned model",
    "monthlyValue": "a month from better answers",
    "monthlyGain": "gain a month",
    "oneOffCost": "one-off cost",
    "seconds": "time",
}
_MONEY = {
    ("baseline", "cost"),
    *(("payback", n) for n in ("monthlyToday", "monthlyTuned", "monthlyValue", "monthlyGain")),
    *(("payback", n) for n in ("oneOffCost", "spentOnTraining", "upfront")),
    *(("budget", n) for n in ("spent", "committed", "released")),
}


def words(name: str) -> str:
    """`nearDuplicates` as people write it; a name all in capitals, such as EMAIL_ADDRESS, stays."""
    if name in _NAMES:
        return _NAMES[name]
    return name if name.isupper() else re.sub(r"(?<=[a-z0-9])([A-Z])", r" \1", name).lower()


def metric(name: str | None) -> str:
    """A metric's name for a reader."""
    return METRICS.get(name or "", name or "score")


def signed(text: str) -> str:
    """A number with a true minus sign."""
    return text.replace("-", MINUS)


def count(number: float | None) -> str:
    """A whole number: 12,345."""
    return DASH if number is None else signed(f"{number:,.0f}")


def score(value: float | None) -> str:
    """A score by any metric, to three decimals: 0.847."""
    return DASH if value is None else signed(f"{value:,.3f}")


def number(value: float | None) -> str:
    """A number of no known unit: whole if it is, else to three digits after the point."""
    return count(value) if value is not None and value == round(value) else score(value)


def percent(share: float | None) -> str:
    """A share from 0 to 1: 4.2 %."""
    return DASH if share is None else signed(f"{100 * share:.{2 if 0 < abs(share) < 0.001 else 1}f}{THIN}%")


def sureness(alpha: float) -> str:
    """The confidence of a bound at level `alpha`, never rounded up to certainty: 95.0 %, 99.988 %."""
    digits = max(1, -math.floor(math.log10(alpha)) - 1) if alpha > 0 else 1
    return f"{100 * (1 - alpha):.{digits}f}{THIN}%"


def difference(value: float | None, name: str | None, *, unit: bool = True) -> str:
    """A difference of scores by metric `name`, with its sign: +6.3 pp, or +0.412 where scores are no fractions."""
    if value is None:
        return DASH
    if name not in FRACTIONS:
        return signed(f"{value:+,.3f}")
    points = round(100 * value, 1) + 0.0  # never -0.0
    return signed(f"{points:+.1f}") + (f"{THIN}pp" if unit else "")


def interval(lower: float | None, upper: float | None, name: str | None) -> str:
    """Both bounds of a difference: +1.9 to +10.7 pp."""
    if lower is None and upper is None:
        return "no bounds"
    low = "no lower bound" if lower is None else difference(lower, name, unit=False)
    high = "no upper bound" if upper is None else difference(upper, name)
    return f"{low} to {high}"


def size(value: float | None, name: str | None) -> str:
    """A difference without its sign: 5.2 pp."""
    return DASH if value is None else difference(abs(value), name).lstrip("+")


def money(amount: str | float | None, currency: str | None) -> str:
    """An amount with its currency before it: EUR 1,234.50."""
    try:
        value = Decimal(str(amount)) if amount is not None else None
    except InvalidOperation:
        value = None
    if value is None or not value.is_finite():
        return DASH
    places = 4 if 0 < abs(value) < Decimal("0.01") else 2
    return signed(f"{currency or ''}{THIN if currency else ''}{value:,.{places}f}")


def duration(seconds: float | None) -> str:
    """A span of time in its two largest units: 2 h 14 min."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return DASH
    if 0 < seconds < 10:
        return f"{seconds:.1f}{THIN}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{THIN}s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(i for i, (number, _) in enumerate(units) if number)
    return " ".join(f"{number}{THIN}{name}" for number, name in units[first : first + 2] if number)


def answer_time(seconds: float | None) -> str:
    """How long an answer takes, to three digits: 420 ms, 1.24 s."""
    if seconds is None or not math.isfinite(seconds) or seconds < 0:
        return DASH
    return f"{1000 * seconds:.0f}{THIN}ms" if seconds < 1 else f"{float(f'{seconds:.3g}'):,g}{THIN}s"


def device_time(seconds: float | None) -> str:
    """Seconds of devices, as hours where there are enough: 1.92 h."""
    if seconds is None:
        return DASH
    return f"{seconds / 3600:,.2f}{THIN}h" if seconds >= 360 else duration(seconds)


def parsed(time: str | None) -> datetime | None:
    """A moment in UTC, or None if it is none."""
    try:
        moment = datetime.fromisoformat(time) if time else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def moment(time: str | None) -> str:
    """A moment to the minute: 2026-03-14 09:26 UTC."""
    found = parsed(time)
    return DASH if found is None else f"{found:%Y-%m-%d %H:%M}{THIN}UTC"


def between(start: str | None, end: str | None) -> float | None:
    """Seconds from one moment to another."""
    first, last = parsed(start), parsed(end)
    return (last - first).total_seconds() if first is not None and last is not None else None


def digest(full: str | None) -> str:
    """The first twelve of a digest's hexadecimals, with its kind: sha256:3f2a91c04bd7."""
    if not full:
        return DASH
    kind, colon, rest = full.rpartition(":")
    return f"{kind}{colon}{rest[:12]}" + ("…" if len(rest) > 12 else "")


def months(number: float | None) -> str:
    """A span in months: 5.2 months."""
    return DASH if number is None else f"{number:,.{0 if number == round(number) else 1}f}{THIN}months"


def reading(gate: str, name: str, value: float, currency: str | None) -> str:
    """A gate's number with its unit."""
    if (gate, name) in _MONEY:
        return money(round(value, 6), currency)
    if name == "redacted":
        return "yes" if value else "no"
    if name in {"months", "maxMonths"}:
        return months(value)
    if name == "seconds":
        return duration(value)
    if name.endswith("Fraction"):
        return percent(value)
    return score(value) if name in {"score", "agreement", "divergence"} else number(value)


def sentences(text: str) -> tuple[str, str]:
    """The first sentence, with a full stop, and the rest."""
    parts = re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.strip(), maxsplit=1)
    first = parts[0] if not parts[0] or parts[0][-1] in ".!?…" else f"{parts[0]}."
    return first, parts[1] if len(parts) > 1 else ""
