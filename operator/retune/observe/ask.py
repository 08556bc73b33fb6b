"""What no cache holds and has to be asked for: a pod's progress, a Job's refused pods, a ServiceAccount's label."""

import asyncio
import contextlib
import logging
from typing import TypeVar

import aiohttp

from retune.decide.facts import Child, Pod, PodProgress, Stage
from retune.decide.readings import RouteSeen
from retune.kube.client import ApiError, Client
from retune.observe import projections

log = logging.getLogger(__name__)
PORT = 9090
POLL_TIMEOUT = 2.0  # s
USABLE_LABEL = "retune.dev/usable"
N = TypeVar("N", int, float)


class Ask:
    """Asks pods and the API server. Nobody's silence is an error: what cannot be known is None."""

    def __init__(self, client: Client, session: aiohttp.ClientSession) -> None:
        self._client, self._session = client, session

    async def progress(self, pods: tuple[Pod, ...]) -> PodProgress | None:
        """What the running training pod among `pods` says of itself, within two seconds."""
        running = [p for p in pods if p.stage is Stage.TRAIN and p.running_since and not p.over]
        pod = max(running, key=lambda p: p.attempt, default=None)
        if pod is None or not pod.ip:
            return None
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        with contextlib.suppress(
            aiohttp.ClientError, asyncio.TimeoutError, ArithmeticError, ValueError, KeyError, TypeError
        ):
            async with self._session.get(
                f"http://{host}:{PORT}/progress",
                timeout=aiohttp.ClientTimeout(total=POLL_TIMEOUT),
                allow_redirects=False,  # a pod must not send the operator anywhere
            ) as response:
                said = await response.json(content_type=None)
            return PodProgress(
                attempt=int(said["attempt"]),
                stage=str(said["stage"]),
                step=_number(said.get("step"), int),
                steps=_number(said.get("steps"), int),
                loss=_number(said.get("loss"), float),
                tokens_per_second=_number(said.get("tokensPerSecond"), float),
                eta_seconds=_number(said.get("etaSeconds"), float),
            )
        return None

    async def denied(self, namespace: str, child: Child) -> tuple[str, str] | None:
        """The Job controller's newest complaint that it could not create the pod (a quota, an admission rule)."""
        query = {"fieldSelector": f"involvedObject.uid={child.uid},reason=FailedCreate"}
        try:
            events = (await self._client.list_page("events", namespace, query)).get("items") or []
        except ApiError as error:
            log.warning("Events of Job %s/%s cannot be read: %s", namespace, child.name, error)
            return None
        if not events:
            return None
        newest = max(events, key=lambda e: e.get("lastTimestamp") or e["metadata"].get("creationTimestamp") or "")
        return newest["reason"], newest.get("message", "")

    async def route(self, namespace: str, name: str) -> RouteSeen | None:
        """The HTTPRoute of that name; None if there is none, or the cluster does not know the kind."""
        found = await self._client.get("httproutes", namespace, name)
        return projections.route(found) if found is not None else None

    async def account_refused(self, namespace: str, name: str) -> str:
        """Why pods may not use this ServiceAccount, or "" if they may."""
        account = await self._client.get("serviceaccounts", namespace, name)
        if account is None:
            return f"spec.training.serviceAccountName: there is no ServiceAccount {name} in namespace {namespace}."
        if (account["metadata"].get("labels") or {}).get(USABLE_LABEL) == "true":
            return ""
        return (
            f"spec.training.serviceAccountName: ServiceAccount {name} is not meant for training pods. Whoever owns it "
            f'can allow that with: kubectl label serviceaccount {name} {USABLE_LABEL}="true"'
        )


def _number(said: object, kind: type[N]) -> N | None:
    """A pod may say anything, and what the status cannot hold is as good as unknown."""
    return kind(said) if isinstance(said, int | float) and 0 <= said < 1e9 else None
