"""Applies what serves for a job, and keeps what is remembered of it. Touches nothing that is not the job's own."""

import logging
from typing import Any, Protocol

from retune.act import serving
from retune.act.manifests import API_VERSION
from retune.decide.actions import ApplyRoute, ApplyServing, RememberDrift
from retune.decide.drift.memory import Memory as Drift
from retune.decide.drift.memory import dump
from retune.decide.facts import Meta, RunFacts
from retune.decide.naming import (
    JOB_LABEL,
    JOB_UID_LABEL,
    KEPT_DRIFT,
    KEPT_EVIDENCE,
    KEPT_LABEL,
    MANAGED_BY_US,
    MANAGED_LABEL,
    RUN_LABEL,
    RUN_UID_LABEL,
    canary_name,
    drift_name,
    evidence_name,
    taps_name,
)
from retune.kube.client import FIELD_MANAGER, ApiError, Client

log = logging.getLogger(__name__)
FILE, DRIFT_FILE = "evidence.json", "drift.json"
LARGEST = 1_000_000  # bytes, where objects may have 1 MiB: some 70 pods with 8 stop-losses and 10 steps
Raw = dict[str, Any]


class Memory(Protocol):
    """Where what was written is remembered."""

    def deployment(self, raw: Raw) -> None:
        """Take in a Deployment."""

    def evidence(self, namespace: str, run: str, raw: Raw | None) -> None:
        """Take in the ConfigMap of a run's evidence; None if there is none."""

    def drift_seen(self, job: Meta, memory: Drift, written: float | None) -> None:
        """Remember a look at drift. `written`: when it was written down, seconds since the epoch; None: it was not."""


async def apply(client: Client, memory: Memory, job: Meta, action: ApplyServing, own: serving.Own) -> None:
    """Apply Services, disruption budget and, last, since it carries the digest that says all is done, the Deployment.

    Raises:
        ApiError: a write failed, or (422) what is asked for is not to be had; the message names the field and the cure.
    """
    template = action.template
    if not own.tap:
        raise ApiError(422, "NoImage", "the operator has no --tap-image: an administrator sets the value tap.image")
    if not (template.serving.image or own.server):
        raise ApiError(422, "NoImage", "spec.serving.image is empty, and the operator has none: name a server image")
    if wrong := serving.forbidden(template.serving.args):
        raise ApiError(422, "Forbidden", f"spec.serving.args: {', '.join(wrong)} is for the operator to set; remove it")
    await _one(client, "services", job, serving.service(job, action))
    await _one(client, "services", job, serving.peers(job))
    await _one(client, "poddisruptionbudgets", job, serving.budget(job, action))
    memory.deployment(await _one(client, "deployments", job, serving.deployment(job, action, own)))


async def apply_route(client: Client, job: Meta, action: ApplyRoute) -> None:
    """Apply the HTTPRoute.

    Raises:
        ApiError: a write failed, or (422) the cluster has no Gateway API, or the name is somebody else's.
    """
    try:
        await _one(client, "httproutes", job, serving.http_route(job, action))
    except ApiError as error:
        if error.code != 404:
            raise
        raise ApiError(
            422,
            "NoGatewayApi",
            "spec.serving.mode Deployment needs the Gateway API (HTTPRoute, gateway.networking.k8s.io/v1), which this "
            "cluster does not have: an administrator installs it with a Gateway, or set spec.serving.mode to Adapter",
        ) from error


async def remove_canary(client: Client, job: Meta) -> None:
    """Delete the candidate's own Service, disruption budget and Deployment, where they are the job's.

    Raises:
        ApiError: a request failed.
    """
    name = canary_name(job.name)
    await _remove(client, job, ("services", name), ("poddisruptionbudgets", name), ("deployments", name))


async def remove(client: Client, job: Meta) -> None:
    """Delete what `apply` and `apply_route` have made; a namesake that the job does not control is left alone.

    Raises:
        ApiError: a deletion failed; the Deployment goes last, so that it is asked for again.
    """
    await _remove(client, job, ("httproutes", job.name))  # before what it leads to
    await remove_canary(client, job)
    services = [("services", job.name), ("services", taps_name(job.name))]
    await _remove(client, job, *services, ("poddisruptionbudgets", job.name), ("deployments", job.name))


