"""What a replay prints: a table that grows for people, or a JSON object a poll."""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence

from retune.api.run import EvidenceState
from retune.cli.replay.drive import HOLD, End, Row
from retune.cli.wording import clock
from retune.decide.evidence.judge import MetricVerdict

_LINES = 10  # of the table, about, for each time that a stage is held
_COLUMN = 12  # characters, at least


def as_json(found: Iterable[Row | End]) -> Iterator[str]:
    """A line of JSON for each poll, and one for the end."""
    for one in found:
        yield json.dumps(_end(one) if isinstance(one, End) else _row(one), allow_nan=False)


def as_table(found: Iterable[Row | End], metrics: Sequence[str]) -> Iterator[str]:
    """A line for what changes, for some of what does not, and a sentence at the end."""
    widths = [max(len(name), _COLUMN) for name in metrics]
    start, last = None, None
    for one in found:
        if isinstance(one, End):
            yield ""
            yield f"{one.verdict} after {clock(one.time - (start or 0.0))}: {one.reason}"
            return
        if start is None:
            start = one.time
            yield _line(("TIME", "WEIGHT", "CANARY"), metrics, widths, "VERDICT")
            yield _line(("", "", ""), [f"of {_number(m.threshold)}" for m in one.judgement.metrics], widths)
        if last is None or _news(last, one, start):
            last = one
            head = (clock(one.time - start), f"{one.stage.weight} %", str(one.judgement.canary_total))
            cells = [_cell(metric) for metric in one.judgement.metrics]
            yield _line(head, cells, widths, one.verdict if one.verdict != HOLD else "")


def _line(head: tuple[str, str, str], cells: Sequence[str], widths: Sequence[int], verdict: str = "") -> str:
    time, weight, canary = head
    said = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return f"{time:>9}  {weight:>6}  {canary:>8}  {said}  {verdict}".rstrip()


def _news(last: Row, row: Row, start: float) -> bool:
    """Whether a line is worth it: something has changed, or some time has gone by, the more the longer it takes."""
    if row.verdict != last.verdict or row.stage != last.stage:
        return True
    if [m.state for m in row.judgement.metrics] != [m.state for m in last.judgement.metrics]:
        return True
    return row.time - last.time >= max(row.stage.hold, row.time - start) / _LINES


def _cell(metric: MetricVerdict) -> str:
    return _number(metric.e_value) if metric.state is EvidenceState.OK else metric.state.value


def _number(value: float) -> str:
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.3g}"


def _row(row: Row) -> dict[str, object]:
    return {
        "time": _whole(row.time),
        "step": row.stage.name if row.stage.step is None else row.stage.step,
        "weight": row.stage.weight,
        "verdict": row.verdict,
        "metrics": [
            {
                "name": metric.name,
                "state": metric.state.value,
                "eValue": _finite(metric.e_value),
                "threshold": _finite(metric.threshold),
                "bad": metric.bad,
                "total": metric.total,
                "stableBad": metric.stable_bad,
                "stableTotal": metric.stable_total,
                "phi": _finite(metric.phi),
            }
            for metric in row.judgement.metrics
        ],
    }


def _end(end: End) -> dict[str, object]:
    return {"final": True, "verdict": end.verdict, "time": _whole(end.time), "reason": end.reason}


def _whole(time: float) -> float | int:
    return int(time) if time.is_integer() else time


def _finite(value: float) -> float:
    """JSON knows no infinity."""
    return min(float(value), sys.float_info.max)
