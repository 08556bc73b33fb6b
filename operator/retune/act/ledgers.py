"""Writes a ledger into the operator's own namespace, over the version that it was decided on and no other."""

from typing import Any, Protocol

from retune.decide.ledger import Ledger, written
from retune.decide.naming import LEDGER_LABEL, LEDGER_OF, ledger_name
from retune.kube.client import ApiError, Client

Raw = dict[str, Any]


class Memory(Protocol):
    """Where what was written, or found, is remembered."""

    def ledger(self, namespace: str, job: str, raw: Raw | None) -> None:
        """Take in the ConfigMap of a job's ledger; None if there is none."""


def manifest(home: str, namespace: str, job: str, ledger: Ledger) -> Raw:
    """The ConfigMap. It has no owner: it outlives the job, and stands where no tenant can reach it."""
    metadata: Raw = {
        "name": ledger_name(namespace, job),
        "namespace": home,
        "labels": {"app.kubernetes.io/managed-by": "retune", LEDGER_LABEL: "true"},
        "annotations": {LEDGER_OF: f"{namespace}/{job}"},
    }
    if ledger.version:
        metadata["resourceVersion"] = ledger.version
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"ledger.json": written(ledger, f"{namespace}/{job}")},
    }


async def write(client: Client, memory: Memory, home: str, key: tuple[str, str], ledger: Ledger) -> None:
    """Write the ledger of the job `key` (namespace, name).

    Raises:
        ApiError: it was not written. With 409 another version was there; it has been read, for the next decision.
    """
    body, found = manifest(home, *key, ledger), None
    try:
        if ledger.version:
            found = await client.apply("configmaps", home, body)
        else:
            found = await client.create("configmaps", home, body)
    except ApiError as error:
        if error.code not in (404, 409):
            raise
    if found is None:
        memory.ledger(*key, await client.get("configmaps", home, body["metadata"]["name"]))
        raise ApiError(409, "Conflict", f"the ledger of {'/'.join(key)} is not the one that was decided on")
    memory.ledger(*key, found)
