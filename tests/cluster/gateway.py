"""A real Gateway before pods that are no pods: Traefik follows the API server, taps and their servers run here.

Without a kubelet nothing starts a pod's containers. The tap of each pod is started in this process, with what its own
container's environment says; EndpointSlices are written by hand. They may not name loopback addresses, and the operator
knows one port of taps only: so users reach a tap on this machine's own address, the operator on a loopback one.
"""

import asyncio
import contextlib
import http.client
import itertools
import json
import os
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Self, TypeVar

from aiohttp import web
from hack.cluster import binaries
from hack.images.standin.upstream import BASE, Behaviour, Upstream

import kubernetes
from retune_tap.adapters import Loader
from retune_tap.serve import drain, keeping, listen
from retune_tap.settings import Settings
from retune_tap.tap import Tap
from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import Cluster, Raw, eventually

CLASS = "retune-tests"
GATEWAY_API = ("gateway.networking.k8s.io", "v1")
MOUNTED = "arms.json"
ANSWER = json.dumps({"model": "triage", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 4})
T = TypeVar("T")
_loopback = (f"127.0.77.{number}" for number in itertools.count(1))


def own_address() -> str:
    """An address of this machine that is not loopback.

    Raises:
        OSError: it has none.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("192.0.2.1", 9))  # sends nothing
        return str(one.getsockname()[0])


def _free_port(address: str) -> int:
    with socket.socket() as one:
        one.bind((address, 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def traefik(server: ApiServer, log: Path) -> Iterator[int]:
    """Run Traefik as the Gateway API's controller; gives the port that its Gateways must listen on.

    Raises:
        ClusterError: it is not to be had on this machine.
    """
    program, port, health = binaries.path("traefik"), _free_port("127.0.0.1"), _free_port("127.0.0.1")
    crds = [part for path in binaries.gateway_crds() for part in ("-f", str(path))]
    applied = server.run("apply", "--server-side", *crds)
    assert applied.returncode == 0, applied.stderr
    established = server.run("wait", "--for=condition=Established", "--timeout=60s", *crds)
    assert established.returncode == 0, established.stderr
    gateway = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass", "metadata": {"name": CLASS}}
    gateway["spec"] = {"controllerName": "traefik.io/gateway-controller"}
    assert server.run("apply", "-f", "-", stdin=json.dumps(gateway)).returncode == 0
    command = [
        str(program),
        f"--entrypoints.web.address=127.0.0.1:{port}",
        f"--entrypoints.traefik.address=127.0.0.1:{health}",
        "--ping",
        "--providers.kubernetesgateway",
        "--providers.kubernetesgateway.statusaddress.ip=127.0.0.1",
        "--global.checknewversion=false",
        "--global.sendanonymoususage=false",
    ]
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env={**os.environ, "KUBECONFIG": str(server.kubeconfig)}, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        eventually(lambda: _pings(health), 60)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _pings(port: int) -> bool:
    with contextlib.suppress(OSError):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    return False


class Users:
    """Users of the Gateway, who ask one after the other."""

    def __init__(self, port: int, host: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._host, self._numbers = host, itertools.count(1)
        self.last_id = ""
        self.statuses: set[int] = set()

    def ask(self, count: int, user: str = "") -> Counter[tuple[str, int]]:
        """So many requests, each of another user or all of `user`; how many had which arm ("" if none) and status."""
        found: Counter[tuple[str, int]] = Counter()
        for _ in range(count):
            arm, status, self.last_id = self._post(
                "/v1/chat/completions", ANSWER, user or f"user-{next(self._numbers)}"
            )
            found[arm, status] += 1
            self.statuses.add(status)
        return found

    def feedback(self, answer: str) -> int:
        """The status that feedback on an answer has."""
        return self._post("/v1/feedback", json.dumps({"id": answer, "thumbs": "up"}), "somebody")[1]

    def _post(self, path: str, body: str, user: str) -> tuple[str, int, str]:
        headers = {"Host": self._host, "Content-Type": "application/json", "x-user-id": user}
        self._connection.request("POST", path, body, headers)
        reply = self._connection.getresponse()
        reply.read()
        return reply.headers.get("x-retune-arm", ""), reply.status, reply.headers.get("x-retune-id", "")


class LocalPod:
    """The tap of one pod and the model server behind it."""

    def __init__(self, pod: Raw, address: str, folder: Path) -> None:
        self.name, self.address, self.labels = pod["metadata"]["name"], address, pod["metadata"]["labels"]
        self.ip, self.port = next(_loopback), 0
        (tap,) = pod["spec"]["containers"]
        told = {e["name"]: e.get("value", "") for e in tap["env"]}
        own = {"RETUNE_POD": self.name, "RETUNE_POD_UID": pod["metadata"]["uid"]}  # by the downward API
        self._environment = {**told, **own, "RETUNE_MODELS": str(folder), "RETUNE_ARMS_FILE": str(folder / MOUNTED)}
        self.model = told.get("RETUNE_SERVES") or BASE
        self.upstream = Upstream()
        if self.model != BASE:
            self.upstream.adapters[self.model] = ""  # what the server was started with

    async def open(self, peers: str) -> None:
        """Start server and tap. `peers`: addresses in place of the Service's name, which nobody resolves here."""
        self._stack = contextlib.AsyncExitStack()
        await self._stack.enter_async_context(self.upstream)
        environment = {**self._environment, "RETUNE_UPSTREAM": self.upstream.url, "RETUNE_PEERS": peers}
        settings = replace(Settings.of(environment), user_host=self.ip, user_port=0)
        loader = Loader.from_environment(environment, {})
        self._stack.push_async_callback(loader.close)
        self.tap = Tap(settings, loader, clock=time.monotonic, wall=time.time, chance=random.Random(7))
        self._stack.push_async_callback(self.tap.close)
        ports = await listen(self.tap)
        self._stack.push_async_callback(drain, self.tap, ports)
        site = web.TCPSite(ports.users_runner, self.address, 0)
        await site.start()
        self.port = ports.users_runner.addresses[-1][1]
        await self._stack.enter_async_context(keeping(self.tap))

    async def close(self) -> None:
        """Stop both."""
        await self._stack.aclose()


