"""Gathers the facts about one key: from the caches, and from those who are asked (pods, taps, Prometheus)."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import ValidationError

from retune.api import (
    DriftBuiltin,
    FineTuneJobSpec,
    FineTuneJobStatus,
    FineTuneRunSpec,
    FineTuneRunStatus,
    RunPhase,
    ServingMode,
)
from retune.decide.drift.evidence import DriftEvidence, QueryReading
from retune.decide.drift.watch import cursors
from retune.decide.drift_watch import due
from retune.decide.facts import Books, Child, JobFacts, Meta, Pod, PodProgress, Policy, RunFacts, Sent, WatchFacts
from retune.decide.ledger import Ledger, read
from retune.decide.naming import (
    CANCEL_ANNOTATION,
    HALT_ANNOTATION,
    PAUSE_ANNOTATION,
    ROLLBACK_ANNOTATION,
    canary_name,
)
from retune.decide.news.told import Telling
from retune.decide.readings import RouteSeen, Serving
from retune.decide.watch import newest_count
from retune.observe.cache import Caches, Packed
from retune.observe.features import Features, Prompts
from retune.observe.prometheus import Prometheus
from retune.observe.scalars import Scalars
from retune.observe.taps import NOTHING, OVERLAP, Heard, Taps

ROLLOUT = frozenset({RunPhase.LOADING, RunPhase.SHADOW, RunPhase.PILOT, RunPhase.CANARY, RunPhase.BAKING})


class Asked(Protocol):
    """What is not in any cache and has to be asked of somebody."""

    async def progress(self, pods: tuple[Pod, ...]) -> PodProgress | None:
        """What the training pod among a run's `pods` says of itself."""

    async def denied(self, namespace: str, child: Child) -> tuple[str, str] | None:
        """Why the Job controller cannot create the pod of `child`, if it said so."""

    async def route(self, namespace: str, name: str) -> RouteSeen | None:
        """The HTTPRoute of that name, or None."""

    async def account_refused(self, namespace: str, name: str) -> str:
        """Why pods may not use this ServiceAccount, or "" if they may."""


@dataclass(frozen=True)
class Rollouts:
    """Who is asked while a job serves; the last two for its drift (None: nobody is)."""

    taps: Taps
    prometheus: Prometheus
    features: Features | None = None
    scalars: Scalars | None = None


