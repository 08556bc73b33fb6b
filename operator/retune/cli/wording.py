"""Times, money and numbers as a person reads them. Pure."""

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_AGES = ((86400, "d"), (3600, "h"), (60, "m"))


def clock(seconds: float) -> str:
    """Seconds as a stopwatch shows them: 0:09, 12:34, 1:02:03."""
    whole = max(0, int(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def age(since: datetime | None, now: datetime) -> str:
    """How long ago, in one unit, as kubectl shows ages: 45s, 12m, 3h, 9d; "-" if that is not known."""
    if since is None:
        return "-"
    seconds = max(0, int((now - since).total_seconds()))
    return next((f"{seconds // size}{unit}" for size, unit in _AGES if seconds >= 2 * size), f"{seconds}s")


def money(amount: object, currency: object = "") -> str:
    """An amount with two places, or with as many as a small one needs: 12.40 EUR, 0.0031 EUR."""
    try:
        value = Decimal(str(amount))
    except InvalidOperation:
        return str(amount)
    places = 4 if 0 < abs(value) < Decimal("0.1") else 2
    return f"{value:.{places}f} {currency}".strip()


def score(value: float | None) -> str:
    """A score with three places."""
    return "-" if value is None else f"{value:.3f}"


def gain(value: float | None) -> str:
    """A difference of scores, with its sign."""
    return "-" if value is None else f"{value:+.3f}"


def bounds(lower: float | None, upper: float | None) -> str:
    """Where a gain may lie: +0.620 to +0.780."""
    return "-" if lower is None and upper is None else f"{gain(lower)} to {gain(upper)}"


def words(name: str) -> str:
    """`exactDuplicates` as words. Names in capitals, such as kinds of personal data, stay."""
    return name if name.isupper() else _CAMEL.sub(" ", name).lower()


def reading(name: str, value: float) -> str:
    """One measured number with its name: `near duplicates 12`, `duplicate fraction 1.9%`."""
    if name.endswith("Fraction"):
        shown = f"{value * 100:.3g}%"
    else:
        shown = f"{int(value)}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"
    return f"{words(name)} {shown}"


def listed(names: list[str]) -> str:
    """Names in a sentence: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]])) if names else ""


def rate(part: object, whole: object) -> str:
    """A count of bad ones with its share: 3/412 (0.73%)."""
    if not isinstance(part, int | float) or not isinstance(whole, int | float):
        return "-"
    return f"{part:.0f}/{whole:.0f}" + (f" ({part / whole * 100:.2g}%)" if whole else "")


def hours(count: float) -> str:
    """A span of hours as a plan names it: 40 minutes, 2.5 hours, 3 days."""
    if count < 1:
        return f"{max(1, round(count * 60))} minutes"
    return f"{count:.2g} hours" if count < 72 else f"{count / 24:.2g} days"
