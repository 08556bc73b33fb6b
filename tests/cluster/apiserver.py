"""A real API server for tests: the one that is given, or an etcd and a kube-apiserver of their own.

Starts processes, writes into a temporary folder, and stops by process id what it started.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from ssl import create_default_context

import pytest
import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
START_SECONDS = 90
_TOKEN = "retune-tests"


@dataclass(frozen=True)
class ApiServer:
    """How to speak to an API server on which the CRDs are installed."""

    kubeconfig: Path
    kubectl: str

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run kubectl; never raises for its exit status."""
        command = [self.kubectl, f"--kubeconfig={self.kubeconfig}", *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)


def binaries() -> Path | None:
    """Folder with etcd, kube-apiserver and kubectl, if there is one."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    folders = [os.environ.get("KUBEBUILDER_ASSETS"), f"{os.environ.get('RETUNE_CACHE') or cache + '/retune'}/bin"]
    names = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
    for folder in filter(None, folders):
        if all(os.access(Path(folder) / name, os.X_OK) for name in names):
            return Path(folder)
    return None


def _given() -> Path | None:
    """Kubeconfig of a cluster that runs already."""
    if path := os.environ.get("RETUNE_KUBECONFIG"):
        return Path(path)
    # An own server starts in seconds and no operator meddles with it, so the local cluster is the second choice.
    if binaries() is None and (CHECKOUT / "hack/cluster").exists():
        command = [sys.executable, "hack/cluster", "kubeconfig"]
        answer = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=60)
        path = answer.stdout.strip()
        if answer.returncode == 0 and Path(path).is_file():
            return Path(path)
    return None


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(15)


def _await_ready(url: str, certificate: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    request = urllib.request.Request(f"{url}/readyz", headers={"Authorization": f"Bearer {_TOKEN}"})
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with contextlib.suppress(urllib.error.URLError, OSError):
            context = create_default_context(cafile=str(certificate))
            with urllib.request.urlopen(request, timeout=5, context=context) as answer:
                if answer.status == 200:
                    return
        time.sleep(0.1)
    raise RuntimeError(f"kube-apiserver did not get ready:\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def started(binaries: Path) -> Iterator[Path]:
    """Run etcd, kube-apiserver and kube-controller-manager on free loopback ports; gives an all-powerful kubeconfig."""
    folder = Path(tempfile.mkdtemp(prefix="retune-apiserver-"))
    client, peer, port, extra = _free_ports(4)
    etcd_url, api_url = f"http://127.0.0.1:{client}", f"https://127.0.0.1:{port}"
    subprocess.run(["openssl", "genrsa", "-out", folder / "sa.key", "2048"], check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f"{_TOKEN},admin,admin,system:masters\n")
    certificate = folder / "pki/apiserver.crt"
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "test", "cluster": {"server": api_url, "certificate-authority": str(certificate)}}],
        "users": [{"name": "admin", "user": {"token": _TOKEN}}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "admin"}}],
        "current-context": "test",
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(kubeconfig))

    etcd = [
        binaries / "etcd",
        f"--data-dir={folder / 'etcd'}",
        "--unsafe-no-fsync",
        f"--listen-client-urls={etcd_url}",
        f"--advertise-client-urls={etcd_url}",
        f"--listen-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
        f"--initial-cluster=default=http://127.0.0.1:{peer}",
    ]
    apiserver = [
        binaries / "kube-apiserver",
        f"--etcd-servers={etcd_url}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        f"--cert-dir={folder / 'pki'}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=RBAC",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'sa.key'}",
        f"--service-account-signing-key-file={folder / 'sa.key'}",
        "--service-cluster-ip-range=10.96.0.0/16",
    ]
    controllers = [
        binaries / "kube-controller-manager",
        f"--kubeconfig={folder / 'kubeconfig'}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
        f"--secure-port={extra}",
        f"--cert-dir={folder / 'pki-controllers'}",
        f"--service-account-private-key-file={folder / 'sa.key'}",
    ]
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name, command in (("etcd", etcd), ("kube-apiserver", apiserver)):
            log = stack.enter_context((folder / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
            stack.callback(_stop, process)
        _await_ready(api_url, certificate, process, folder / "kube-apiserver.log")
        log = stack.enter_context((folder / "kube-controller-manager.log").open("wb"))
        stack.callback(_stop, subprocess.Popen(controllers, stdout=log, stderr=subprocess.STDOUT))
        yield folder / "kubeconfig"


@pytest.fixture(scope="session")
def apiserver() -> Iterator[ApiServer]:
    """A real API server with Retune's CRDs."""
    found = binaries()
    with contextlib.ExitStack() as stack:
        kubeconfig = _given()
        if kubeconfig is None:
            if found is None:
                pytest.skip("no API server: set RETUNE_KUBECONFIG or KUBEBUILDER_ASSETS, or run `make cluster`")
            kubeconfig = stack.enter_context(started(found))
        server = ApiServer(kubeconfig, str(found / "kubectl") if found else "kubectl")
        crds = ("--server-side", "--force-conflicts", "-f", str(CHECKOUT / "crds"))
        applied = server.run("apply", *crds)
        assert applied.returncode == 0, applied.stderr
        established = server.run("wait", "--for=condition=Established", "--timeout=60s", *crds[2:])
        assert established.returncode == 0, established.stderr
        yield server
