"""Holds the caches against lists of the API server: a watch can miss a deletion, and starts before it is complete."""

import asyncio
from collections.abc import Callable
from typing import Any

from retune.decide.naming import MANAGED_BY_US, MANAGED_LABEL, SERVING_LABEL
from retune.kube.client import Client
from retune.observe.cache import Cache, Caches, Raw
from retune.observe.projections import deploys, ours, serves, watch_pod, watches

PAGE = "500"
# One for each resource: Jobs and pods are those of runs, of watches, and those that serve.
_OURS = f"{MANAGED_LABEL}={MANAGED_BY_US}"
SELECTORS = {"jobs": _OURS, "pods": _OURS, "deployments": SERVING_LABEL}


class Resync:
    """Compares the caches with metadata-only lists.

    Args:
        caches: filled by the watches.
        client: for the lists.
        namespaces: where to look; an empty string stands for the whole cluster.
        gone: told of the (resource, key) of each object that a watch has missed the end of.
    """

    def __init__(
        self, caches: Caches, client: Client, namespaces: tuple[str, ...], gone: Callable[[str, Raw], None]
    ) -> None:
        self._client, self._namespaces, self._gone = client, namespaces, gone
        self._caches: dict[str, list[tuple[Cache[Any], Callable[[Raw], bool]]]] = {
            "finetunejobs": [(caches.jobs, _any)],
            "finetuneruns": [(caches.runs, _any)],
            "jobs": [(caches.children, ours), (caches.watchers, watches)],
            "pods": [
                (caches.pods, ours),
                (caches.servers, serves),
                (caches.watch_pods, watch_pod),
            ],
            "deployments": [(caches.deployments, deploys)],
        }

    async def complete(self) -> None:
        """Wait until the caches hold all that exists now: until then, what is missing only looks as if it were gone."""
        for resource, caches in self._caches.items():
            for item in (await self._listed(resource))[0]:
                while any(takes(item) and not cache.knows(item) for cache, takes in caches):
                    if (
                        await self._client.get(resource, item["metadata"]["namespace"], item["metadata"]["name"])
                        is None
                    ):
                        break  # deleted since the list was made
                    await asyncio.sleep(0.1)

    async def sweep(self) -> int:
        """Drop what no longer exists; how many objects that were."""
        dropped = 0
        for resource, caches in self._caches.items():
            listed, as_of = await self._listed(resource)
            uids = {item["metadata"]["uid"] for item in listed}
            for cache, raw in [(each, raw) for each, _ in caches for raw in each.unseen(uids, as_of)]:
                cache.drop(raw)
                self._gone(resource, raw)
                dropped += 1
        return dropped

    async def _listed(self, resource: str) -> tuple[list[Raw], int]:
        """Metadata of every object, and the version of the cluster that the lists speak of (the oldest of them)."""
        items: list[Raw] = []
        versions: list[int] = []
        for namespace in self._namespaces:
            query = {"limit": PAGE}
            if resource in SELECTORS:
                query["labelSelector"] = SELECTORS[resource]
            while True:
                page = await self._client.list_page(resource, namespace, query, metadata=True)
                versions.append(int(page["metadata"].get("resourceVersion") or 0))
                items += page.get("items") or []
                if not page["metadata"].get("continue"):
                    break
                query["continue"] = page["metadata"]["continue"]
        return items, min(versions, default=0)


def _any(_: Raw) -> bool:
    return True
