"""What a watch pod found out: read from its termination message, which anybody's image may have written. Pure.

The pod and its message: design/0015. When one is sent: `watching`.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retune.api import MetricName
from retune.decide.drift.evidence import ProbeResult
from retune.decide.facts import Counted, Pod, Sent

WATCH_LABEL = "retune.dev/watch"
COUNT, PROBE, BOTH = "count", "probe", "count-probe"  # its values: what the pod was asked for
MOST = 10**12  # examples
MOST_ASKED = 10_000  # gold questions, as the API allows
_REASON = re.compile(r"[A-Z][A-Za-z0-9]{0,63}")
_MESSAGE, _FIELD = 1000, 256


@dataclass(frozen=True)
class Examples:
    """How many there are: rows of the training set, and corrected answers."""

    train: int
    corrections: int


@dataclass(frozen=True)
class Probed:
    """Gold questions: asked, answered, the sum of scores (each from 0 to 1), answers without fault, and the metric."""

    asked: int
    answered: int
    score: float
    right: int
    metric: MetricName


@dataclass(frozen=True)
class Problem:
    """Why something could not be had. `message` names the field, if one is to blame, and the cure."""

    reason: str
    message: str


@dataclass(frozen=True)
class WatchResult:
    """What a watch pod said. Of what it was asked for, None could not be had, and then `error` says why."""

    examples: Examples | None = None
    probe: Probed | None = None
    error: Problem | None = None
    at: datetime | None = None  # when the pod began


def result(sent: Sent) -> WatchResult | None:
    """The result of a watch pod; None while it has not ended, and when it ended well and its pod is gone since."""
    child = sent.child
    if not child.over:
        return None
    pod = max(sent.pods, key=lambda p: (p.created.timestamp() if p.created else 0.0, p.name), default=None)
    end = pod.termination if pod is not None else None
    if end is None and child.complete:
        return None
    if end is None or not end.message:
        return WatchResult(error=_without_a_word(sent, pod), at=child.created)
    said = read(end.message)
    missing = (sent.count and said.examples is None) or (sent.probe and said.probe is None)
    error = said.error or Problem("ResultUnreadable", _UNREADABLE) if missing else None
    return WatchResult(said.examples, said.probe, error, end.started or child.created)


_UNREADABLE = "The watch pod's result is none. Check that spec.training.image is a trainer of this operator's version."


def read(message: Mapping[str, Any]) -> WatchResult:
    """What a termination message says; a part that is not as the contract has it is None."""
    watch = message.get("watch")
    found = watch if isinstance(watch, dict) else {}
    return WatchResult(_examples(found.get("examples")), _probed(found.get("probe")), _problem(message.get("error")))


def newest_count(sent: Iterable[Sent]) -> Counted | None:
    """The newest count of examples, for the job's facts."""
    found = [(said, said.at) for each in sent if (said := result(each)) is not None]
    counts = [Counted(said.examples.train, said.examples.corrections, at) for said, at in found if said.examples and at]
    return max(counts, key=lambda count: count.at, default=None)


def newest_probe(sent: Iterable[Sent]) -> ProbeResult | None:
    """The newest probe, for drift. Its name is the pod's Job, so that it counts once however often it is read."""
    found = [
        ProbeResult(each.child.name, said.at.timestamp(), said.probe.asked, said.probe.answered, said.probe.score)
        for each in sent
        if (said := result(each)) is not None and said.probe is not None and said.at is not None
    ]
    return max(found, key=lambda probe: probe.at, default=None)


def _without_a_word(sent: Sent, pod: Pod | None) -> Problem:
    reason, message = sent.child.failed or ("", "")
    end = pod.termination if pod is not None else None
    cure = "write the number of rows into a file beside the training set (its URI and .count)"
    if end is not None and end.reason == "OOMKilled":
        return Problem("OutOfMemory", f"The watch pod was killed for the memory that it used; {cure}.")
    if reason == "DeadlineExceeded" or (pod is not None and pod.evicted == "DeadlineExceeded"):
        return Problem(
            "Timeout", f"The watch pod took more than 15 minutes; {cure}, or lower spec.triggers.probe.examples."
        )
    if end is not None:
        return Problem("WatchFailed", f"The watch pod ended with exit code {end.exit_code} and without a result.")
    return Problem("WatchFailed", (message or "The watch pod is gone without a trace of its end.")[:_MESSAGE])


def _examples(told: object) -> Examples | None:
    if not isinstance(told, dict):
        return None
    train, corrections = _whole(told.get("train"), MOST), _whole(told.get("corrections"), MOST)
    return Examples(train, corrections) if train is not None and corrections is not None else None


def _probed(told: object) -> Probed | None:
    if not isinstance(told, dict):
        return None
    asked = _whole(told.get("asked"), MOST_ASKED)
    answered = _whole(told.get("answered"), asked or 0)
    right = _whole(told.get("right"), answered or 0)
    score, metric = told.get("score"), told.get("metric")
    if asked is None or answered is None or right is None or metric not in tuple(MetricName):
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= answered + 1e-6:
        return None
    return Probed(asked, answered, min(float(score), float(answered)), right, MetricName(metric))


def _whole(value: object, most: int) -> int | None:
    """`value` if it is a whole number from 0 to `most`."""
    return value if type(value) is int and 0 <= value <= most else None


def _problem(told: object) -> Problem | None:
    if not isinstance(told, dict):
        return None
    reason, field, message = (told.get(name) for name in ("reason", "field", "message"))
    reason = reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "WatchFailed"
    text = " ".join(message[:_MESSAGE].split()) if isinstance(message, str) else ""
    named = f"{field[:_FIELD]}: " if isinstance(field, str) and field else ""
    return Problem(reason, f"{named}{text or 'the watch pod gave no reason'}")