class Observer:
    """Facts on demand. Without `rollouts` nobody is asked about what serves.

    `telling`: what is known of channels and of a job's news on them, by the job's uid.
    """

    def __init__(
        self,
        caches: Caches,
        asked: Asked,
        policy: Policy,
        rollouts: Rollouts | None = None,
        telling: Callable[[str], Telling] = lambda _: Telling(),
    ) -> None:
        self._caches, self._asked, self._policy, self._rollouts = caches, asked, policy, rollouts
        self._telling = telling

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
        serving = self._serving(found.meta)
        telling = self._telling(found.meta.uid)
        watch = self._watch(found.meta)
        return JobFacts(
            found.meta, spec, owner.status, runs, self._policy, now, invalid, books, serving, watch, telling
        )

    async def heard(self, facts: JobFacts) -> JobFacts:
        """The facts about a job, with what its taps say, and, as often as it is looked at, what is said of drift."""
        if self._rollouts is None:
            return facts
        if facts.serving.deployed:
            facts = replace(facts, serving=await self._routed(facts.serving, facts.meta, facts.spec))
        seen = facts.serving
        told = facts.spec.serving.model_name if facts.spec is not None and facts.spec.serving is not None else None
        model = _model(seen, told or facts.meta.name)
        kept, at = facts.watch.kept, facts.now.timestamp()
        last = kept.memory if kept is not None else None
        looks = facts.spec is not None and facts.spec.triggers.drift and due(at, last, self._policy.drift_every)
        windows = "none"
        if looks:  # what was heard since then is asked for again; after a longer time, all that there is
            windows = "new" if last is not None and 0 <= at - last.at < OVERLAP / 2 else "all"
        said, drift = await asyncio.gather(
            self._rollouts.taps.read(facts.meta.place, model, seen.pods, _generation(seen), windows=windows)
            if seen.deployed
            else _nothing(),
            self._drift(facts, model, cursors(last)) if looks else _no_look(),
        )
        watch = replace(facts.watch, drift=drift)
        return replace(facts, serving=replace(seen, taps=said.taps, silent=said.silent), watch=watch)

    async def _drift(self, facts: JobFacts, model: str, known: Mapping[str, int]) -> DriftEvidence:
        """What requests look like, and what the user's own queries say; what taps count comes with their state."""
        assert self._rollouts is not None  # noqa: S101 - `heard` has seen both
        assert facts.spec is not None  # noqa: S101
        triggers, asked = facts.spec.triggers.drift, self._rollouts
        prompts = any(trigger.builtin is DriftBuiltin.PROMPT_DRIFT for trigger in triggers)
        queries = {trigger.name: trigger.query for trigger in triggers if trigger.query is not None}
        told, said = await asyncio.gather(
            asked.features.read(model, facts.serving.pods, known)
            if asked.features is not None and prompts and facts.serving.deployed
            else _no_prompts(),
            asked.scalars.read(queries) if asked.scalars is not None else _no_queries(),
        )
        return DriftEvidence(rows=told.rows, version=told.version, queries=said)

    def _watch(self, job: Meta) -> WatchFacts:
        """What the caches know of a job's watch pods, and of its drift so far."""
        sent = tuple(
            Sent(each.child, each.count, each.probe, self._caches.watch_pods.of(f"{job.namespace}/{each.child.uid}"))
            for each in self._caches.watchers.of(job.place)
        )
        kept = self._caches.drifts.get((job.namespace, job.name))
        of_it = kept if kept is not None and kept.uid == job.uid else None
        return WatchFacts(newest_count(sent), sent, kept=of_it)

    async def _routed(self, serving: Serving, job: Meta, spec: FineTuneJobSpec | FineTuneRunSpec | None) -> Serving:
        """With the HTTPRoute, where there must be one. It is not watched: a cluster need not know the kind."""
        if spec is None or spec.serving is None or spec.serving.mode is not ServingMode.DEPLOYMENT:
            return serving
        return replace(serving, route=await self._asked.route(job.namespace, job.name))

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
        if in_rollout(facts.status):
            return replace(facts, serving=await self._measured(facts))
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

    async def _measured(self, facts: RunFacts) -> Serving:
        """What serves the run's candidate, with what taps and Prometheus say, within two seconds."""
        serving, told = facts.serving, facts.spec.serving
        if self._rollouts is None or told is None:
            return serving
        job = Meta(facts.meta.namespace, facts.spec.job_ref.name, facts.spec.job_ref.uid)
        serving = await self._routed(serving, job, facts.spec)
        place = f"{facts.meta.namespace}/{facts.spec.job_ref.uid}"
        model = _model(serving, told.model_name or facts.spec.job_ref.name)
        # Until something is kept, whatever was decided on the windows may have been lost, so all are asked for; and a
        # rollout that begins again needs the hour before it again.
        windows = "new" if serving.memory and facts.status.phase is not RunPhase.LOADING else "all"
        said, queries = await asyncio.gather(
            self._rollouts.taps.read(place, model, serving.pods, _generation(serving), windows=windows)
            if serving.deployed
            else _nothing(),
            self._rollouts.prometheus.read(facts.spec.rollout.stop_loss if facts.spec.rollout else ()),
        )
        return replace(serving, taps=said.taps, silent=said.silent, queries=queries)

    def _serving(self, job: Meta, run: str = "") -> Serving:
        """What the caches know of what serves for a job; with `run`, also what is kept of its rollout."""
        deployments = self._caches.deployments.of(job.place)
        deployed = next((d for d in deployments if d.name == job.name), None)
        canary = next((d for d in deployments if d.name == canary_name(job.name)), None)
        kept = self._caches.kept_arms(job.namespace, job.name)
        arms = kept.arms if kept is not None else None
        return Serving(
            deployed=deployed.digest if deployed is not None else "",
            refreshed=deployed.refreshed if deployed is not None else "",
            canary=canary.digest if canary is not None else "",
            pods=tuple(pod for pod in self._caches.servers.of(job.place) if not pod.over),
            arms=arms if arms is not None and arms.uid == job.uid else None,
            memory=self._caches.memories.get((job.namespace, run), ""),
        )

    def _owner_of(self, run: Packed) -> "_Owner | None":
        name = run.content()["spec"].get("jobRef", {}).get("name", "")
        job = self._caches.jobs.get(run.meta.namespace, name)
        return _owner(job, job.content()) if job is not None and job.meta.uid == run.owner else None

    def _run(self, found: Packed, now: datetime, owner: "_Owner | None") -> RunFacts:
        content = found.content()
        spec = FineTuneRunSpec.model_validate(content["spec"], extra="ignore")  # a newer operator may have made it
        job = Meta(found.meta.namespace, spec.job_ref.name, spec.job_ref.uid)
        return RunFacts(
            meta=found.meta,
            spec=spec,
            status=FineTuneRunStatus.model_validate(content["status"]),
            policy=self._policy,
            now=now,
            suspended=owner is not None and owner.suspended,
            paused=owner is not None and owner.paused,
            rollback=owner.rollback if owner is not None else "",
            signals=owner.signals if owner is not None else frozenset(),
            orphaned=owner is None or owner.deleting,
            job=owner.status if owner is not None else FineTuneJobStatus(),
            cancel=_cancel(found.meta),
            children=self._caches.children.of(found.meta.place),
            pods=self._caches.pods.of(found.meta.place),
            serving=Serving() if found.ended else self._serving(job, found.meta.name),
        )


