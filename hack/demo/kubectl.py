"""The demo's one way to the cluster: the same `kubectl` that its reader would type."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hack.cluster import backend, binaries
from hack.cluster.process import ClusterError, output
from hack.demo.settings import FIELD_MANAGER, NAMESPACE

Object = dict[str, Any]


class Kubectl:
    """Runs kubectl in one namespace, the demo's by default."""

    def __init__(self, kubeconfig: Path, program: Path, namespace: str = NAMESPACE) -> None:
        self._command: list[str | Path] = [program, "--kubeconfig", kubeconfig, "--namespace", namespace]

    def __call__(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints.

        Raises:
            ClusterError: it failed; the message has what it said.
        """
        return output([*self._command, *arguments], stdin=stdin)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start kubectl as a process that goes on, with its output in a pipe; the caller ends it."""
        silent = subprocess.DEVNULL
        return subprocess.Popen(
            [*self._command, *arguments], stdin=silent, stdout=subprocess.PIPE, stderr=silent, text=True
        )

    def find(self, kind: str, name: str) -> Object | None:
        """An object, or None if there is none of that name."""
        found = self("get", kind, name, "--ignore-not-found", "--output", "json")
        return dict(json.loads(found)) if found.strip() else None

    def select(self, kind: str, label: str) -> list[Object]:
        """The objects with a label, `key=value`."""
        return list(json.loads(self("get", kind, "--selector", label, "--output", "json"))["items"])

    def apply(self, manifest: Mapping[str, Any]) -> None:
        """Server-side apply: what others own stays theirs."""
        arguments = ["apply", "--server-side", f"--field-manager={FIELD_MANAGER}", "--filename", "-"]
        self(*arguments, stdin=json.dumps(manifest))


def connect(namespace: str = NAMESPACE) -> Kubectl:
    """The kubectl of the cluster that is up.

    Raises:
        ClusterError: none is.
    """
    cluster = backend.choose()
    if not cluster.healthy():
        raise ClusterError("no cluster is up: `make demo` starts one, and all that the demo needs in it")
    return Kubectl(Path(cluster.kubeconfig), Path(binaries.path("kubectl")), namespace)


def conditions(found: Mapping[str, Any]) -> Sequence[Mapping[str, str]]:
    """The conditions in an object's status."""
    return list((found.get("status") or {}).get("conditions") or [])
