"""What the watches have shown, one cache per kind. Holds projections and packed specs, not whole objects (memory)."""

import json
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from retune.api import TERMINAL_PHASES
from retune.decide.arms import Arms
from retune.decide.drift.memory import Memory
from retune.decide.drift.watch import load
from retune.decide.facts import Child, KeptDrift, Meta, Pod
from retune.decide.naming import JOB_UID_LABEL, RUN_UID_LABEL
from retune.decide.readings import ServingPod
from retune.kube.envelope import Opener, Unopened
from retune.observe import projections

Raw = Mapping[str, Any]
T = TypeVar("T")
_TERMINAL = frozenset(phase.value for phase in TERMINAL_PHASES)


@dataclass(frozen=True)
class Packed:
    """A FineTuneJob or FineTuneRun: metadata, owner's uid, phase, and spec and status as compressed JSON (~1 kB)."""

    meta: Meta
    owner: str
    phase: str
    blob: bytes

    @property
    def ended(self) -> bool:
        """Of a run: whether it is over, for good."""
        return self.phase in _TERMINAL

    def content(self) -> dict[str, Any]:
        """`{"spec": …, "status": …}` as the API server gave them."""
        content: dict[str, Any] = json.loads(zlib.decompress(self.blob))
        return content


def packed(raw: Raw) -> Packed:
    """Project an object of one of the two kinds."""
    content = {"spec": raw.get("spec") or {}, "status": raw.get("status") or {}}
    owners = raw["metadata"].get("ownerReferences") or []
    return Packed(
        meta=projections.meta(raw),
        owner=next((o["uid"] for o in owners if o.get("controller")), ""),
        phase=content["status"].get("phase", "Pending"),
        blob=zlib.compress(json.dumps(content, separators=(",", ":")).encode(), 1),
    )


class Cache(Generic[T]):
    """Objects of one kind by (namespace, name), and by the uid of what they belong to."""

    def __init__(self) -> None:
        self._objects: dict[tuple[str, str], tuple[int, str, str, T]] = {}
        self._of: defaultdict[str, set[tuple[str, str]]] = defaultdict(set)

    def put(self, raw: Raw, value: T, owner: str) -> bool:
        """Take in one version of an object; an older one than is known is ignored. True if it was taken."""
        m = raw["metadata"]
        key, version, uid = (m.get("namespace", ""), m["name"]), int(m["resourceVersion"]), m["uid"]
        known = self._objects.get(key)
        if known is not None:
            if known[0] > version:
                return False
            self._of[known[2]].discard(key)
        self._objects[key] = (version, uid, owner, value)
        self._of[owner].add(key)
        return True

    def drop(self, raw: Raw) -> None:
        """Forget a deleted object; a namesake created since then stays."""
        m = raw["metadata"]
        key = (m.get("namespace", ""), m["name"])
        known = self._objects.get(key)
        if known is not None and known[1] == m["uid"]:
            del self._objects[key]
            self._of[known[2]].discard(key)
            if not self._of[known[2]]:
                del self._of[known[2]]

    def get(self, namespace: str, name: str) -> T | None:
        """The object of that name."""
        known = self._objects.get((namespace, name))
        return known[3] if known is not None else None

    def of(self, owner: str) -> tuple[T, ...]:
        """All objects that belong to `owner` (a uid), in the order of their names."""
        return tuple(self._objects[key][3] for key in sorted(self._of.get(owner, ())))

    def knows(self, raw: Raw) -> bool:
        """Whether this object has been seen, in this or a later version."""
        m = raw["metadata"]
        known = self._objects.get((m.get("namespace", ""), m["name"]))
        return known is not None and known[0] >= int(m["resourceVersion"])

    def unseen(self, uids: set[str], as_of: int) -> list[Raw]:
        """Objects that are not among `uids` although they are older than the list those come from (version `as_of`)."""
        return [
            {"metadata": {"namespace": namespace, "name": name, "uid": uid}, "owner": owner}
            for (namespace, name), (version, uid, owner, _) in self._objects.items()
            if uid not in uids and version <= as_of
        ]

    def keys(self) -> Iterator[tuple[str, str]]:
        """(namespace, name) of every object."""
        return iter(tuple(self._objects))

    def values(self) -> Iterator[T]:
        """Every object."""
        return (known[3] for known in tuple(self._objects.values()))

    def __len__(self) -> int:
        return len(self._objects)


