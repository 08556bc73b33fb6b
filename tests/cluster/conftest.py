"""The cluster tier: a real etcd, API server and controller manager, and the operator with only its chart's rights.

There is no kubelet here (it is played, see `cluster.Kubelet`), so every state that a pod can be in is one line away.
"""

import base64
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import kubernetes
from tests.cluster.apiserver import CHECKOUT, ApiServer, apiserver, binaries
from tests.cluster.cluster import Cluster, Kubelet, eventually

__all__ = ["apiserver"]
SYSTEM = "retune-system"
_numbers = itertools.count(1)


class Operator:
    """An operator process with the rights of the chart's ServiceAccount, started with the chart's own arguments."""

    def __init__(self, folder: Path, name: str, arguments: list[str], kubeconfig: Path) -> None:
        self._kubeconfig, self.name = kubeconfig, name
        self._log = folder / f"{name}.log"
        self.health, self.metrics = _free_port(), _free_port()
        self._arguments = [
            *arguments,
            "--identity=" + name,
            "--listen=127.0.0.1",
            f"--health-port={self.health}",
            f"--metrics-port={self.metrics}",
        ]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Operator":
        """Start it; returns at once."""
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "retune.main.app", *self._arguments],
                env={**os.environ, "KUBECONFIG": str(self._kubeconfig), "PYTHONPATH": str(CHECKOUT / "operator")},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        return self

    def use(self, kubeconfig: Path) -> None:
        """Start with another kubeconfig from now on."""
        self._kubeconfig = kubeconfig

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Kill it, and wait until it is gone; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def get(self, port: int, path: str) -> str:
        """GET from one of its ports; "" while nobody listens."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer,
        ):
            return str(answer.read().decode())
        return ""

    def ready(self) -> bool:
        """Whether /readyz says ok."""
        return self.get(self.health, "/readyz") == "ok\n"

    def leads(self) -> bool:
        """Whether it holds the Lease."""
        return "retune_leader 1.0" in self.get(self.metrics, "/metrics")

    def log(self) -> str:
        """All that it has logged, over restarts."""
        return self._log.read_text()

    def writes(self) -> dict[str, int]:
        """Writes to the API server so far, such as {"apply finetunejobs/status": 3}."""
        found = {}
        for line in self.get(self.metrics, "/metrics").splitlines():
            if line.startswith("retune_api_writes_total{"):
                labels = dict(pair.split("=") for pair in line[line.index("{") + 1 : line.index("}")].split(","))
                found[" ".join(labels[k].strip('"') for k in ("verb", "resource"))] = int(float(line.split()[-1]))
        return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def installed(server: ApiServer, scratch: Path, *values: str) -> dict[str, Any]:
    """The chart, installed without a Deployment's pods: its RBAC, its arguments, and a kubeconfig of its account."""
    folder = binaries()
    helm = str(folder / "helm") if folder and (folder / "helm").exists() else "helm"
    command = [helm, "upgrade", "--install", "retune", str(CHECKOUT / "charts/retune"), "--namespace", SYSTEM]
    command += ["--create-namespace", "--kubeconfig", str(server.kubeconfig), "--set", "operator.replicas=0"]
    command += ["--set", "trainer.image=localhost/retune/trainer:none", "--take-ownership"]
    command += [part for value in values for part in ("--set", value)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    read = server.run("get", "deployment", "retune", "-n", SYSTEM, "-o", "json")
    arguments = json.loads(read.stdout)["spec"]["template"]["spec"]["containers"][0]["args"]
    token = server.run("create", "token", "retune", "-n", SYSTEM, "--duration=2h").stdout.strip()
    config = yaml.safe_load(server.kubeconfig.read_text())
    config["users"] = [{"name": "operator", "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = "operator"
    path = scratch / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    secret = server.run("get", "secret", "retune-signing", "-n", SYSTEM, "-o", "jsonpath={.data.key\\.pem}")
    key = scratch / "key.pem"  # what the pod would have mounted
    key.write_bytes(base64.b64decode(secret.stdout))
    return {"arguments": [*arguments, f"--signing-key={key}"], "kubeconfig": path}


@pytest.fixture(scope="session")
def chart(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The chart, installed."""
    return installed(apiserver, tmp_path_factory.mktemp("operator"))


@pytest.fixture(scope="session")
def operator(
    apiserver: ApiServer, chart: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """The operator, ready and leading; tests may restart it, and leave it running."""
    arguments = [*chart["arguments"], "--retry-backoff=0", "--waiting-deadline=8", "--status-every=1"]
    made = Operator(tmp_path_factory.mktemp("log"), "operator-0", arguments, chart["kubeconfig"]).start()
    try:
        eventually(made.leads, 60)
        yield made
    finally:
        made.kill(signal.SIGTERM)


@pytest.fixture(scope="session")
def api(apiserver: ApiServer) -> kubernetes.client.ApiClient:
    """The test's own client, with all rights."""
    return kubernetes.config.new_client_from_config(str(apiserver.kubeconfig))


@pytest.fixture
def cluster(api: kubernetes.client.ApiClient, operator: Operator) -> Iterator[Cluster]:
    """A namespace of the test's own, with the operator at work."""
    name = f"test-{next(_numbers)}"
    core = kubernetes.client.CoreV1Api(api)
    core.create_namespace({"metadata": {"name": name}})
    yield Cluster(api, name)
    core.delete_namespace(name)


@pytest.fixture
def kubelet(cluster: Cluster) -> Kubelet:
    """Plays the kubelet of the test's pods."""
    return Kubelet(cluster)
