"""The API server, asked with the user's own kubeconfig; what it refuses becomes a sentence.

Raw JSON through the official client, as in the operator (design/0003): custom objects have no models there anyway.
"""

import json
import logging
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from retune.cli.failure import Failure, NotFoundError, RefusedError, SilentError

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

Raw = dict[str, Any]
FIELD_MANAGER = "kubectl-retune"
TIMEOUT = 20  # s, of one request
_GROUPS = {"finetunejobs": "retune.dev", "finetuneruns": "retune.dev"}
_PATHS = {"retune.dev": "/apis/retune.dev/v1alpha1", "": "/api/v1"}
_REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
_FORBIDDEN = re.compile(r'User "(.*?)" cannot (\w+) resource "([\w/]+)" in API group "([\w.]*)"')
_REFUSED = re.compile(r"ValidatingAdmissionPolicy '(.*?)' with binding '.*?' denied request: (.*)", re.DOTALL)


class Server:
    """Reads and annotates objects in one namespace.

    Every method raises `Failure` with a sentence for the user; `NotFoundError` where there is no such object,
    `SilentError` where nobody answers, `RefusedError` where an admission policy said no.
    """

    def __init__(self, api: "ApiClient", namespace: str, context: str) -> None:
        self._api, self.namespace, self._context = api, namespace, context

    def get(self, resource: str, name: str) -> Raw:
        """One object."""
        return self._json("GET", self._path(resource, name))

    def find(self, resource: str, name: str) -> Raw | None:
        """One object, or None if there is none of that name."""
        try:
            return self.get(resource, name)
        except NotFoundError:
            return None

    def select(self, resource: str, *, labels: str = "", fields: str = "") -> list[Raw]:
        """The objects that the selectors fit."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        return list(self._json("GET", self._path(resource), {k: v for k, v in query.items() if v}).get("items") or ())

    def annotate(self, resource: str, name: str, annotations: Mapping[str, str | None]) -> Raw:
        """Set annotations; None removes one."""
        body = {"metadata": {"annotations": dict(annotations)}}
        return self._json("PATCH", self._path(resource, name), {"fieldManager": FIELD_MANAGER}, body)

    def user(self) -> str:
        """The name by which the API server knows the user."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        return str(self._json("POST", _REVIEW, body=body)["status"]["userInfo"]["username"])

    def log(self, pod: str, *, follow: bool) -> Iterator[bytes]:
        """A pod's log, piece by piece; with `follow` until the pod ends."""
        from urllib3.exceptions import HTTPError

        query = {"follow": "true"} if follow else {}
        response = self._send("GET", self._path("pods", pod) + "/log", query, timeout=None if follow else TIMEOUT)
        try:
            yield from response.stream()
        except HTTPError as error:
            raise SilentError(f"the log of pod {pod} broke off: {error}. Ask for it again") from error

    def _path(self, resource: str, name: str = "") -> str:
        path = f"{_PATHS[_GROUPS.get(resource, '')]}/namespaces/{quote(self.namespace, safe='')}/{resource}"
        return f"{path}/{quote(name, safe='')}" if name else path

    def _json(self, method: str, path: str, query: Mapping[str, str] | None = None, body: Raw | None = None) -> Raw:
        text = self._send(method, path, query or {}, body).read()
        found = json.loads(text)
        return found if isinstance(found, dict) else {}

    def _send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Raw | None = None,
        timeout: float | None = TIMEOUT,
    ) -> Any:  # noqa: ANN401 - urllib3's response, from a library without types
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        url = self._api.configuration.host + path + (f"?{urlencode(query)}" if query else "")
        self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        try:
            answer = self._api.call_api(method, url, headers, body, _request_timeout=timeout).response
        except (HTTPError, ApiException, OSError) as error:
            raise self._unreachable(_root(error)) from error
        if answer.status >= 300:
            raise self._explained(answer.status, answer.read().decode(errors="replace"), path)
        return answer

    def _unreachable(self, cause: str) -> Failure:
        host = self._api.configuration.host
        if "CERTIFICATE" in cause:
            return Failure(
                f"the API server at {host} shows a certificate that is not to be trusted ({cause}). "
                f'Mend certificate-authority of context "{self._context}" in the kubeconfig'
            )
        return SilentError(
            f"the API server at {host} does not answer ({cause}). "
            f'Is the cluster up, and is "{self._context}" the right context? Choose another one with --context'
        )

    def _explained(self, code: int, text: str, path: str) -> Failure:
        try:
            said = json.loads(text)
        except ValueError:
            said = {}
        said = said if isinstance(said, dict) else {}
        message = str(said.get("message") or text[:300] or f"HTTP {code}")
        if match := _REFUSED.search(message):
            return RefusedError(f"the policy {match[1]} refuses this: {match[2]}", match[2])
        if code == 401:
            return Failure(
                f'the API server does not accept your credentials (context "{self._context}"). '
                "Log in again, or choose another context with --context"
            )
        if code == 403:
            return Failure(self._forbidden(message))
        if code == 404 and not (said.get("details") or {}).get("name"):
            if "retune.dev" in path:
                return Failure(
                    f'the cluster of context "{self._context}" does not know FineTuneJobs: Retune is not installed '
                    "there. Install its chart, or choose another context with --context"
                )
            return Failure(f"the API server does not know {path}: {message}")
        if code == 404:
            return NotFoundError(f"{message} (namespace {self.namespace})")
        busy = code >= 500 or code == 429
        return (
            SilentError(f"the API server cannot answer now: {message}")
            if busy
            else Failure(f"the API server refuses this: {message}")
        )

    def _forbidden(self, message: str) -> str:
        match = _FORBIDDEN.search(message)
        if match is None:  # not a missing right: a quota, a webhook
            return f"the API server refuses this: {message}"
        user, verb, resource, group = match.groups()
        full = f"{resource}.{group}" if group else resource
        return (
            f'you are "{user}", and may not {verb} {full} in namespace {self.namespace}. Ask an administrator for a '
            f'Role with verbs: [{verb}], resources: [{resource}], apiGroups: ["{group}"]'
        )


