"""Whether every panel of every dashboard has something to show on a real Prometheus."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from hack.dashboards.asking import Prometheus, Raw, RefusedError, Span, chosen, filled, panels
from hack.dashboards.files import FOLDER


def empty_panels(
    prometheus_url: str, variables: Mapping[str, str], at: datetime, *, since: str = "", folder: Path = FOLDER
) -> list[str]:
    """Panels without data, as "<dashboard>: <panel>" with the query that gave nothing, or what Prometheus objected to.

    Every query of a panel must give a number at some moment of the time that its dashboard shows up to `at`, or of the
    time `since` (such as 30m): a canary's stage has none once the canary is over. NaN is no number. Of a state timeline
    one query must: its rows are states, and no run comes through all of them.

    Args:
        prometheus_url: address of Prometheus.
        variables: values of `$namespace` and `$job`; what is left out is chosen as Grafana would.
        at: end of the time shown.
        since: length of the time shown, instead of each dashboard's own.
        folder: where the dashboards are.

    Raises:
        RefusedError: Prometheus does not answer when asked for the variables' values.
    """
    prometheus, found = Prometheus(prometheus_url), []
    for path in sorted(folder.glob("*.json")):
        board = json.loads(path.read_text())
        span = Span.of(board, at, since)
        values = chosen(board, variables, prometheus, span)
        for panel in panels(board):
            found += [f"{path.stem}: {panel['title']}: {said}" for said in _silent(panel, values, prometheus, span)]
    return found


def _silent(panel: Raw, values: Mapping[str, str], prometheus: Prometheus, span: Span) -> list[str]:
    silent = []
    for target in panel["targets"]:
        expr = filled(target["expr"], values, span)
        try:
            if not any(series.points for series in prometheus.range(expr, span)):
                silent.append(expr)
        except RefusedError as refused:
            silent.append(str(refused))
    return [] if panel["type"] == "state-timeline" and len(silent) < len(panel["targets"]) else silent
