"""Signs the arms document, writes it over the version it was decided on, and pushes it to the taps.

A push is a courtesy: whether a tap follows is judged by reading it back. So its failures are logged, never raised.
"""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Protocol

import aiohttp

from retune.act.serving import CLUSTER_PORT, owned
from retune.decide.arms import Arms
from retune.decide.facts import Meta
from retune.decide.naming import KEPT_ARMS, KEPT_LABEL, arms_name
from retune.decide.readings import Serving, ServingPod
from retune.kube.client import ApiError, Client
from retune.kube.envelope import Signer

log = logging.getLogger(__name__)
PUSH_TIMEOUT = 1.0  # s, for all taps together
FILE = "arms.json"
Raw = dict[str, Any]


class Kept(Protocol):
    """A ConfigMap with a document, as it was last written or read."""

    @property
    def version(self) -> str:
        """Its resourceVersion."""

    @property
    def text(self) -> str:
        """The envelope."""

    @property
    def arms(self) -> Arms | None:
        """The document in it; None if it was not signed by us."""


class Memory(Protocol):
    """Where what was written, or found, is remembered."""

    def arms(self, namespace: str, job: str, raw: Raw | None) -> None:
        """Take in the ConfigMap of a job's arms document; None if there is none."""

    def kept_arms(self, namespace: str, job: str) -> Kept | None:
        """The ConfigMap as it was last written or read."""


class Pushed(Protocol):
    """Counts pushes; the metrics of `main` implement it."""

    def push(self, *, ok: bool) -> None:
        """One tap that was pushed to."""


def manifest(job: Meta, envelope: str, version: str) -> Raw:
    """The ConfigMap, over `version` ("" if there is none yet)."""
    metadata = owned(arms_name(job.name), job.namespace, (job.name, job.uid), {KEPT_LABEL: KEPT_ARMS})
    if version:
        metadata["resourceVersion"] = version
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {FILE: envelope}}


class Documents:
    """Signs documents and writes them.

    Args:
        client: for the writes.
        memory: what is known of the ConfigMaps.
        signer: the operator's key.
    """

    def __init__(self, client: Client, memory: Memory, signer: Signer) -> None:
        self._client, self._memory, self._signer = client, memory, signer

    async def write(self, job: Meta, seen: Serving, arms: Arms) -> str:
        """Sign `arms` and write it; the envelope.

        Args:
            job: whose document it is.
            seen: what it was decided on.
            arms: the document; its generation is set here, to one more than any that was seen.

        Raises:
            ApiError: it was not written. With 409 another one was there than it was decided on, and has been read for
                the next decision.
        """
        kept = self._memory.kept_arms(job.namespace, job.name)
        if kept is not None and kept.arms is not None and kept.arms.uid != job.uid:
            kept = None  # of a deleted namesake: whatever is there now has to be looked at anew
        known = kept.arms if kept is not None else None
        if (known.generation if known else 0) != (seen.arms.generation if seen.arms else 0):
            raise ApiError(409, "Conflict", f"the arms document of {job.name} is not the one that was decided on")
        # The ConfigMap may have been lost, or come from a backup; the taps never go back.
        newest = max([known.generation if known else 0, *(tap.generation for tap in seen.taps.values())])
        envelope = self._signer.sealed(replace(arms, generation=newest + 1))
        body, found = manifest(job, envelope, kept.version if kept is not None else ""), None
        try:
            if kept is not None:
                found = await self._client.apply("configmaps", job.namespace, body)
            else:
                found = await self._client.create("configmaps", job.namespace, body)
        except ApiError as error:
            if error.code not in (404, 409):
                raise
        if found is None:
            raw = await self._client.get("configmaps", job.namespace, arms_name(job.name))
            owners = (raw or {}).get("metadata", {}).get("ownerReferences") or []
            if raw is not None and not any(o.get("controller") and o["uid"] == job.uid for o in owners):
                self._memory.arms(job.namespace, job.name, None)
                raise ApiError(
                    422,
                    "NotOurs",
                    f"ConfigMap {job.namespace}/{arms_name(job.name)} is there and does not belong to this "
                    "FineTuneJob: delete it, or give the job another name",
                )
            self._memory.arms(job.namespace, job.name, raw)
            raise ApiError(409, "Conflict", f"the arms document of {job.name} is not the one that was decided on")
        self._memory.arms(job.namespace, job.name, found)
        return envelope


class Push:
    """Gives documents to taps.

    Args:
        session: for the requests.
        counted: told of each tap that took one, or did not.
    """

    def __init__(self, session: aiohttp.ClientSession, counted: Pushed, port: int = CLUSTER_PORT) -> None:
        self._session, self._counted, self._port = session, counted, port

    async def to(self, pods: Iterable[ServingPod], envelope: str) -> None:
        """Push to all of these pods' taps at once; no longer than a second, whoever is slow."""
        there = [pod for pod in pods if pod.ip and not pod.over]
        for pod, said in zip(there, await asyncio.gather(*(self._one(pod, envelope) for pod in there)), strict=True):
            self._counted.push(ok=not said)
            if said:
                log.warning("The tap of pod %s (%s) did not take the arms document: %s", pod.name, pod.ip, said)

    async def _one(self, pod: ServingPod, envelope: str) -> str:
        """Why the tap did not take it; "" if it did."""
        host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
        try:
            async with self._session.post(
                f"http://{host}:{self._port}/v1/arms",
                data=envelope.encode(),
                headers={"Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=PUSH_TIMEOUT),
                allow_redirects=False,  # a pod must not send the operator anywhere
            ) as response:
                return "" if response.status == 200 else f"it answered {response.status}"
        except TimeoutError:
            return f"no answer within {PUSH_TIMEOUT:g} s"
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return type(error).__name__
