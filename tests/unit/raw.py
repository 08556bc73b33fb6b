"""Objects as the API server gives them, and a server that holds them, for the tests of what reads and writes them."""

from typing import Any

from tests.unit import make

from retune.api import FineTuneRunStatus
from retune.kube.client import ApiError

Raw = dict[str, Any]
NS = "support"


def dump(model: Any) -> Raw:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def raw_job(**changes: Any) -> Raw:
    metadata = {"namespace": NS, "name": "triage", "uid": "job-uid", "resourceVersion": "1", "generation": 1}
    return {"metadata": metadata, "spec": make.written(), "status": {}, **changes}


def raw_run(status: FineTuneRunStatus | None = None, **spec: Any) -> Raw:
    facts = make.run_facts()
    owner = [{"uid": "job-uid", "controller": True}]
    metadata = {"namespace": NS, "name": make.RUN, "uid": facts.meta.uid, "resourceVersion": "2"}
    return {
        "metadata": {**metadata, "ownerReferences": owner},
        "spec": {**dump(facts.spec), **spec},
        "status": dump(status) if status else {},
    }


def raw_pod(namespace: str = NS, **labels: str) -> Raw:
    ours = {"run": make.RUN, "run-uid": "run-uid-1", "stage": "train", "attempt": "1"}
    metadata = {"namespace": namespace, "name": f"{make.RUN}-t1-x", "uid": "pod-uid", "resourceVersion": "3"}
    state = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
    return {
        "metadata": {**metadata, "labels": {f"retune.dev/{k}": v for k, v in {**ours, **labels}.items() if v}},
        "status": {"phase": "Running", "containerStatuses": [{"name": "trainer", "state": state}]},
    }


class Server:
    """Lists `objects`, and remembers writes; `refuse` answers creates of these resources with 403."""

    def __init__(self, objects: dict[str, list[Raw]] | None = None, refuse: frozenset[str] = frozenset()) -> None:
        self.objects, self.refuse, self.writes = objects or {}, refuse, []

    async def list_page(self, resource: str, *_: Any, **__: Any) -> Raw:
        return {"metadata": {"resourceVersion": "100"}, "items": self.objects.get(resource, [])}

    async def get(self, resource: str, namespace: str, name: str) -> Raw | None:
        return next((o for o in self.objects.get(resource, []) if o["metadata"]["name"] == name), None)

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw:
        if resource in self.refuse:
            raise ApiError(403, "Forbidden", "exceeded quota: count/finetuneruns")
        self.writes.append((resource, body))
        return {**body, "metadata": {**body["metadata"], "uid": "new", "resourceVersion": "50"}}

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        self.writes.append((resource, body))
        return {**raw_job(), **body, "metadata": {**body["metadata"], "uid": "job-uid", "resourceVersion": "50"}}
