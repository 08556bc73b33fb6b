"""Gathers the facts about one key from the caches and the two things that are asked for: progress and refusals."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import ValidationError

from retune.api import FineTuneJobSpec, FineTuneJobStatus, FineTuneRunSpec, FineTuneRunStatus
from retune.decide.facts import Books, Child, JobFacts, Meta, Pod, PodProgress, Policy, RunFacts
from retune.decide.ledger import Ledger, read
from retune.decide.naming import CANCEL_ANNOTATION, HALT_ANNOTATION, PAUSE_ANNOTATION
from retune.observe.cache import Caches, Packed


class Asked(Protocol):
    """What is not in any cache and has to be asked of somebody."""

    async def progress(self, pods: tuple[Pod, ...]) -> PodProgress | None:
        """What the training pod among a run's `pods` says of itself."""

    async def denied(self, namespace: str, child: Child) -> tuple[str, str] | None:
        """Why the Job controller cannot create the pod of `child`, if it said so."""

    async def account_refused(self, namespace: str, name: str) -> str:
        """Why pods may not use this ServiceAccount, or "" if they may."""


class Observer:
    """Facts on demand."""

    def __init__(self, caches: Caches, asked: Asked, policy: Policy) -> None:
        self._caches = caches
        self._asked = asked
        self._policy = policy

    def job(self, namespace: str, name: str) -> JobFacts | None:
        """The facts about a FineTuneJob; None if there is none of that name."""
        found = self._caches.jobs.get(namespace, name)
        if found is None:
            return None
        content, invalid, spec = found.content(), "", None
        try:
            spec = FineTuneJobSpec.model_validate(content["spec"])
        except ValidationError as error:
            invalid = _explain(error)
        now = _now()
        owner = _owner(found, content)  # once for all its runs
        runs = tuple(self._run(run, now, owner) for run in self._caches.runs.of(found.meta.uid))
        books = self._books(namespace, name, {run.meta.name for run in runs}, now)
        return JobFacts(found.meta, spec, owner.status, runs, self._policy, now, invalid, books)

    def estate(self, namespace: str, name: str) -> tuple[Books, datetime]:
        """The ledger of a job that is gone, and the time."""
        now = _now()
        return self._books(namespace, name, set(), now), now

    def _books(self, namespace: str, name: str, theirs: set[str], now: datetime) -> Books:
        """`theirs`: the runs of the job as it is now."""
        version, text = self._caches.ledgers.get((namespace, name), ("", ""))
        ledger = read(text, version) if version else Ledger()
        departed = self._caches.runs.departed(namespace, name)
        former, gone, pods = [], [], {}
        for run, entry in ledger.open:
            there, last = self._caches.runs.get(namespace, run), departed.get(run)
            if run in theirs:
                continue
            if there is not None and entry.uid in ("", there.meta.uid):
                former.append(self._run(there, now, None))
            elif last is not None and entry.uid in ("", last.meta.uid):
                gone.append(self._run(last, now, None))
            elif entry.uid:
                pods[run] = self._caches.pods.of(f"{namespace}/{entry.uid}")
        self._caches.runs.settled(namespace, name, {run.meta.name for run in gone})
        return Books(ledger, tuple(former), tuple(gone), pods)

    async def run(self, namespace: str, name: str) -> RunFacts | None:
        """The facts about a FineTuneRun, with its children; None if there is none of that name."""
        found = self._caches.runs.get(namespace, name)
        if found is None:
            return None
        facts = self._run(found, _now(), self._owner_of(found))
        if facts.status.phase is not None and facts.status.phase.is_terminal:
            return facts
        pods = facts.pods
        progress = denied = None
        if any(p.running_since is not None and not p.over for p in pods):
            progress = await self._asked.progress(facts.pods)
        live = next((c for c in facts.children if not c.over and not c.deleting), None)
        if live is not None and not any((p.stage, p.attempt) == (live.stage, live.attempt) for p in pods):
            denied = await self._asked.denied(namespace, live)
        account = facts.spec.training.service_account_name
        refused = ""
        if account and not pods and not facts.children:
            refused = await self._asked.account_refused(namespace, account)
        return replace(facts, progress=progress, denied=denied, account_refused=refused)

    def _owner_of(self, run: Packed) -> "_Owner | None":
        name = run.content()["spec"].get("jobRef", {}).get("name", "")
        job = self._caches.jobs.get(run.meta.namespace, name)
        return _owner(job, job.content()) if job is not None and job.meta.uid == run.owner else None

    def _run(self, found: Packed, now: datetime, owner: "_Owner | None") -> RunFacts:
        content = found.content()
        return RunFacts(
            meta=found.meta,
            spec=FineTuneRunSpec.model_validate(content["spec"], extra="ignore"),  # a newer operator may have made it
            status=FineTuneRunStatus.model_validate(content["status"]),
            policy=self._policy,
            now=now,
            suspended=owner is not None and owner.suspended,
            orphaned=owner is None or owner.deleting,
            job=owner.status if owner is not None else FineTuneJobStatus(),
            cancel=_cancel(found.meta),
            children=self._caches.children.of(found.meta.place),
            pods=self._caches.pods.of(found.meta.place),
        )


def _cancel(meta: Meta) -> str:
    if CANCEL_ANNOTATION not in meta.annotations:
        return ""
    return meta.annotations[CANCEL_ANNOTATION] or "no reason given"  # it is its presence that counts


@dataclass(frozen=True)
class _Owner:
    """What a run's facts hold of its job."""

    suspended: bool
    deleting: bool
    status: FineTuneJobStatus


def _owner(job: Packed, content: Mapping[str, Any]) -> _Owner:
    """`content`: that of `job`, which takes a while to unpack."""
    stopped = HALT_ANNOTATION in job.meta.annotations or PAUSE_ANNOTATION in job.meta.annotations
    return _Owner(
        suspended=bool(content["spec"].get("suspend")) or stopped,
        deleting=job.meta.deleting,
        status=FineTuneJobStatus.model_validate(content["status"]),
    )


def _now() -> datetime:
    return datetime.now(UTC)


def _explain(error: ValidationError) -> str:
    """Only seen when the CRD in the cluster and the operator are of different versions."""
    parts = (f"spec.{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
    return "; ".join(parts) + ". Upgrade the CRDs and the operator together."
