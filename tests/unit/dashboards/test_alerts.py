"""The alerts: right by promtool, each with a page that says what to do, and in the chart as they were tested."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hack.cluster.settings import BIN
from hack.dashboards import promtool
from tests.unit.dashboards.queries import RULES

CHECKOUT = RULES.parents[3]
TESTS = Path(__file__).with_name("alerts_test.yaml")
ALERTS = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def tool() -> str:
    found = promtool.path()
    if found is None:
        pytest.skip("promtool is not there: python -m hack.dashboards.promtool fetches it on Debian")
    return str(found)


@pytest.fixture
def helm() -> str:
    own = Path(os.environ.get("RETUNE_ASSETS") or os.devnull) / "helm"
    found = next((str(p) for p in (own, BIN / "helm") if p.is_file()), shutil.which("helm"))
    if found is None:
        pytest.skip("helm is not there: python3 hack/cluster bin helm builds it")
    return found


def test_promtool_takes_the_rules(tool: str) -> None:
    run(tool, "check", "rules", str(RULES))


def test_what_fires_and_what_does_not(tool: str) -> None:
    assert "SUCCESS" in run(tool, "test", "rules", str(TESTS))


def test_every_alert_is_among_those_that_are_tested() -> None:
    text = TESTS.read_text()
    assert [rule["alert"] for rule in ALERTS if rule["alert"] not in text] == []


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_leads_to_a_page_of_its_own(rule: dict[str, Any]) -> None:
    page = CHECKOUT / rule["annotations"]["runbook_url"]
    assert page.read_text().startswith(f"# {rule['alert']}\n")
    for heading in ("## What it does to users", "## Look", "## Do"):
        assert heading in page.read_text()
    assert rule["labels"]["severity"] in page.read_text()


def test_no_page_is_left_over() -> None:
    linked = {Path(rule["annotations"]["runbook_url"]).name for rule in ALERTS}
    assert {path.name for path in (CHECKOUT / "docs/runbooks").glob("*.md")} == linked


def rendered(helm: str, *values: str) -> dict[str, dict[str, Any]]:
    settings = [word for value in values for word in ("--set", value)]
    text = run(helm, "template", "retune", str(CHECKOUT / "charts/retune"), *settings)
    found = [manifest for manifest in yaml.safe_load_all(text) if manifest]
    return {f"{m['kind']}/{m['metadata']['name']}": m for m in found}


def test_a_cluster_without_grafana_or_the_prometheus_operator_gets_nothing_of_theirs(helm: str) -> None:
    kinds = {key.split("/")[0] for key in rendered(helm)}
    assert not kinds & {"PrometheusRule", "PodMonitor", "ServiceMonitor"}
    assert "ConfigMap/retune-dashboards" not in rendered(helm)


def test_the_chart_ships_the_rules_as_they_were_tested_with_links_that_can_be_set(helm: str) -> None:
    plain = rendered(helm, "alerts.enabled=true", "alerts.labels.release=mine")["PrometheusRule/retune"]
    assert plain["spec"] == yaml.safe_load(RULES.read_text())
    assert plain["metadata"]["labels"]["release"] == "mine"
    at = "https://runbooks.example.com/retune"
    linked = rendered(helm, "alerts.enabled=true", f"alerts.runbooks={at}/")["PrometheusRule/retune"]
    urls = [rule["annotations"]["runbook_url"] for group in linked["spec"]["groups"] for rule in group["rules"]]
    assert all(url.startswith(f"{at}/") and url.endswith(".md") and "//" not in url[8:] for url in urls)
    for group in linked["spec"]["groups"]:
        for rule in group["rules"]:
            rule["annotations"]["runbook_url"] = rule["annotations"]["runbook_url"].replace(at, "docs/runbooks")
    assert linked["spec"] == plain["spec"], "nothing but the links differs"


def test_the_chart_ships_the_dashboards_where_the_sidecar_looks(helm: str) -> None:
    found = rendered(helm, "dashboards.enabled=true", "dashboards.namespace=grafana")["ConfigMap/retune-dashboards"]
    assert found["metadata"]["namespace"] == "grafana"
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    for path in (CHECKOUT / "charts/retune/dashboards").glob("*.json"):
        assert found["data"][f"retune-{path.name}"].strip() == path.read_text().strip()


def test_the_prometheus_operator_is_told_to_keep_the_operators_own_labels(helm: str) -> None:
    found = rendered(helm, "metrics.monitors.enabled=true", "watchNamespaces={support}")
    assert found["PodMonitor/retune"]["spec"]["podMetricsEndpoints"] == [{"port": "metrics", "honorLabels": True}]
    assert found["PodMonitor/retune-jobs"]["spec"]["namespaceSelector"] == {"matchNames": ["support"]}
