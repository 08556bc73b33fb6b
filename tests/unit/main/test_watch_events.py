"""Events of watch pods wake the job they were sent for, and nobody else."""

from typing import Any

import kopf
import pytest
from tests.unit.make import virtually
from tests.unit.observe.test_drift_facts import raw_watch, raw_watch_pod
from tests.unit.raw import raw_job
from tests.unit.serves import JOB, META, NS

from retune.decide.drift.memory import Memory
from retune.main.handlers import JOB as KIND
from retune.main.handlers import Watches
from retune.main.queue import Key
from retune.observe.cache import Caches

Raw = dict[str, Any]


class Woken(list[Key]):
    def add(self, key: Key) -> None:
        self.append(key)


def watching() -> tuple[Watches, Caches, Woken]:
    caches, woken = Caches.empty(), Woken()
    caches.job(raw_job())
    return Watches(caches, woken), caches, woken  # type: ignore[arg-type]


def test_a_watch_job_and_its_pod_wake_their_finetunejob_and_are_forgotten_when_they_go() -> None:
    watches, caches, woken = watching()
    virtually(watches._on_watch({"type": "ADDED", "object": raw_watch()}))
    virtually(watches._on_watch_pod({"type": "ADDED", "object": raw_watch_pod()}))
    assert woken == [Key(KIND, NS, JOB)] * 2
    assert (len(caches.watchers), len(caches.watch_pods)) == (1, 1)
    virtually(watches._on_watch({"type": "DELETED", "object": raw_watch()}))
    virtually(watches._on_watch_pod({"type": "DELETED", "object": raw_watch_pod()}))
    assert (len(caches.watchers), len(caches.watch_pods)) == (0, 0)


def test_with_its_job_what_was_remembered_of_drift_is_forgotten() -> None:
    watches, caches, _ = watching()
    caches.drift_seen(META, Memory(1.0), None)
    virtually(watches._on_job({"type": "DELETED", "object": raw_job()}))
    assert caches.drifts == {}


@pytest.mark.parametrize("resource", ["jobs", "pods"])
def test_watches_are_watched(resource: str) -> None:
    registry = kopf.OperatorRegistry()
    watching()[0].register(registry)
    handlers = registry._watching.get_all_handlers()
    labels = [set(h.labels or {}) for h in handlers if h.selector is not None and h.selector.any_name == resource]
    assert {"retune.dev/watch"} in labels
