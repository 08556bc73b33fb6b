"""Leadership by a Lease: one operator acts, the others watch and wait. Why not the library's own: design/0004."""

import asyncio
import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

from retune.kube.client import ApiError

log = logging.getLogger(__name__)
DURATION, DEADLINE, RETRY = 15.0, 10.0, 2.0  # s, as Kubernetes' own controllers
Raw = dict[str, Any]


class Leases(Protocol):
    """Reads and writes the Lease; each call ends within five seconds."""

    async def get_lease(self, namespace: str, name: str) -> Raw | None:
        """The Lease, or None."""

    async def replace_lease(self, namespace: str, name: str, body: Raw) -> Raw:
        """Create it, or replace the version named in the body."""


class Leadership:
    """Holds the Lease, or tries to.

    A leader that could not renew for `DEADLINE` seconds must have stopped acting before another one takes over, which
    happens `DURATION` seconds after its last renewal at the earliest. `held` says so by the monotonic clock, at every
    moment, without asking anybody; wall clocks of two machines are never compared.
    """

    def __init__(self, leases: Leases, namespace: str, name: str, identity: str, clock: Callable[[], float]) -> None:
        self._leases, self._namespace, self._name = leases, namespace, name
        self.identity = identity
        self._clock = clock
        self._renewed = float("-inf")
        self._seen: tuple[object, object] | None = None
        self._seen_at = 0.0
        self.acquired = asyncio.Event()

    def held(self) -> bool:
        """Whether this process may act now."""
        return self._clock() - self._renewed < DEADLINE

    async def hold(self) -> None:
        """Acquire the Lease, then renew it; returns when it is lost."""
        while not await self._try():  # noqa: ASYNC110 - another process is what is waited for
            await asyncio.sleep(RETRY)
        log.info("Leading as %s", self.identity)
        self.acquired.set()
        while self.held():
            await asyncio.sleep(RETRY)
            await self._try()
        log.error("The lease %s/%s was not renewed for %d s: stopping", self._namespace, self._name, DEADLINE)

    async def release(self) -> None:
        """Give the Lease up, so that the next operator need not wait for it to run out."""
        if not self.held():
            return
        self._renewed = float("-inf")
        try:
            lease = await self._leases.get_lease(self._namespace, self._name)
            if lease is not None and lease["spec"].get("holderIdentity") == self.identity:
                lease["spec"].update(holderIdentity="", leaseDurationSeconds=1)
                await self._leases.replace_lease(self._namespace, self._name, lease)
        except ApiError as error:
            log.warning("The lease was not released, it runs out by itself: %s", error)

    async def _try(self) -> bool:
        """Acquire or renew once. The renewal counts from before it was sent: the answer may be slow."""
        asked = self._clock()
        try:
            lease = await self._leases.get_lease(self._namespace, self._name)
            if lease is not None and not self._free(lease):
                return False
            await self._leases.replace_lease(self._namespace, self._name, self._ours(lease))
        except ApiError as error:
            log.warning("The lease cannot be renewed: %s", error)
            return False
        self._renewed = asked
        return True

    def _free(self, lease: Raw) -> bool:
        """Ours, given up, or not renewed for its duration, seen from here."""
        spec = lease.get("spec") or {}
        holder = spec.get("holderIdentity")
        if holder == self.identity or not holder:
            return True
        seen = (holder, spec.get("renewTime"))
        if seen != self._seen:
            self._seen, self._seen_at = seen, self._clock()
        return self._clock() - self._seen_at > float(spec.get("leaseDurationSeconds") or DURATION)

    def _ours(self, lease: Raw | None) -> Raw:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = (lease or {}).get("spec") or {}
        ours = old.get("holderIdentity") == self.identity
        transitions = old.get("leaseTransitions") or 0
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": lease["metadata"] if lease else {"name": self._name, "namespace": self._namespace},
            "spec": {
                "holderIdentity": self.identity,
                "leaseDurationSeconds": int(DURATION),
                "acquireTime": old.get("acquireTime") if ours else now,
                "renewTime": now,
                "leaseTransitions": transitions if ours or not lease else transitions + 1,
            },
        }
