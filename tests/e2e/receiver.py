"""Where the operator's messages go in the local cluster: a pod that takes what Apprise posts as JSON, and shows it."""

import json
from typing import Any

from hack.cluster import images
from kubernetes.client.exceptions import ApiException

from tests.cluster.cluster import Cluster, Raw, eventually
from tests.e2e.conftest import SYSTEM

SECRET = "retune-channels"
PORT = 8000
# Prints each message as one line.
LISTEN = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


class Receiver:
    """A channel of the operator's, named `channel`, that leads to a pod of the cluster's namespace."""

    def __init__(self, cluster: Cluster, channel: str) -> None:
        self._cluster, self._channel = cluster, channel

    def start(self) -> None:
        """Start the pod, and let the operator know the channel; that takes the kubelet a minute or two."""
        container = {
            "name": "receiver",
            "image": images.noted()["trainer"],
            "imagePullPolicy": "IfNotPresent",
            "command": ["python", "-c", LISTEN],
            "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "runAsNonRoot": True,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        meta = {"name": "receiver", "labels": {"app": "receiver"}}
        core, namespace = self._cluster.core, self._cluster.namespace
        core.create_namespaced_pod(namespace, {"metadata": meta, "spec": {"containers": [container]}})
        ports = [{"port": PORT}]
        service = {"metadata": {"name": "receiver"}, "spec": {"selector": meta["labels"], "ports": ports}}
        core.create_namespaced_service(namespace, service)
        address = f"json://receiver.{namespace}.svc:{PORT}/"
        secret = {"metadata": {"name": SECRET}, "stringData": {self._channel: address}}
        self.stop()
        core.create_namespaced_secret(SYSTEM, secret)

    def stop(self) -> None:
        """Let the operator forget the channel."""
        try:
            self._cluster.core.delete_namespaced_secret(SECRET, SYSTEM)
        except ApiException as error:
            if error.status != 404:
                raise

    def heard(self) -> list[Raw]:
        """All messages so far: `title`, `message` and `type`, as Apprise's json:// posts them."""
        text: Any = self._cluster.core.read_namespaced_pod_log("receiver", self._cluster.namespace)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def of(self, *words: str, seconds: float = 240.0) -> Raw:
        """The message that has all these words, once it is there; there must be one alone."""

        def check() -> Raw:
            heard = self.heard()
            found = [one for one in heard if all(word in f"{one['title']}\n{one['message']}" for word in words)]
            assert len(found) == 1, heard
            return found[0]

        return eventually(check, seconds)
