"""Holds the caches against lists of the API server: a watch can miss a deletion, and starts before it is complete."""

import asyncio
from collections.abc import Callable

from retune.kube.client import Client
from retune.observe.cache import Cache, Caches, Raw
from retune.observe.projections import ours

PAGE = "500"
SELECTORS = {"jobs": "retune.dev/run", "pods": "retune.dev/run"}


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
        self._caches: dict[str, Cache[object]] = {
            "finetunejobs": caches.jobs,  # type: ignore[dict-item] # read-only use: variance does not matter
            "finetuneruns": caches.runs,  # type: ignore[dict-item]
            "jobs": caches.children,  # type: ignore[dict-item]
            "pods": caches.pods,  # type: ignore[dict-item]
        }

    async def complete(self) -> None:
        """Wait until the caches hold all that exists now: until then, what is missing only looks as if it were gone."""
        for resource, cache in self._caches.items():
            for item in (await self._listed(resource))[0]:
                while not cache.knows(item) and (resource not in SELECTORS or ours(item)):
                    if (
                        await self._client.get(resource, item["metadata"]["namespace"], item["metadata"]["name"])
                        is None
                    ):
                        break  # deleted since the list was made
                    await asyncio.sleep(0.1)

    async def sweep(self) -> int:
        """Drop what no longer exists; how many objects that were."""
        dropped = 0
        for resource, cache in self._caches.items():
            listed, as_of = await self._listed(resource)
            for raw in cache.unseen({item["metadata"]["uid"] for item in listed}, as_of):
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
