"""Every panel of every dashboard over the series that all the tests before it have left in a real Prometheus."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hack.dashboards import prove

from tests.e2e.conftest import Prometheus

JOB = "support-triage"


def test_every_panel_has_data(prometheus: Prometheus, tmp_path: Path) -> None:
    # Of the job whose story has all that there is to be seen: training, canary, promotion, drift, recovery.
    promoted = f'retune_recovery_promoted_timestamp_seconds{{job="{JOB}"}}'
    found = prometheus.series(f"topk(1, last_over_time({promoted}[1h]))")
    if not found:
        pytest.fail(f"{JOB} has recovered from no drift in the last hour: run test_story.py before this file")
    variables = {"namespace": found[0]["metric"]["namespace"], "job": JOB}
    silent = prove.empty_panels(prometheus.url, variables, datetime.now(UTC), since="1h")
    assert not silent, "\n".join(silent)