async def _remove(client: Client, job: Meta, *objects: tuple[str, str]) -> None:
    for resource, name in objects:
        found = await client.get(resource, job.namespace, name)
        if found is not None and _controls(job, found):
            await client.delete(resource, job.namespace, name, found["metadata"]["uid"])


def _controls(job: Meta, found: Raw) -> bool:
    owners = found["metadata"].get("ownerReferences") or []
    return any(o.get("controller") and o["uid"] == job.uid for o in owners)


async def _one(client: Client, resource: str, job: Meta, body: Raw) -> Raw:
    """Apply one object, unless somebody else's stands in its place: its author need not have the right to change it."""
    name = body["metadata"]["name"]
    found = await client.get(resource, job.namespace, name)
    if found is not None:
        if not _controls(job, found):
            raise ApiError(
                422,
                "NotOurs",
                f"{body['kind']} {job.namespace}/{name} is there and does not belong to this FineTuneJob: delete it, "
                "or give the job another name",
            )
        body["metadata"]["uid"] = found["metadata"]["uid"]  # a namesake that has come since makes this fail
        if resource == "deployments" and "replicas" not in body["spec"] and _set_replicas(found):
            # Taken back, the field would fall to its default of 1 until an autoscaler looks.
            body["spec"]["replicas"] = found["spec"]["replicas"]
    return await client.apply(resource, job.namespace, body)


def _set_replicas(found: Raw) -> bool:
    """Whether an earlier apply of ours has set the number of replicas."""
    ours = (m for m in found["metadata"].get("managedFields") or [] if m["manager"] == FIELD_MANAGER)
    return any("f:replicas" in (m.get("fieldsV1") or {}).get("f:spec", {}) for m in ours)


async def remember(client: Client, memory: Memory, facts: RunFacts, text: str) -> None:
    """Keep a rollout's evidence in the run's own ConfigMap; what is too large for one is remembered here alone.

    A restart of the operator then begins the evidence afresh. To refuse the write would hold up a rollback.

    Raises:
        ApiError: it was not written.
    """
    namespace, job = facts.meta.namespace, facts.spec.job_ref
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": evidence_name(facts.meta.name),
            "namespace": namespace,
            "labels": {
                MANAGED_LABEL: MANAGED_BY_US,
                JOB_LABEL: job.name,
                JOB_UID_LABEL: job.uid,
                RUN_LABEL: facts.meta.name,
                RUN_UID_LABEL: facts.meta.uid,
                KEPT_LABEL: KEPT_EVIDENCE,
            },
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": "FineTuneRun",
                    "name": facts.meta.name,
                    "uid": facts.meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "data": {FILE: text},
    }
    if len(text) > LARGEST:
        log.warning("Evidence of %s/%s is too large to be kept: %d bytes", namespace, facts.meta.name, len(text))
    else:
        body = await client.apply("configmaps", namespace, body)
    memory.evidence(namespace, facts.meta.name, body)


async def remember_drift(client: Client, memory: Memory, job: Meta, action: RememberDrift, at: float) -> None:
    """Remember a look at drift; write it down if it is asked for. What cannot be written is tried again in minutes.

    It never fails: a restart of the operator then begins the reference afresh, but nothing else of the job may wait.

    Args:
        client: for the write.
        memory: told of the look.
        job: whose drift it is.
        action: what to remember.
        at: now, seconds since the epoch.
    """
    memory.drift_seen(job, action.memory, at if action.write else None)
    text = dump(action.memory) if action.write else ""
    if len(text) > LARGEST:
        log.warning("Drift of %s/%s is too large to be kept: %d bytes", job.namespace, job.name, len(text))
    elif text:
        metadata = serving.owned(drift_name(job.name), job.namespace, (job.name, job.uid), {KEPT_LABEL: KEPT_DRIFT})
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {DRIFT_FILE: text}}
        try:
            await _one(client, "configmaps", job, body)
        except ApiError as error:
            log.warning("Drift of %s/%s was not kept: %s", job.namespace, job.name, error)
