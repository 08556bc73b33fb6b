"""Carries a decision out: the status first (the intent is on record), then the actions in order, then the events."""

import hashlib
import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from retune.act import arms, deploy, ledgers, manifests, watch
from retune.act.notify import Notifier
from retune.act.serving import Own
from retune.api import FineTuneJobStatus, FineTuneRunStatus, JobPhase
from retune.decide.actions import (
    Action,
    ApplyRoute,
    ApplyServing,
    CreateChild,
    CreateConfig,
    CreateRun,
    CreateWatch,
    DeleteChild,
    DeleteRun,
    Event,
    JobDecision,
    PushArms,
    RememberDrift,
    RemoveCanary,
    RunDecision,
    StopServing,
    Tell,
    WriteArms,
    WriteLedger,
    WriteMemory,
)
from retune.decide.conditions import find, set_condition
from retune.decide.facts import JobFacts, Meta, RunFacts
from retune.decide.job import REFUSED
from retune.decide.ledger import Ledger
from retune.decide.readings import Serving
from retune.decide.snapshot import Unresolvable
from retune.kube.client import ApiError, Client

log = logging.getLogger(__name__)
REFUSALS = frozenset({400, 403, 422})  # the API server will say the same again until somebody changes something
APPLIED = "ServingApplied"
WATCH_REFUSED = "WatchRefused"  # reason of an Event: a condition of the decision's would take turns with it
ServingAction = ApplyServing | ApplyRoute | RemoveCanary | WriteArms | PushArms
Raw = dict[str, Any]


class Memory(ledgers.Memory, arms.Memory, deploy.Memory, Protocol):
    """Where what was just written is remembered, until the watch confirms it: a decision must see its own writes."""

    def job(self, raw: Raw) -> None:
        """Take in a FineTuneJob."""

    def run(self, raw: Raw) -> None:
        """Take in a FineTuneRun."""

    def child(self, raw: Raw) -> None:
        """Take in a Kubernetes Job of a run."""

    def watcher(self, raw: Raw) -> None:
        """Take in a Kubernetes Job of the stage watch."""


@dataclass(frozen=True)
class Serves:
    """What it takes to serve: who signs and writes, who pushes, and what pods are made of."""

    documents: arms.Documents
    push: arms.Push
    own: Own