def in_rollout(status: FineTuneRunStatus) -> bool:
    """Whether a run's candidate meets its users, or is being taken away from them."""
    intent = status.rollout is not None and status.rollout.intent is not None
    return status.phase in ROLLOUT or (intent and not (status.phase is not None and status.phase.is_terminal))


def _generation(serving: Serving) -> int:
    return serving.arms.generation if serving.arms is not None else 0


def _model(serving: Serving, told: str) -> str:
    """The public model name that taps know: that of their document; what a spec says may be newer."""
    return next(iter(serving.arms.models), told) if serving.arms is not None else told


async def _nothing() -> Heard:
    return NOTHING


async def _no_look() -> DriftEvidence | None:
    return None


async def _no_prompts() -> Prompts:
    return Prompts()


async def _no_queries() -> dict[str, QueryReading]:
    return {}


def _cancel(meta: Meta) -> str:
    if CANCEL_ANNOTATION not in meta.annotations:
        return ""
    return meta.annotations[CANCEL_ANNOTATION] or "no reason given"  # it is its presence that counts


@dataclass(frozen=True)
class _Owner:
    """What a run's facts hold of its job."""

    suspended: bool
    paused: bool
    rollback: str
    deleting: bool
    signals: frozenset[DriftBuiltin]
    status: FineTuneJobStatus


def _owner(job: Packed, content: Mapping[str, Any]) -> _Owner:
    """`content`: that of `job`, which takes a while to unpack."""
    stopped = bool(content["spec"].get("suspend")) or HALT_ANNOTATION in job.meta.annotations
    paused = PAUSE_ANNOTATION in job.meta.annotations
    return _Owner(
        suspended=stopped or paused,
        paused=paused and not stopped,
        rollback=job.meta.annotations.get(ROLLBACK_ANNOTATION, "")[:1024],
        deleting=job.meta.deleting,
        signals=_signals(content["spec"]),
        status=FineTuneJobStatus.model_validate(content["status"]),
    )


def _signals(spec: Mapping[str, Any]) -> frozenset[DriftBuiltin]:
    """Drift that triggers ask for; a builtin of a newer version is none."""
    known = {builtin.value: builtin for builtin in DriftBuiltin}
    asked = ((trigger or {}).get("builtin") for trigger in (spec.get("triggers") or {}).get("drift") or [])
    return frozenset(known[builtin] for builtin in asked if builtin in known)


def _now() -> datetime:
    return datetime.now(UTC)


def _explain(error: ValidationError) -> str:
    """Only seen when the CRD in the cluster and the operator are of different versions."""
    parts = (f"spec.{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
    return "; ".join(parts) + ". Upgrade the CRDs and the operator together."
