"""How this machine reaches Services and pods of the cluster: straight, where routes lead there, else port-forwarded."""

import re
import select
import subprocess
from collections.abc import Mapping
from typing import IO, Any, Self

from hack.cluster import backend
from hack.cluster.own_node import OwnNode
from hack.cluster.process import ClusterError
from hack.demo.kubectl import Kubectl

PATIENCE = 15.0
"""Seconds until `kubectl port-forward` must listen."""


class Reach:
    """Addresses of what runs in one namespace; what it starts for them ends with `__exit__`."""

    def __init__(self, kubectl: Kubectl, *, routed: bool | None = None) -> None:
        self._kubectl = kubectl
        self._routed = isinstance(backend.choose(), OwnNode) if routed is None else routed
        self._forwards: dict[str, tuple[subprocess.Popen[str], str]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process, _url in self._forwards.values():
            process.terminate()
            process.wait()

    def service(self, found: Mapping[str, Any]) -> str:
        """The URL of a Service's first port."""
        port = found["spec"]["ports"][0]["port"]
        return self._url("service", found["metadata"]["name"], found["spec"]["clusterIP"], port)

    def pod(self, found: Mapping[str, Any], port: int) -> str:
        """The URL of a port of a pod that has an address."""
        return self._url("pod", found["metadata"]["name"], found["status"]["podIP"], port)

    def _url(self, kind: str, name: str, ip: str, port: int) -> str:
        if self._routed:
            return f"http://{ip}:{port}"
        key = f"{kind}/{name}:{port}"
        known = self._forwards.get(key)
        if known is None or known[0].poll() is not None:  # it ends when its pod does
            self._forwards[key] = known = self._forward(f"{kind}/{name}", port)
        return known[1]

    def _forward(self, target: str, port: int) -> tuple[subprocess.Popen[str], str]:
        process = self._kubectl.start("port-forward", target, f":{port}")
        assert process.stdout is not None  # noqa: S101 — `start` pipes it
        said = _line(process.stdout)
        match = re.search(r"127\.0\.0\.1:(\d+)", said)
        if match is None:
            process.terminate()
            process.wait()
            raise ClusterError(f"kubectl port-forward {target} :{port} did not begin to listen: {said.strip()}")
        return process, f"http://127.0.0.1:{match[1]}"


def _line(stream: IO[str]) -> str:
    """The first line that a program writes; nothing if it has none when patience ends."""
    ready, _, _ = select.select([stream], [], [], PATIENCE)
    return stream.readline() if ready else ""
