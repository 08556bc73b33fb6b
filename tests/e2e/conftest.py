"""The e2e tier: the local cluster with its real kubelet, S3 and Prometheus, the operator as its chart installs it.

Needs what `make install` brings up; without a cluster every test is skipped, and says so.
"""

import itertools
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import yaml
from hack.cluster import backend, infra
from hack.cluster.process import ClusterError
from hack.demo import kubectl as demo_kubectl
from hack.demo import place, seed, store
from hack.demo.settings import STORE
from rich.console import Console

import kubernetes
from tests.cluster.cluster import Cluster, eventually
from tests.e2e.quiet import Quiet

_names = itertools.count(1)
KEYS = yaml.safe_load(STORE.read_text())["stringData"]
SYSTEM = "retune-system"
QUIET = "test_quiet_canary.py"
LAST = (QUIET, "test_dashboards.py")
"""They judge what has been going on beside all other tests, and what is left of it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put them last, in their order."""
    items.sort(key=lambda item: LAST.index(item.path.name) + 1 if item.path.name in LAST else 0)


@dataclass(frozen=True)
class Prometheus:
    """The cluster's Prometheus."""

    url: str

    def series(self, query: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        import json

        address = f"{self.url}/api/v1/query?query={urllib.parse.quote(query)}"
        with urllib.request.urlopen(address, timeout=10) as answer:
            return list(json.load(answer)["data"]["result"])


class Bucket:
    """What lies in S3, for a test to read and write."""

    def __init__(self) -> None:
        self.client = store.connect()

    def put(self, uri: str, body: bytes) -> None:
        """Write one object."""
        bucket, key = store.parts(uri)
        self.client.put_object(Bucket=bucket, Key=key, Body=body)

    def get(self, uri: str) -> bytes:
        """Read one object."""
        bucket, key = store.parts(uri)
        return self.client.get_object(Bucket=bucket, Key=key)["Body"].read()

    def list(self, uri: str) -> list[str]:
        """Keys below a URI, without its own part."""
        bucket, prefix = store.parts(uri.rstrip("/") + "/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return sorted(item["Key"].removeprefix(prefix) for page in pages for item in page.get("Contents", []))


@pytest.fixture(scope="session")
def real() -> kubernetes.client.ApiClient:
    """A client of the local cluster, whose store is filled."""
    found = backend.choose()
    if not found.healthy():
        pytest.skip("no local cluster is up: `make install` brings up all that these tests need")
    try:
        kubectl = demo_kubectl.connect()
        place.prepare(kubectl)
        seed.ensure(kubectl, Console(stderr=True))
    except ClusterError as error:
        pytest.fail(f"the store cannot be filled: {error}")
    return kubernetes.config.new_client_from_config(str(found.kubeconfig))


@pytest.fixture(scope="session")
def bucket(real: kubernetes.client.ApiClient) -> Bucket:
    """The store."""
    return Bucket()


@pytest.fixture(scope="session")
def prometheus(real: kubernetes.client.ApiClient) -> Prometheus:
    """Prometheus."""
    return Prometheus(infra.endpoint(backend.choose(), "prometheus"))


def _namespace(api: kubernetes.client.ApiClient) -> str:
    """A namespace under the strictest Pod Security, with the keys of the store."""
    core = kubernetes.client.CoreV1Api(api)
    name = f"e2e-{next(_names)}-{int(time.time()) % 100000}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": name, "labels": labels}})
    core.create_namespaced_secret(name, {"metadata": {"name": "store"}, "stringData": KEYS})
    eventually(lambda: core.read_namespaced_service_account("default", name), 60)  # until then no pod is let in
    return name


@pytest.fixture
def cluster(real: kubernetes.client.ApiClient) -> Iterator[Cluster]:
    """A namespace of the test's own."""
    name = _namespace(real)
    yield Cluster(real, name)
    kubernetes.client.CoreV1Api(real).delete_namespace(name)


@pytest.fixture(scope="module")
def shared_cluster(real: kubernetes.client.ApiClient) -> Iterator[Cluster]:
    """A namespace that a module's tests share, so that their pods can run at the same time."""
    name = _namespace(real)
    yield Cluster(real, name)
    kubernetes.client.CoreV1Api(real).delete_namespace(name)


@pytest.fixture(scope="session", autouse=True)
def quiet(request: pytest.FixtureRequest) -> Iterator[Quiet | None]:
    """A canary that has nothing to show, from the beginning of the session on; None if nobody will judge it."""
    if not any(item.path.name == QUIET for item in request.session.items):
        yield None
        return
    request.getfixturevalue("real")  # the store is filled, or all is skipped
    api = kubernetes.config.new_client_from_config(str(backend.choose().kubeconfig))  # a thread's own
    made = Quiet(Cluster(api, _namespace(api)), Bucket())
    made.start()
    yield made
    made.stop()
    made.cluster.core.delete_namespace(made.cluster.namespace)
