"""The chart: what it renders, what it refuses, and what it leaves behind."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.apiserver import CHECKOUT, ApiServer, binaries
from tests.cluster.cluster import Cluster, eventually, spec
from tests.cluster.conftest import SYSTEM, Operator, installed

CHART = str(CHECKOUT / "charts/retune")


def helm(*arguments: str, server: ApiServer | None = None) -> subprocess.CompletedProcess[str]:
    """Run helm; never raises for its exit status."""
    folder = binaries()
    program = str(folder / "helm") if folder and (folder / "helm").exists() else "helm"
    config = {"KUBECONFIG": str(server.kubeconfig)} if server else {}
    command = [program, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, **config}
    )


def rendered(*arguments: str) -> list[dict[str, Any]]:
    """The manifests of the chart."""
    done = helm("template", "retune", CHART, "--namespace", SYSTEM, *arguments)
    assert done.returncode == 0, done.stderr
    return [m for m in yaml.safe_load_all(done.stdout) if m]


def container(*arguments: str) -> dict[str, Any]:
    """The operator's container."""
    deployment = next(m for m in rendered(*arguments) if m["kind"] == "Deployment")
    return dict(deployment["spec"]["template"]["spec"]["containers"][0])


def test_the_chart_passes_helms_own_lint() -> None:
    assert helm("lint", "--strict", CHART).returncode == 0


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("operator.replicaCount=2", "replicaCount"),
        ("operator.replicas=two", "replicas"),
        ("prices.gpuHour=cheap", "gpuHour"),
        ("artifacts.uri=http://somewhere", "uri"),
        ("metrics.port=80", "port"),
        ("approvals.policy=perhaps", "policy"),
        ("prometheus.url=http://me:secret@prometheus:9090", "url"),
        ("rollouts.pollSeconds=0", "pollSeconds"),
        ("watch.pollSeconds=600", "pollSeconds"),
        ("notifications.existingSecret=My_Secret", "existingSecret"),
        ("tap.tag=1", "tag"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(value: str, word: str) -> None:
    done = helm("template", "retune", CHART, "--set", value)
    assert done.returncode != 0
    assert word in done.stderr


def test_one_registry_for_all_images() -> None:
    found = container("--set", "global.imageRegistry=registry.example.com/mirror")
    assert found["image"] == "registry.example.com/mirror/retune/operator:0.1.0"
    assert "--trainer-image=registry.example.com/mirror/retune/trainer:0.1.0" in found["args"]
    assert "--tap-image=registry.example.com/mirror/retune/tap:0.1.0" in found["args"]
    assert "--server-image=registry.example.com/mirror/retune/server:0.1.0" in found["args"]
    full = container("--set", "global.imageRegistry=a.example.com", "--set", "operator.image=b.example.com/op:1")
    assert full["image"] == "b.example.com/op:1"


def test_channels_are_mounted_so_that_changes_arrive_and_a_missing_secret_stops_nothing() -> None:
    assert not any("channels" in argument for argument in container()["args"])
    chosen = ("--set", "notifications.existingSecret=people")
    found = container(*chosen)
    (mount,) = (m for m in found["volumeMounts"] if m["name"] == "channels")
    assert f"--channels={mount['mountPath']}" in found["args"]
    assert mount["readOnly"]
    assert "subPath" not in mount, "the kubelet does not bring changes to those"
    deployment = next(m for m in rendered(*chosen) if m["kind"] == "Deployment")
    (volume,) = (v for v in deployment["spec"]["template"]["spec"]["volumes"] if v["name"] == "channels")
    assert (volume["secret"]["secretName"], volume["secret"]["optional"]) == ("people", True)


def test_no_rule_has_a_wildcard_and_none_reaches_secrets() -> None:
    roles = [m for m in rendered() if m["kind"] in ("Role", "ClusterRole")]
    assert {role["metadata"]["name"] for role in roles} >= {"retune", "retune-lease", "retune-view", "retune-edit"}
    for rule in (rule for role in roles for rule in role["rules"]):
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        assert not {"secrets", "pods/exec", "pods/log", "serviceaccounts/token"} & set(rule["resources"])


def test_a_key_that_is_given_is_mounted_and_none_is_made() -> None:
    def volumes(*arguments: str) -> object:
        pod = next(m for m in rendered(*arguments) if m["kind"] == "Deployment")["spec"]["template"]["spec"]
        return [v["secret"]["secretName"] for v in pod["volumes"]]

    assert [m["metadata"]["name"] for m in rendered() if m["kind"] == "Secret"] == ["retune-signing"]
    assert volumes() == ["retune-signing"]
    given = ("--set", "signing.existingSecret=mine")
    assert (volumes(*given), [m for m in rendered(*given) if m["kind"] == "Secret"]) == (["mine"], [])


def test_watched_namespaces_get_roles_and_no_right_is_cluster_wide() -> None:
    manifests = rendered("--set", "watchNamespaces={a,b}")
    kinds = {m["kind"] for m in manifests}
    assert not {"ClusterRole", "ClusterRoleBinding"} & kinds
    assert sorted(m["metadata"]["namespace"] for m in manifests if m["kind"] == "Role") == ["a", "b", SYSTEM]
    assert "--namespaces=a,b" in container("--set", "watchNamespaces={a,b}")["args"]


def test_approvals_are_guarded_everywhere_or_where_the_operator_looks() -> None:
    def selected(*arguments: str) -> object:
        binding = next(m for m in rendered(*arguments) if m["kind"] == "ValidatingAdmissionPolicyBinding")
        assert binding["spec"]["validationActions"] == ["Deny"]
        return binding["spec"].get("matchResources", {}).get("namespaceSelector", {})

    assert selected() == {}
    names = {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["a", "b"]}
    assert selected("--set", "watchNamespaces={a,b}") == {"matchExpressions": [names]}


def test_an_install_without_rights_in_the_cluster_holds_only_what_lives_in_namespaces() -> None:
    manifests = rendered("--set", "watchNamespaces={a,b},approvals.policy=false,crds.install=false")
    assert {m["metadata"].get("namespace") for m in manifests} == {"a", "b", SYSTEM}


def test_the_users_roles_can_be_left_out() -> None:
    names = {m["metadata"]["name"] for m in rendered("--set", "rbac.aggregate=false") if m["kind"] == "ClusterRole"}
    assert not {"retune-view", "retune-edit"} & names


def test_the_operators_pod_is_admitted_where_restricted_is_enforced(apiserver: ApiServer) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "restricted", "labels": labels}}
    apiserver.run("apply", "-f", "-", stdin=json.dumps(namespace))
    apiserver.run("create", "serviceaccount", "retune", "-n", "restricted")
    deployment = next(m for m in rendered() if m["kind"] == "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "namespace": "restricted"}}
    pod["spec"] = deployment["spec"]["template"]["spec"]
    done = apiserver.run("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
    assert done.returncode == 0, done.stderr


def test_an_operator_of_one_namespace_serves_it_and_sees_no_other(
    apiserver: ApiServer, operator: Operator, cluster: Cluster, tmp_path: Path
) -> None:
    for name in ("mine", "theirs"):
        apiserver.run("create", "namespace", name)
    operator.kill()
    chart = installed(apiserver, tmp_path, "watchNamespaces={mine}")
    narrow = Operator(tmp_path, "narrow", chart["arguments"], chart["kubeconfig"])
    mine, theirs = Cluster(cluster.api, "mine"), Cluster(cluster.api, "theirs")
    try:
        narrow.start()
        eventually(narrow.leads, 60)
        theirs.apply_job("not-served", spec())
        mine.apply_job("served", spec())
        run = mine.run(mine.first_run("served"))
        assert theirs.runs("not-served") == []
        forged = {"apiVersion": run["apiVersion"], "kind": run["kind"], "spec": run["spec"]}
        forged["metadata"] = {"name": "forged", "annotations": {"approval.retune.dev/legal": "nobody"}}

        def created(namespace: str) -> subprocess.CompletedProcess[str]:
            return apiserver.run("create", "--dry-run=server", "-n", namespace, "-f", "-", stdin=json.dumps(forged))

        eventually(lambda: created("theirs").returncode == 0)
        assert "denied request" in created("mine").stderr
        asked = apiserver.run(
            "auth", "can-i", "list", "pods", "-n", "theirs", f"--as=system:serviceaccount:{SYSTEM}:retune"
        )
        assert asked.stdout.strip() == "no"
    finally:
        narrow.kill()
        installed(apiserver, tmp_path)
        operator.start()
        eventually(operator.leads, 60)


def test_uninstalling_keeps_the_crds_and_with_them_everybodys_jobs(
    apiserver: ApiServer,
    operator: Operator,
    chart: dict[str, Any],
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    cluster.apply_job("kept", spec(suspend=True))
    try:
        assert helm("uninstall", "retune", "-n", SYSTEM, server=apiserver).returncode == 0
        assert cluster.job("kept") is not None
    finally:
        operator.kill()
        chart.update(installed(apiserver, tmp_path_factory.mktemp("again")))  # a new account, and a new token
        operator.use(chart["kubeconfig"])
        operator.start()
        eventually(operator.leads, 60)
