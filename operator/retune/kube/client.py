"""The one door to the API server: raw JSON through kubernetes.aio, rate-limited, fenced by leadership, counted.

Why kubernetes.aio and raw JSON: design/0003.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient
from kubernetes.aio.config.config_exception import ConfigException

from retune.kube.bucket import TokenBucket

FIELD_MANAGER = "retune"
TIMEOUT = 30  # s, of one request
Raw = dict[str, Any]

RESOURCES = {
    "finetunejobs": "/apis/retune.dev/v1alpha1",
    "finetuneruns": "/apis/retune.dev/v1alpha1",
    "jobs": "/apis/batch/v1",
    "pods": "/api/v1",
    "deployments": "/apis/apps/v1",
    "services": "/api/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "httproutes": "/apis/gateway.networking.k8s.io/v1",
    "configmaps": "/api/v1",
    "events": "/api/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "serviceaccounts": "/api/v1",
}


class ApiError(Exception):
    """The API server said no. `code` is the HTTP status, `reason` the machine-readable one (such as AlreadyExists)."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code, self.reason, self.retry_after = code, reason, retry_after


class NotLeader(Exception):  # noqa: N818 - a state, not a failure
    """This process has lost the lease, or never had it: it must not write."""


class Recorder(Protocol):
    """Counts writes; the metrics of `main` implement it."""

    def api_write(self, verb: str, resource: str) -> None:
        """One write that was sent."""


class Client:
    """Reads and writes of the resources that Retune may touch.

    Args:
        api: the library's client; it keeps credentials fresh and connections open.
        bucket: the rate limit for every request.
        may_write: the fence; asked right before each write.
        recorder: told of each write.
    """

    def __init__(self, api: ApiClient, bucket: TokenBucket, may_write: Callable[[], bool], recorder: Recorder) -> None:
        self._api, self._bucket, self._may_write, self._recorder = api, bucket, may_write, recorder

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw | None:
        """Create an object; None if one of that name is already there (it is left as it is)."""
        try:
            return await self._write("create", "POST", resource, namespace, "", body=body)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return None
            raise

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        """Server-side apply. With a `resourceVersion` in the metadata it fails with 409 if the object has moved on."""
        return await self._write(
            "apply",
            "PATCH",
            resource,
            namespace,
            body["metadata"]["name"],
            subresource=subresource,
            query={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=body,
            content="application/apply-patch+yaml",
        )

    async def merge(self, resource: str, namespace: str, name: str, body: Raw) -> Raw:
        """JSON merge patch."""
        content = "application/merge-patch+json"
        return await self._write("patch", "PATCH", resource, namespace, name, body=body, content=content)

    async def delete(self, resource: str, namespace: str, name: str, uid: str, *, foreground: bool = False) -> None:
        """Delete the object of that name and uid; one that is gone, or a namesake, is left alone."""
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "preconditions": {"uid": uid},
            "propagationPolicy": "Foreground" if foreground else "Background",
        }
        try:
            await self._write("delete", "DELETE", resource, namespace, name, body=options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    async def get(self, resource: str, namespace: str, name: str) -> Raw | None:
        """One object, or None."""
        try:
            return await self._request("GET", _path(resource, namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list_page(
        self, resource: str, namespace: str, query: Mapping[str, str], *, metadata: bool = False
    ) -> Raw:
        """One page of a list; `metadata` asks for metadata only."""
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1" if metadata else "application/json"
        return await self._request("GET", _path(resource, namespace), query=query, headers={"Accept": accept})

    async def replace_lease(self, namespace: str, name: str, body: Raw) -> Raw:
        """Write the leadership lease: outside the fence and the rate limit, which both depend on it."""
        method, path = (
            ("PUT", _path("leases", namespace, name))
            if body["metadata"].get("resourceVersion")
            else (
                "POST",
                _path("leases", namespace),
            )
        )
        return await self._send(method, path, {}, {"Content-Type": "application/json"}, body, timeout=5)

    async def get_lease(self, namespace: str, name: str) -> Raw | None:
        """Read the leadership lease."""
        try:
            return await self._send("GET", _path("leases", namespace, name), {}, {}, None, timeout=5)
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def missing_kinds(self) -> list[str]:
        """Which of Retune's own kinds the API server does not know (yet); all of them while it cannot be asked."""
        ours = [resource for resource, group in RESOURCES.items() if group.startswith("/apis/retune.dev")]
        try:
            found = await self._request("GET", "/apis/retune.dev/v1alpha1")
        except ApiError:
            return ours
        known = {resource["name"] for resource in found.get("resources") or []}
        return [resource for resource in ours if resource not in known]

    async def close(self) -> None:
        """Close all connections."""
        await self._api.close()

    async def _write(
        self,
        verb: str,
        method: str,
        resource: str,
        namespace: str,
        name: str,
        *,
        subresource: str = "",
        query: Mapping[str, str] | None = None,
        body: Raw | None = None,
        content: str = "application/json",
    ) -> Raw:
        path = _path(resource, namespace, name, subresource)
        await self._bucket.take()
        if not self._may_write():  # asked after the wait for a token, right before the act
            raise NotLeader("the lease was not renewed in time: somebody else may act")
        self._recorder.api_write(verb, f"{resource}/{subresource}" if subresource else resource)
        return await self._send(method, path, query or {}, {"Content-Type": content}, body)

    async def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Raw:
        await self._bucket.take()
        return await self._send(method, path, query or {}, dict(headers or {}), None)

    async def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: dict[str, str],
        body: Raw | None,
        *,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - the library's own parameter
    ) -> Raw:
        headers.setdefault("Accept", "application/json")
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            response = await self._api.call_api(method, url, headers, body, _request_timeout=timeout)
            text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, "Unreachable", f"{method} {path}: {type(error).__name__} {error}") from error
        try:
            data: Raw = json.loads(text) if text else {}
        except ValueError:  # the API server's own 429, and whatever stands before it, speak plain text
            data = {"message": text[:200].decode(errors="replace")}
            if response.status < 300:
                raise ApiError(0, "Unreadable", f"{method} {path}: {data['message']}") from None
        if response.status >= 300:
            after = response.headers.get("Retry-After")
            raise ApiError(
                response.status,
                str(data.get("reason", "Unknown")),
                f"{method} {path}: {data.get('message', '')}",
                float(after) if after and after.isdigit() else None,
            )
        return data


def _path(resource: str, namespace: str, name: str = "", subresource: str = "") -> str:
    parts = [RESOURCES[resource], *(["namespaces", namespace] if namespace else []), resource]
    parts += [part for part in (name, subresource) if part]
    return "/".join([parts[0], *(quote(part, safe="") for part in parts[1:])])


async def connect(max_connections: int) -> ApiClient:
    """A client of the library, from the pod's ServiceAccount or else from the kubeconfig."""
    try:
        kube_config.load_incluster_config()
    except ConfigException:
        await kube_config.load_kube_config()
    api = ApiClient()
    api.configuration.connection_pool_maxsize = max_connections
    return api
