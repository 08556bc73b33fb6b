"""What the door is asked with: triggers, evidence, and looks one after the other."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from retune.api.job import StableModel
from retune.api.triggers import DriftReference, DriftTrigger
from retune.decide.drift.evidence import DriftEvidence, Row
from retune.decide.drift.watch import watch

NOON = datetime(2026, 9, 22, 12, tzinfo=UTC)
SERVED = StableModel(run="j-1", digest="sha256:" + "1" * 64)
NEXT = StableModel(run="j-2", digest="sha256:" + "2" * 64)
SHORT = DriftReference(window="10m", min_samples=500)


def trigger(name="prompts", *, builtin="PromptDrift", query=None, threshold=0.1, lasting="30m", fewest=None):
    said = {"name": name, "threshold": threshold, "for": lasting, "minSamples": fewest}
    said |= {"query": query} if query else {"builtin": builtin}
    return DriftTrigger.model_validate({key: value for key, value in said.items() if value is not None})


def rows(random, n, *, first=1, at=NOON, pod="a", shift=0.0, wide=8, seconds=30.0):
    """So many prompts of one tap in the seconds before `at`."""
    x = random.normal(size=(n, 64))
    x[:, :wide] += shift
    vectors = np.clip(np.rint(x * 16), -127, 127).astype(np.int8)
    begin = at.timestamp() - seconds
    return tuple(Row(pod, first + i, begin + (i + 0.5) * seconds / n, vectors[i].tobytes()) for i in range(n))


class Looks:
    """A job that is looked at every half minute."""

    def __init__(self, *triggers, reference=SHORT, served=SERVED, seed=1, memory=None, now=NOON):
        self.triggers, self.reference, self.served, self.memory, self.now = triggers, reference, served, memory, now
        self.random, self.seq, self.statuses = np.random.default_rng(seed), 0, ()

    def look(self, evidence=None, *, after=30.0):
        self.now += timedelta(seconds=after)
        evidence = evidence or DriftEvidence(served=self.served)
        said = watch(self.triggers, self.reference, evidence, self.memory, self.now)
        self.statuses, self.memory = said.statuses, said.memory
        return said.statuses[0]

    def prompts(self, looks, *, each=30, shift=0.0, version=1, pod="a"):
        """So many looks with so many prompts each; the last status."""
        for _ in range(looks):
            told = rows(
                self.random, each, first=self.seq + 1, at=self.now + timedelta(seconds=30), pod=pod, shift=shift
            )
            self.seq += each
            status = self.look(DriftEvidence(rows=told, version=version, served=self.served))
        return status

    def until(self, wanted, *, most=400, **how):
        """Prompts until a state; how many looks it took."""
        for taken in range(1, most + 1):
            if self.prompts(1, **how).state == wanted:
                return taken
        raise AssertionError(f"not {wanted} after {most} looks: {self.statuses[0]}")