class Runs(Cache[Packed]):
    """FineTuneRuns; those deleted in flight are kept as they were seen last, until somebody has settled them."""

    def __init__(self) -> None:
        super().__init__()
        self._departed: defaultdict[tuple[str, str], dict[str, Packed]] = defaultdict(dict)

    def drop(self, raw: Raw) -> None:
        """Forget a deleted run, but for what it may still cost."""
        name = (raw["metadata"].get("namespace", ""), raw["metadata"]["name"])
        last = self.get(*name)
        super().drop(raw)
        if last is not None and self.get(*name) is None and not last.ended:
            job = str(last.content()["spec"].get("jobRef", {}).get("name", ""))
            self._departed[name[0], job][name[1]] = last

    def departed(self, namespace: str, job: str) -> dict[str, Packed]:
        """Runs of a job of that name that were deleted in flight."""
        return dict(self._departed.get((namespace, job), {}))

    def settled(self, namespace: str, job: str, still_open: set[str]) -> None:
        """Forget the departed runs of that job's name, but for these."""
        left = {name: run for name, run in self.departed(namespace, job).items() if name in still_open}
        self._departed.pop((namespace, job), None)
        if left:
            self._departed[namespace, job] = left

    def mourning(self) -> list[tuple[str, str]]:
        """(namespace, job) of all departed runs."""
        return list(self._departed)


@dataclass(frozen=True)
class KeptArms:
    """A ConfigMap with an arms document. `arms` is None if what it holds was not signed by us."""

    version: str
    text: str
    arms: Arms | None