class Hands:
    """Writes what was decided. Every write can be repeated: names are deterministic, creates happen once.

    Args:
        client: for the writes.
        memory: told of what was written.
        home: the operator's own namespace, for the ledgers.
        serves: for jobs that serve; None: this operator has no signing key, and serves nothing.
        notifier: takes what people are to be told; None: nobody is.
    """

    def __init__(
        self,
        client: Client,
        memory: Memory,
        home: str = "default",
        serves: Serves | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        self._client, self._memory, self._home, self._serves = client, memory, home, serves
        self._notifier = notifier

    async def job(self, facts: JobFacts, decision: JobDecision) -> None:
        """Carry out the decision on a FineTuneJob.

        Raises:
            ApiError: a write failed; the decision is taken afresh on the next reconcile.
        """
        meta, old, new = facts.meta, _dump(facts.status), _dump(decision.status)
        version = meta.resource_version
        if new != old:
            written = await self._status("FineTuneJob", "finetunejobs", meta, new)
            self._memory.job(written)
            version = written["metadata"]["resourceVersion"]
        action: Action | None = None
        try:
            for action in decision.actions:
                await self._on_job(facts, action)
        except ApiError as error:
            if error.code in REFUSALS:
                if isinstance(action, ServingAction | StopServing):
                    await self._serving_applied(facts, decision.status, version, str(error))
                elif isinstance(action, CreateWatch | DeleteChild):
                    await self._event("FineTuneJob", meta, Event("Warning", WATCH_REFUSED, str(error)))
                else:
                    await self._run_refused(facts, decision.status, version, error)
            raise
        if any(isinstance(done, ApplyServing | ApplyRoute | StopServing) for done in decision.actions):
            await self._serving_applied(facts, decision.status, version, "")
        for event in decision.events:
            await self._event("FineTuneJob", meta, event)
        if self._notifier is not None:
            self._notifier.noted(meta.uid, facts.telling.delivered)

    async def run(self, facts: RunFacts, decision: RunDecision) -> None:
        """Carry out the decision on a FineTuneRun.

        Raises:
            ApiError: a write failed; the decision is taken afresh on the next reconcile. If the API server refuses a
                child for good, the run's condition `Admitted` says why before the error is raised.
        """
        meta, new = facts.meta, _dump(decision.status) if decision.status != facts.status else {}
        if new and new != _dump(facts.status):
            written = await self._status("FineTuneRun", "finetuneruns", meta, new)
            self._memory.run(written)
            version = written["metadata"]["resourceVersion"]
        else:
            version = meta.resource_version
        try:
            for action in decision.actions:
                await self._on_run(replace(facts, status=decision.status), action)
        except ApiError as error:
            if error.code in REFUSALS:
                await self._refused(facts, decision.status, version, error)
            raise
        for event in decision.events:
            await self._event("FineTuneRun", meta, event)

    async def ledger(self, namespace: str, job: str, ledger: Ledger) -> None:
        """Write the ledger of a job's name; the job itself may be gone.

        Raises:
            ApiError: it was not written; what is there instead has been read for the next reconcile.
        """
        await ledgers.write(self._client, self._memory, self._home, (namespace, job), ledger)

    async def _on_job(self, facts: JobFacts, action: Action) -> None:
        namespace = facts.meta.namespace
        match action:
            case CreateRun():
                created = await self._client.create("finetuneruns", namespace, manifests.run(facts, action))
                if created is not None:
                    self._memory.run(created)
            case WriteLedger(ledger):
                await self.ledger(namespace, facts.meta.name, ledger)
            case DeleteRun(name, uid):
                await self._client.delete("finetuneruns", namespace, name, uid)
            case ApplyServing() | ApplyRoute() | RemoveCanary() | WriteArms() | PushArms():
                await self._serve(facts.meta, facts.serving, action)
            case RememberDrift() | CreateWatch() | DeleteChild():
                await self._watch(facts, action)
            case StopServing():
                await deploy.remove(self._client, facts.meta)
            case Tell():
                if self._notifier is not None:
                    self._notifier.tell(facts.meta, action)
            case _:
                raise TypeError(f"{action} is not an action on a FineTuneJob")

    async def _watch(self, facts: JobFacts, action: RememberDrift | CreateWatch | DeleteChild) -> None:
        namespace = facts.meta.namespace
        match action:
            case RememberDrift():
                await deploy.remember_drift(self._client, self._memory, facts.meta, action, facts.now.timestamp())
            case CreateWatch():
                await self._create_watch(facts, action)
            case DeleteChild(name, uid):
                await self._client.delete("jobs", namespace, name, uid, foreground=True)

    async def _create_watch(self, facts: JobFacts, action: CreateWatch) -> None:
        try:
            body = watch.job(facts, action)
        except Unresolvable as error:
            raise ApiError(422, "Unresolvable", str(error)) from error
        created = await self._client.create("jobs", facts.meta.namespace, body)
        if created is not None:
            self._memory.watcher(created)

    async def _on_run(self, facts: RunFacts, action: Action) -> None:
        namespace = facts.meta.namespace
        match action:
            case CreateConfig():
                await self._client.create("configmaps", namespace, manifests.config(facts))
            case CreateChild():
                created = await self._client.create("jobs", namespace, manifests.child(facts, action))
                if created is not None:
                    self._memory.child(created)
            case DeleteChild(name, uid):
                await self._client.delete("jobs", namespace, name, uid, foreground=True)
            case ApplyServing() | ApplyRoute() | WriteArms() | PushArms():
                job = Meta(namespace, facts.spec.job_ref.name, facts.spec.job_ref.uid)
                await self._serve(job, facts.serving, action)
            case WriteMemory(text):
                await deploy.remember(self._client, self._memory, facts, text)
            case _:
                raise TypeError(f"{action} is not an action on a FineTuneRun")

    async def _serve(self, job: Meta, seen: Serving, action: ServingAction) -> None:
        if self._serves is None:
            raise ApiError(422, "NoSigningKey", "the operator has no --signing-key: an administrator names one")
        push = self._serves.push
        match action:
            case ApplyServing():
                await deploy.apply(self._client, self._memory, job, action, self._serves.own)
            case ApplyRoute():
                await deploy.apply_route(self._client, job, action)
            case RemoveCanary():
                await deploy.remove_canary(self._client, job)
            case WriteArms(document):
                await push.to(seen.pods, await self._serves.documents.write(job, seen, document))
            case PushArms(pods):
                kept = self._memory.kept_arms(job.namespace, job.name)
                if kept is not None and kept.arms is not None:
                    await push.to(pods, kept.text)

    async def _status(self, kind: str, resource: str, meta: Meta, status: Raw) -> Raw:
        body = {
            "apiVersion": manifests.API_VERSION,
            "kind": kind,
            # The version makes a decision from stale facts fail instead of overwriting a newer one.
            "metadata": {"name": meta.name, "namespace": meta.namespace, "resourceVersion": meta.resource_version},
            "status": status,
        }
        return await self._client.apply(resource, meta.namespace, body, "status")

    async def _run_refused(self, facts: JobFacts, status: FineTuneJobStatus, version: str, error: ApiError) -> None:
        conditions = set_condition(
            status.conditions,
            "Progressing",
            "Unknown",
            REFUSED,
            f"The API server refused a run of this job, and is asked again: {error}",
            generation=facts.meta.generation,
            now=facts.now,
        )
        new = _dump(status.model_copy(update={"conditions": conditions, "phase": JobPhase.WAITING}))
        if new != _dump(status):
            meta = Meta(facts.meta.namespace, facts.meta.name, facts.meta.uid, resource_version=version)
            self._memory.job(await self._status("FineTuneJob", "finetunejobs", meta, new))

    async def _serving_applied(self, facts: JobFacts, status: FineTuneJobStatus, version: str, refused: str) -> None:
        """Say why what serves could not be applied; or that it could, if the last word was another.

        A condition of its own, which no decision writes: two that took turns would wake the job for ever.
        """
        before = find(status.conditions, APPLIED)
        if not refused and (before is None or before.status == "True"):
            return
        conditions = set_condition(
            status.conditions,
            APPLIED,
            "False" if refused else "True",
            REFUSED if refused else "Applied",
            f"What serves could not be applied, and is tried again: {refused}"
            if refused
            else "What serves is applied.",
            generation=facts.meta.generation,
            now=facts.now,
        )
        new = _dump(status.model_copy(update={"conditions": conditions}))
        if new != _dump(status):
            meta = Meta(facts.meta.namespace, facts.meta.name, facts.meta.uid, resource_version=version)
            self._memory.job(await self._status("FineTuneJob", "finetunejobs", meta, new))

    async def _refused(self, facts: RunFacts, status: FineTuneRunStatus, version: str, error: ApiError) -> None:
        conditions = set_condition(
            status.conditions,
            "Admitted",
            "Unknown",
            "Refused",
            f"The API server refused a child of this run, and is asked again: {error}",
            generation=facts.meta.generation,
            now=facts.now,
        )
        new = status.model_copy(update={"conditions": conditions})
        if _dump(new) != _dump(status):
            meta = Meta(facts.meta.namespace, facts.meta.name, facts.meta.uid, resource_version=version)
            self._memory.run(await self._status("FineTuneRun", "finetuneruns", meta, _dump(new)))

    async def _event(self, kind: str, meta: Meta, event: Event) -> None:
        """Post an Event, once for each thing it says. It repeats a condition, so a failure is only logged."""
        digest = hashlib.sha256(f"{meta.uid}{event.reason}{event.message}".encode()).hexdigest()[:16]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta.name}.{digest}", "namespace": meta.namespace},
            "involvedObject": {
                "apiVersion": manifests.API_VERSION,
                "kind": kind,
                "name": meta.name,
                "namespace": meta.namespace,
                "uid": meta.uid,
            },
            "type": event.type,
            "reason": event.reason,
            "message": event.message[:1024],
            "source": {"component": "retune"},
            "reportingComponent": "retune.dev/operator",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            if await self._client.create("events", meta.namespace, body) is None:
                name = str(body["metadata"]["name"])  # type: ignore[index]
                await self._client.merge("events", meta.namespace, name, {"lastTimestamp": now})
        except ApiError as error:
            level = logging.DEBUG if "being terminated" in str(error) else logging.WARNING
            log.log(
                level, "Event %s of %s %s/%s was not posted: %s", event.reason, kind, meta.namespace, meta.name, error
            )


def _dump(status: FineTuneJobStatus | FineTuneRunStatus) -> Raw:
    dump = status.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {key: value for key, value in dump.items() if value not in ([], {})}
