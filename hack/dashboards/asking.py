"""Questions to a Prometheus, as Grafana asks them: variables filled in, a panel's queries over a time range.

Reads over HTTP from the address it is given, and changes nothing.
"""

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, NamedTuple

Raw = dict[str, Any]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_LABEL_VALUES = re.compile(r"label_values\((.+),\s*(\w+)\)")


class RefusedError(Exception):
    """Prometheus does not answer, or not with data; says what was asked."""


class Series(NamedTuple):
    """One series: its labels and its finite samples, (Unix time, value)."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True)
class Span:
    """The time that a dashboard shows."""

    start: datetime
    end: datetime

    @classmethod
    def of(cls, board: Raw, end: datetime, since: str = "") -> "Span":
        """A dashboard's own range up to `end`, or `since` (such as 30m) before it."""
        return cls(end - timedelta(seconds=_seconds(since or board["time"]["from"].removeprefix("now-"))), end)

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end - self.start).total_seconds()

    @property
    def step(self) -> int:
        """Seconds between two samples: some 300 of them, and never less than 5 s."""
        return max(5, round(self.seconds / 300))


@dataclass(frozen=True)
class Prometheus:
    """A Prometheus at `url`."""

    url: str

    def instant(self, expr: str, at: datetime) -> list[Series]:
        """The samples of one moment.

        Raises:
            RefusedError: it does not answer, or not with a vector.
        """
        return self._ask("query", {"query": expr, "time": str(at.timestamp())})

    def range(self, expr: str, span: Span) -> list[Series]:
        """The samples of a time range.

        Raises:
            RefusedError: it does not answer, or not with a matrix.
        """
        start, end = str(span.start.timestamp()), str(span.end.timestamp())
        return self._ask("query_range", {"query": expr, "start": start, "end": end, "step": str(span.step)})

    def _ask(self, what: str, fields: Mapping[str, str]) -> list[Series]:
        url, body = f"{self.url.rstrip('/')}/api/v1/{what}", urllib.parse.urlencode(fields).encode()
        try:
            with urllib.request.urlopen(url, body, timeout=30) as answer:  # noqa: S310 - http(s), given by the caller
                data = json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            said = error.read(500).decode(errors="replace")
            raise RefusedError(f"{fields['query']}: HTTP {error.code} {said}") from error
        except (OSError, ValueError, KeyError) as error:
            raise RefusedError(f"{fields['query']}: {error}") from error
        if data["resultType"] == "scalar":
            return [Series({}, _finite([data["result"]]))]
        if data["resultType"] not in ("vector", "matrix"):
            raise RefusedError(f"{fields['query']}: a {data['resultType']} is nothing to draw")
        return [Series(s["metric"], _finite(s.get("values") or [s["value"]])) for s in data["result"]]


def chosen(board: Raw, given: Mapping[str, str], prometheus: Prometheus, span: Span) -> dict[str, str]:
    """A value for each of a dashboard's variables: as given, else All or the first there is, as Grafana would choose.

    Raises:
        RefusedError: Prometheus does not answer.
    """
    values = dict(given)
    for variable in board["templating"]["list"]:
        name, asks = variable["name"], _LABEL_VALUES.fullmatch(str(variable.get("query")))
        if name in values or variable["type"] != "query" or asks is None:
            continue
        if variable.get("includeAll"):
            values[name] = variable["allValue"]
            continue
        selector, label = filled(asks[1], values, span), asks[2]
        found = prometheus.instant(f"group by ({label}) (last_over_time({selector}[{span.seconds:.0f}s]))", span.end)
        values[name] = min((s.labels.get(label, "") for s in found), default="")
    return values


def filled(text: str, values: Mapping[str, str], span: Span) -> str:
    """`text` with its variables filled in, Grafana's own for time among them; unknown ones stay.

    The rate interval is four steps and at least a minute, so that there are two samples in it.
    """
    times = {
        "__rate_interval": f"{max(60, 4 * span.step)}s",
        "__interval": f"{span.step}s",
        "__range": f"{span.seconds:.0f}s",
    }
    known = {**values, **times}
    return _VARIABLE.sub(lambda match: known.get(match[1] or match[2], match[0]), text)


def named(legend: str, series: Series) -> str:
    """How a series is called: its legend with labels filled in; without a legend, all of its labels."""
    if legend in ("", "__auto"):
        return ", ".join(f"{k}={v}" for k, v in sorted(series.labels.items()) if k != "__name__") or "value"
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda match: series.labels.get(match[1], ""), legend)


def panels(board: Raw) -> list[Raw]:
    """A dashboard's panels that ask something."""
    return [panel for panel in board["panels"] if panel.get("targets")]


def _finite(points: Sequence[Sequence[Any]]) -> list[tuple[float, float]]:
    return [(float(at), float(value)) for at, value in points if isfinite(float(value))]


def _seconds(text: str) -> int:
    return int(text[:-1]) * _UNITS[text[-1]]