@dataclass
class Caches:
    """One cache for each kind that is watched, and what is not watched because nobody else writes it.

    Attributes:
        ledgers: by namespace and job, (resourceVersion, JSON).
        documents: the arms documents, by namespace and job.
        memories: what is kept of the evidence of runs in flight, by namespace and run.
        drifts: what is remembered of drift, by namespace and job.
        watchers: Kubernetes Jobs of the stage watch, by their FineTuneJob; `watch_pods`: their pods.
        opener: tells an arms document of ours.
    """

    jobs: Cache[Packed]
    runs: Runs
    children: Cache[Child]
    pods: Cache[Pod]
    servers: Cache[ServingPod]
    deployments: Cache[projections.Deployed]
    ledgers: dict[tuple[str, str], tuple[str, str]]
    documents: dict[tuple[str, str], KeptArms]
    memories: dict[tuple[str, str], str]
    opener: Opener
    drifts: dict[tuple[str, str], KeptDrift] = field(default_factory=dict)
    watchers: Cache[projections.Watcher] = field(default_factory=Cache)
    watch_pods: Cache[Pod] = field(default_factory=Cache)

    def job_phases(self) -> Counter[str]:
        """FineTuneJobs by phase."""
        return Counter(job.phase for job in self.jobs.values())

    def run_phases(self) -> Counter[str]:
        """FineTuneRuns by phase."""
        return Counter(run.phase for run in self.runs.values())

    @classmethod
    def empty(cls, opener: Opener | None = None) -> "Caches":
        """Nothing seen yet."""
        return cls(Cache(), Runs(), Cache(), Cache(), Cache(), Cache(), {}, {}, {}, opener or Unopened())

    def job(self, raw: Raw) -> None:
        """Take in a FineTuneJob."""
        self.jobs.put(raw, packed(raw), "")

    def run(self, raw: Raw) -> None:
        """Take in a FineTuneRun."""
        value = packed(raw)
        self.runs.put(raw, value, value.owner)
        if value.ended:
            self.memories.pop((value.meta.namespace, value.meta.name), None)

    def child(self, raw: Raw) -> None:
        """Take in a Kubernetes Job of a run."""
        if projections.ours(raw):
            self.children.put(raw, projections.child(raw), _run(raw))

    def pod(self, raw: Raw) -> None:
        """Take in a pod of a run."""
        if projections.ours(raw):
            self.pods.put(raw, projections.pod(raw), _run(raw))

    def watcher(self, raw: Raw) -> None:
        """Take in a Kubernetes Job of the stage watch."""
        if projections.watches(raw):
            self.watchers.put(raw, projections.watcher(raw), _job(raw))

    def watch_pod(self, raw: Raw) -> None:
        """Take in a pod of the stage watch."""
        if projections.watch_pod(raw):
            self.watch_pods.put(raw, projections.pod(raw), projections.owner_place(raw))

    def server(self, raw: Raw) -> None:
        """Take in a pod that serves."""
        if projections.serves(raw):
            self.servers.put(raw, projections.serving_pod(raw), _job(raw))

    def deployment(self, raw: Raw) -> None:
        """Take in a Deployment that serves."""
        if projections.deploys(raw):
            self.deployments.put(raw, projections.deployed(raw), _job(raw))

    def arms(self, namespace: str, job: str, raw: Raw | None) -> None:
        """Take in the ConfigMap of a job's arms document; None if there is none."""
        if raw is None:
            self.documents.pop((namespace, job), None)
            return
        text = str((raw.get("data") or {}).get("arms.json", ""))
        self.documents[namespace, job] = KeptArms(raw["metadata"]["resourceVersion"], text, self.opener.opened(text))

    def kept_arms(self, namespace: str, job: str) -> KeptArms | None:
        """The ConfigMap of a job's arms document, as it was last written or read."""
        return self.documents.get((namespace, job))

    def evidence(self, namespace: str, run: str, raw: Raw | None) -> None:
        """Take in the ConfigMap of a run's evidence; None if there is none. What is over needs none."""
        known = self.runs.get(namespace, run)
        if raw is None or (known is not None and known.ended):
            self.memories.pop((namespace, run), None)
        else:
            self.memories[namespace, run] = str((raw.get("data") or {}).get("evidence.json", ""))

    def drift(self, job: Meta, raw: Raw) -> None:
        """Take in the ConfigMap of a job's drift, as it is found at the start."""
        memory = load(str((raw.get("data") or {}).get("drift.json", "")))
        written = memory.at if memory is not None else 0.0
        self.drifts[job.namespace, job.name] = KeptDrift(job.uid, memory, written)

    def drift_seen(self, job: Meta, memory: Memory, written: float | None) -> None:
        """Remember a look. `written`: when it was written down, seconds since the epoch; None: it was not."""
        known = self.drifts.get((job.namespace, job.name))
        before = known.written if known is not None and known.uid == job.uid else 0.0
        self.drifts[job.namespace, job.name] = KeptDrift(job.uid, memory, before if written is None else written)

    def ledger(self, namespace: str, job: str, raw: Raw | None) -> None:
        """Take in the ConfigMap of a job's ledger; None if there is none."""
        if raw is None:
            self.ledgers.pop((namespace, job), None)
        else:
            text = (raw.get("data") or {}).get("ledger.json", "")
            self.ledgers[namespace, job] = (raw["metadata"]["resourceVersion"], text)


def _run(raw: Raw) -> str:
    """Whom a Job or pod belongs to: the `place` of its run's `Meta`."""
    return f"{raw['metadata']['namespace']}/{raw['metadata']['labels'][RUN_UID_LABEL]}"


def _job(raw: Raw) -> str:
    """Whom what serves belongs to: the `place` of its job's `Meta`."""
    return f"{raw['metadata']['namespace']}/{raw['metadata']['labels'][JOB_UID_LABEL]}"
