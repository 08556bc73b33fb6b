"""Counters of the past out of Prometheus, by its range queries: of the stop-losses' own queries, or of the taps.

Raw counters are asked for, never rate() or increase(): those hide resets, and guess at the edges.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import Request, urlopen

from retune.api.quantity import seconds
from retune.api.rollout import StopLoss, StopLossBuiltin
from retune.cli.failure import Failure
from retune.cli.replay.trace import ARMS, Key, Sample, Trace, trace
from retune.cli.replay.unusable import UnusableError

TIMEOUT = 60  # s, of one query
POINTS = 10_000  # of one query; Prometheus gives at most 11,000
# What the taps say of a builtin, bad and total, by public model and arm; of Slow as far as a histogram has its edge.
_TAPS = {
    StopLossBuiltin.ERRORS: ("retune_tap_errors_total{of}", "retune_tap_requests_total{of}"),
    StopLossBuiltin.OVERRIDES: ("retune_tap_overrides_total{of}", "retune_tap_requests_total{of}"),
    StopLossBuiltin.INVALID_OUTPUT: ("retune_tap_invalid_output_total{of}", "retune_tap_requests_total{of}"),
}
_SLOW = (
    "{name}_count{of} - ignoring(le) {name}_bucket{within}",
    "{name}_count{of} and ignoring(le) {name}_bucket{within}",
)


@dataclass(frozen=True)
class Window:
    """What is asked for: seconds since the epoch, and seconds between two polls."""

    begin: float
    end: float
    every: float


def window(begin: str, end: str | None, every: str) -> Window:
    """What the user means by --from, --to and --every.

    Raises:
        UnusableError: one of them is no time, or there is nothing between them.
    """
    now = datetime.now(UTC)
    since, until = _moment("--from", begin, now), _moment("--to", end, now) if end else now
    try:
        apart = seconds(every)
    except ValueError as error:
        raise UnusableError(f"--every {error}") from error
    if since >= until or apart < 1:
        raise UnusableError("--from must lie before --to, and --every be a second at least")
    return Window(since.timestamp(), until.timestamp(), apart)


def read_prometheus(url: str, losses: Sequence[StopLoss], model: str, asked: Window) -> Trace:
    """The counters of both arms.

    Args:
        url: of the Prometheus server.
        losses: the stop-losses.
        model: public name of the model, by which the taps' series are known.
        asked: from when to when.

    Raises:
        UnusableError: it knows nothing of any of them; names the queries.
        Failure: it does not answer, or does not take a query.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise UnusableError(f"--prometheus {url}: write its address, such as http://localhost:9090")
    samples: list[Sample] = []
    queries = []
    for loss in losses:
        for arm in ARMS:
            wanted = _queries(loss, model)
            if wanted is None:
                continue
            bad, total = (query.replace("$arm", arm) for query in wanted)
            queries.append(total)
            samples += _samples(Key(loss.name, arm), _range(url, bad, asked), _range(url, total, asked), asked)
    if not samples:
        raise UnusableError(
            f"{url} has nothing between these times for any of: {'; '.join(queries) or 'nothing that was asked'}"
        )
    return trace(sorted(samples, key=lambda sample: sample.time))


def _queries(loss: StopLoss, model: str) -> tuple[str, str] | None:
    """The queries for bad and for total, with `$arm` in them; None: the taps export nothing of it."""
    if loss.bad is not None and loss.total is not None:
        return loss.bad, loss.total
    if loss.builtin is None:
        raise UnusableError(f"stop-loss {loss.name} has neither builtin nor bad and total; give it one of them")
    of = f'{{model={json.dumps(model)},arm="$arm"}}'
    if loss.builtin in _TAPS:
        bad, total = (query.replace("{of}", of) for query in _TAPS[loss.builtin])
        return bad, total
    if loss.builtin is StopLossBuiltin.SLOW and loss.slow is not None:
        name = "retune_tap_first_token_seconds" if loss.slow.of == "FirstToken" else "retune_tap_latency_seconds"
        within = f'{of[:-1]},le=~"{loss.slow.seconds:g}([.]0)?"}}'
        bad, total = (query.replace("{name}", name).replace("{of}", of).replace("{within}", within) for query in _SLOW)
        return bad, total
    return None


def _samples(key: Key, bad: "Matrix", total: "Matrix", asked: Window) -> Iterator[Sample]:
    """What was counted since the beginning, at each poll; nothing before there is a total."""
    if not total:
        return
    count = int((asked.end - asked.begin) // asked.every) + 1
    times = [asked.begin + at * asked.every for at in range(count)]
    first = min(min(series) for series in total)
    for time, bads, all_ in zip(times, _risen(bad, times), _risen(total, times), strict=True):
        if time >= first:
            yield Sample(time, key, round(bads), round(all_))


Matrix = list[dict[float, float]]  # a series: value by time


def _risen(matrix: Matrix, times: Sequence[float]) -> Iterator[float]:
    """How much all series together have risen since the first time, resets counted as such."""
    last: list[float | None] = [series.get(times[0]) for series in matrix]
    risen = 0.0
    for at, time in enumerate(times):
        for number, series in enumerate(matrix):
            value = series.get(time)
            if value is None or at == 0:
                continue
            before = last[number] or 0.0
            risen += value - before if value >= before else value
            last[number] = value
        yield risen


def _range(url: str, query: str, asked: Window) -> Matrix:
    """All series of a query, asked for in pieces."""
    found: dict[str, dict[float, float]] = {}
    piece = POINTS * asked.every
    begin = asked.begin
    while begin <= asked.end:
        end = min(asked.end, begin + piece - asked.every)
        told = _ask(url, {"query": query, "start": f"{begin:.3f}", "end": f"{end:.3f}", "step": f"{asked.every:.0f}"})
        for series in told:
            values = found.setdefault(json.dumps(series.get("metric"), sort_keys=True), {})
            for time, text in series.get("values") or ():
                value = float(text)
                if math.isfinite(value):  # NaN is what a stale series ends with
                    at = round((float(time) - asked.begin) / asked.every)
                    values[asked.begin + at * asked.every] = value
        begin = end + asked.every
    return [values for values in found.values() if values]


def _ask(url: str, query: dict[str, str]) -> list[dict[str, list[tuple[float, str]]]]:
    request = Request(f"{url.rstrip('/')}/api/v1/query_range", urlencode(query).encode())  # noqa: S310 - http, above
    try:
        with urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            told = json.load(answer)
    except HTTPError as error:
        raise Failure(f"{url} does not take the query {query['query']}: {_said(error)}") from error
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise Failure(f"{url} does not answer as Prometheus does ({reason}). Is it the right address?") from error
    result = told.get("data", {}).get("result") if isinstance(told, dict) else None
    if not isinstance(result, list):
        raise Failure(f"{url} does not answer as Prometheus does. Is it the right address?")
    return result


def _said(error: HTTPError) -> str:
    """Prometheus' own words."""
    try:
        return str(json.load(error).get("error"))[:300]
    except (ValueError, AttributeError, OSError):
        return f"HTTP {error.code}"


def _moment(option: str, text: str, now: datetime) -> datetime:
    try:
        return now - timedelta(seconds=seconds(text))
    except ValueError:
        pass
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise UnusableError(
            f'{option} "{text}" is no time; write one such as 2026-03-01T12:00:00Z, or how long ago, such as 6h'
        ) from error
    return at if at.tzinfo else at.replace(tzinfo=UTC)
