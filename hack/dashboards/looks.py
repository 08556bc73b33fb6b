"""How values and colours look: Grafana's units as text, Grafana's colour names as CSS variables of two themes."""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import floor, isfinite, log10

COLORS = {
    "blue": ("#2f6fd6", "#7aadff"),
    "orange": ("#d9720f", "#ff9d45"),
    "green": ("#2c8a43", "#62c478"),
    "red": ("#cc342d", "#ff716a"),
    "yellow": ("#b08800", "#e8c34d"),
    "purple": ("#7d4cc2", "#bb98f7"),
    "grey": ("#868c96", "#98a0ab"),
    "teal": ("#15838d", "#4fc5d0"),
    "pink": ("#bf3f7b", "#f283b5"),
    "dark-blue": ("#1b479b", "#4b86e8"),
    "super-light-orange": ("#f2bd8c", "#ffd9b3"),
    "light-orange": ("#e8954f", "#ffbb7a"),
    "dark-orange": ("#a4520b", "#d77c1f"),
}
"""By Grafana's name: on a light and on a dark ground."""
CYCLE = ("blue", "teal", "purple", "pink", "yellow", "green", "orange", "dark-blue", "grey")
"""For series whose colour nobody chose, in this order."""
_GREYS = frozenset({"#8e8e8e", "text", "transparent"})
_SHORT = ((1e9, "B"), (1e6, "M"), (1e3, "K"))
_SPANS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"))


def paint(name: str) -> str:
    """The CSS value of a colour by Grafana's name."""
    return f"var(--{'grey' if name in _GREYS or name not in COLORS else name})"


def shown(value: float, unit: str, decimals: int | None = None) -> str:
    """A value as a reader wants it: 0.254 in percentunit is 25.4 %, 5400 in s is 1.5 h."""
    match unit:
        case "percentunit":
            return f"{_number(value * 100, decimals)} %"
        case "percent":
            return f"{_number(value, decimals)} %"
        case "s":
            return _span(value)
        case "reqps" | "ops":
            return f"{_number(value, decimals)}/s"
        case "locale":
            return f"{value:,.{2 if decimals is None else decimals}f}"
    return _number(value, decimals)


def _number(value: float, decimals: int | None) -> str:
    if decimals is not None:
        return f"{value:,.{decimals}f}"
    for size, letter in _SHORT:
        if abs(value) >= size * 9.9995:
            return f"{value / size:.3g} {letter}"
    if value == 0 or (abs(value) >= 1e-4 and abs(value) < 1e4):
        places = max(0, 2 - floor(log10(abs(value)))) if value else 0
        return f"{value:.{min(places, 6)}f}".rstrip("0").rstrip(".") if places else f"{value:.0f}"
    return f"{value:.2g}"


def _span(value: float) -> str:
    for size, name in _SPANS:
        if abs(value) >= size:
            return f"{value / size:.3g} {name}"
    return f"{value:.3g} s" if abs(value) >= 1 or value == 0 else f"{value * 1000:.3g} ms"


def color_of(value: float, steps: Sequence[dict[str, object]]) -> str:
    """The colour of the last threshold that `value` has reached."""
    name = "grey"
    for step in steps:
        least = step.get("value")
        if not isinstance(least, (int, float)) or value >= least:
            name = str(step["color"])
    return name


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round values from `low` to `high`, about `count` of them: steps of 1, 2, 2.5 or 5 times a power of ten."""
    span = high - low
    if not isfinite(span) or span <= 0:
        return [low]
    rough = span / count
    power = 10.0 ** floor(log10(rough))
    step = next(power * size for size in (1, 2, 2.5, 5, 10) if power * size >= rough * 0.999)
    first = floor(low / step + 1e-9) * step
    found = [first + step * n for n in range(count * 3)]
    return [round(value, 12) for value in found if low - step * 1e-6 <= value <= high + step * 1e-6]


def moments(start: float, end: float, count: int = 6) -> list[tuple[float, str]]:
    """Round moments (Unix time, UTC) with how they are written: the time, or over more than two days the date."""
    span = end - start
    sizes = (5, 10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000)
    step = next((size for size in sizes if span / size <= count), 2592000)
    first = -(-start // step) * step
    form = "%d %b" if step >= 86400 else "%H:%M:%S" if step < 60 else "%H:%M" if span <= 2 * 86400 else "%d %b %H:%M"
    return [
        (at, datetime.fromtimestamp(at, UTC).strftime(form))
        for at in (first + step * n for n in range(count + 2))
        if at <= end
    ]