def connect(kubeconfig: str | None, context: str | None, namespace: str | None) -> Server:
    """The API server of a kubeconfig's context; the namespace is the context's own unless one is given.

    Raises:
        Failure: there is no usable kubeconfig, or no such context.
    """
    from yaml import YAMLError

    from kubernetes import config

    heard = _Heard()
    logging.getLogger().addHandler(heard)  # the library only logs why a credential plugin has failed
    try:
        known, active = config.list_kube_config_contexts(kubeconfig)
        chosen = active if context is None else next((c for c in known if c["name"] == context), None)
        if chosen is None:
            names = ", ".join(sorted(c["name"] for c in known))
            raise Failure(f'the kubeconfig has no context "{context}". It has: {names}')
        api = config.new_client_from_config(kubeconfig, context)
    except (config.ConfigException, YAMLError, OSError, TypeError, KeyError, AttributeError) as error:
        raise Failure(
            f"no usable kubeconfig: {str(error).rstrip('.')}. Name one with --kubeconfig or KUBECONFIG"
        ) from error
    finally:
        logging.getLogger().removeHandler(heard)
    if heard.said:
        raise Failure(
            f'the credentials of context "{chosen["name"]}" cannot be had: {heard.said[0]}. '
            "Mend its user in the kubeconfig, or choose another context with --context"
        )
    api.configuration.retries = False
    api.rest_client.pool_manager.connection_pool_kw["retries"] = False
    return Server(api, namespace or chosen["context"].get("namespace") or "default", chosen["name"])


class _Heard(logging.Handler):
    """Keeps what is logged as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


def _root(error: BaseException) -> str:
    """The first cause, in short."""
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _root(reason)
    text = str(reason or error)
    number = re.search(r"\[Errno -?\d+\] (.*?)\)*$", text)
    return number[1] if number else text[:200]
