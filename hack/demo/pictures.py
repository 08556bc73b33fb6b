"""What stays of a demo on this machine: the runs' reports, and the dashboards as one page."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hack.cluster import backend, infra
from hack.cluster.process import ClusterError
from hack.dashboards.asking import RefusedError
from hack.dashboards.files import BOARDS, FOLDER
from hack.dashboards.render import page
from hack.demo import store
from hack.demo.run import Run
from hack.demo.settings import JOB, NAMESPACE


def leave(folder: Path, runs: Sequence[Run], since: datetime) -> list[Path]:
    """Write `<run>.html` for each run that has a report, and `dashboards.html` from `since` to now; what was written.

    Raises:
        ClusterError: no cluster is up, or the store or Prometheus does not answer.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for run in runs:
        if run.status.report_uri is not None:
            report = folder / f"{run.name}.html"
            report.write_text("\n".join(store.lines(run.status.report_uri)))
            written.append(report)
    url = infra.endpoint(backend.choose(), "prometheus")
    now = datetime.now(UTC)
    boards = [json.loads((FOLDER / f"{name}.json").read_text()) for name in BOARDS]
    minutes = f"{max(1, round((now - since).total_seconds() / 60))}m"
    drawn = folder / "dashboards.html"
    try:
        drawn.write_text(page(boards, url, {"namespace": NAMESPACE, "job": JOB}, now, since=minutes))
    except RefusedError as error:
        raise ClusterError(f"the dashboards cannot be drawn: {error}") from error
    return [*written, drawn]