class LocalPods:
    """Plays the kubelet and the EndpointSlice controller of a namespace."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder, self._address = cluster, folder, own_address()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.pods: list[LocalPod] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for pod in self.pods:
            self._here(pod.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _here(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(30)

    def waiting(self, arm: str) -> list[Any]:
        """Pods of an arm that nobody has started yet."""
        selector, known = f"retune.dev/serving={arm}", {pod.name for pod in self.pods}
        found = self._cluster.core.list_namespaced_pod(self._cluster.namespace, label_selector=selector).items
        return [pod for pod in found if pod.metadata.name not in known]

    def there(self, pod: LocalPod) -> bool:
        """Whether nobody has deleted it."""
        found = self._cluster.core.list_namespaced_pod(self._cluster.namespace).items
        return pod.name in {one.metadata.name for one in found}

    def start(self, service: str, arm: str) -> LocalPod:
        """The arm's next pod runs, is told its arms, and is Ready; its Service leads to it."""
        core, namespace = self._cluster.core, self._cluster.namespace
        (found,) = eventually(lambda: self.waiting(arm), 60)
        folder = self._folder / found.metadata.name
        folder.mkdir()
        mounted = eventually(lambda: core.read_namespaced_config_map("triage-arms", namespace).data, 60)
        (folder / MOUNTED).write_text(mounted[MOUNTED])
        pod = LocalPod(self._cluster.api.sanitize_for_serialization(found), self._address, folder)
        self._here(pod.open(",".join(p.ip for p in self.pods)))
        self.pods.append(pod)
        self._status(pod, ready=False)
        eventually(lambda: pod.tap.ready, 60)
        self._slice(service, pod)
        self._status(pod, ready=True)
        return pod

    def leave(self, pod: LocalPod) -> None:
        """Its Service leads to it no longer; it goes on with what it has."""
        at = ("discovery.k8s.io", "v1", self._cluster.namespace, "endpointslices", pod.name)
        self._cluster.custom.delete_namespaced_custom_object(*at)

    def behave(self, pod: LocalPod, behaviour: Behaviour) -> None:
        """Let a pod's model answer like that from now on."""
        pod.upstream.behaviours[pod.model] = behaviour

    def _status(self, pod: LocalPod, *, ready: bool) -> None:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [{"type": "Ready", "status": str(ready), "lastTransitionTime": now}]
        status = {"phase": "Running", "podIP": pod.ip, "podIPs": [{"ip": pod.ip}], "conditions": conditions}
        self._cluster.core.patch_namespaced_pod_status(pod.name, self._cluster.namespace, {"status": status})

    def _slice(self, service: str, pod: LocalPod) -> None:
        body = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "name": pod.name,
                "namespace": self._cluster.namespace,
                "labels": {"kubernetes.io/service-name": service},
            },
            "addressType": "IPv4",
            "endpoints": [{"addresses": [pod.address], "conditions": {"ready": True}}],
            "ports": [{"name": "http", "port": pod.port, "protocol": "TCP"}],
        }
        self._cluster.custom.create_namespaced_custom_object(
            "discovery.k8s.io", "v1", self._cluster.namespace, "endpointslices", body
        )


def gateway(port: int) -> Raw:
    """A Gateway that Traefik takes up."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": {"name": "gate"},
        "spec": {
            "gatewayClassName": CLASS,
            "listeners": [{"name": "web", "protocol": "HTTP", "port": port}],
        },
    }


def shares(cluster: Cluster, job: str) -> dict[str, int]:
    """The weights of a job's HTTPRoute, by Service."""
    route: Any = cluster.custom.get_namespaced_custom_object(*GATEWAY_API, cluster.namespace, "httproutes", job)
    return {b["name"]: b["weight"] for b in route["spec"]["rules"][0]["backendRefs"]}


def deployments(cluster: Cluster) -> set[str]:
    """The names of the namespace's Deployments."""
    found = kubernetes.client.AppsV1Api(cluster.api).list_namespaced_deployment(cluster.namespace)
    return {d.metadata.name for d in found.items}
