"""All ledgers are read before anything is decided, page by page, and nobody else's ConfigMap is taken for one."""

from typing import Any

from tests.unit.make import virtually

from retune.act.ledgers import manifest
from retune.decide.ledger import Ledger, read
from retune.observe.cache import Caches
from retune.observe.ledgers import Ledgers

Raw = dict[str, Any]


def raw(name: str, version: int) -> Raw:
    body = manifest("home", "ns", name, Ledger("EUR"))
    body["metadata"]["resourceVersion"] = str(version)
    return body


class Pages:
    """A list in pages of two."""

    def __init__(self, items: list[Raw]) -> None:
        self.items = items

    async def list_page(self, resource: str, namespace: str, query: Raw) -> Raw:
        assert (resource, namespace, query["labelSelector"]) == ("configmaps", "home", "retune.dev/ledger=true")
        start = int(query.get("continue", 0))
        more = {"continue": str(start + 2)} if start + 2 < len(self.items) else {}
        return {"metadata": more, "items": self.items[start : start + 2]}

    async def get(self, resource: str, namespace: str, name: str) -> Raw | None:
        return next((item for item in self.items if item["metadata"]["name"] == name), None)


def test_every_page_is_read_and_a_stranger_is_left_out() -> None:
    stranger = raw("a", 9)
    stranger["metadata"]["annotations"] = {"retune.dev/job": "ns/b"}  # copied by hand, and meant for another job
    server, caches = Pages([raw("a", 1), raw("b", 2), stranger, raw("c", 3), raw("d", 4)]), Caches.empty()
    ledgers = Ledgers(caches, server, "home")  # type: ignore[arg-type]
    virtually(ledgers.load())
    assert {key: read(text, version).version for key, (version, text) in caches.ledgers.items()} == {
        ("ns", name): version for name, version in (("a", "1"), ("b", "2"), ("c", "3"), ("d", "4"))
    }
    server.items = [raw("a", 5)]
    virtually(ledgers.again("ns", "a"))
    virtually(ledgers.again("ns", "b"))
    assert caches.ledgers["ns", "a"][0] == "5"
    assert ("ns", "b") not in caches.ledgers
