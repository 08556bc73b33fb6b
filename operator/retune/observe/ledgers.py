"""Reads the ledgers, which lie in the operator's own namespace: all when it begins to lead, one whenever in doubt."""

import logging

from retune.decide.naming import LEDGER_LABEL, LEDGER_OF, ledger_name
from retune.kube.client import Client
from retune.observe.cache import Caches
from retune.observe.resync import PAGE

log = logging.getLogger(__name__)


class Ledgers:
    """Fills `caches.ledgers`. They are not watched: only the leader writes them.

    Args:
        caches: where they go.
        client: for the lists.
        home: the operator's own namespace.
    """

    def __init__(self, caches: Caches, client: Client, home: str) -> None:
        self._caches, self._client, self._home = caches, client, home

    async def load(self) -> None:
        """Read them all.

        Raises:
            ApiError: the list could not be had.
        """
        query = {"limit": PAGE, "labelSelector": f"{LEDGER_LABEL}=true"}
        while True:
            page = await self._client.list_page("configmaps", self._home, query)
            for raw in page.get("items") or []:
                namespace, _, job = (raw["metadata"].get("annotations") or {}).get(LEDGER_OF, "").partition("/")
                if raw["metadata"]["name"] == ledger_name(namespace, job):
                    self._caches.ledger(namespace, job, raw)
                else:
                    log.warning("ConfigMap %s/%s is no ledger of ours", self._home, raw["metadata"]["name"])
            if not page["metadata"].get("continue"):
                return
            query["continue"] = page["metadata"]["continue"]

    async def again(self, namespace: str, job: str) -> None:
        """Read one anew.

        Raises:
            ApiError: it could not be had.
        """
        raw = await self._client.get("configmaps", self._home, ledger_name(namespace, job))
        self._caches.ledger(namespace, job, raw)
