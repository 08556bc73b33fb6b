"""What is kept between two looks at the evidence, and how it is written down for a restart of the operator.

Numbers come back exactly: integers and floats as JSON has them, arrays as their bytes.
"""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from retune.api.run import EvidenceState
from retune.decide.evidence.counting import Ints, PodCursor, QueryCursor
from retune.decide.evidence.dispersion import Dispersion, Scale
from retune.decide.evidence.eprocess import RATIOS, Test
from retune.decide.readings import BUCKETS

VERSION = 1


@dataclass(frozen=True, eq=False)
class MetricMemory:
    """One stop-loss.

    Attributes:
        state: where it stood at the last look.
        comparative, absolute: tests (a) and (b), with a row for all requests and one without each bucket.
        baseline: test (b) on stable.
        interference: stable's slowness against its own before.
        cursor: of the user's own counters.
        step: bad, total, stable's bad, stable's total in the current step.
        dispersion: what is known of its bursts and users.
    """

    comparative: Test
    absolute: Test | None = None
    baseline: Test | None = None
    interference: Test | None = None
    state: EvidenceState = EvidenceState.NO_TRAFFIC
    cursor: QueryCursor | None = None
    step: tuple[int, int, int, int] = (0, 0, 0, 0)
    dispersion: Dispersion = field(default_factory=Dispersion)


@dataclass(frozen=True, eq=False)
class Memory:
    """Opaque to all but this package.

    Attributes:
        run_number: of the run.
        since: when counting began, seconds since the epoch.
        began: when the tests began: then, or at the bake.
        at: last look.
        stratum: of the last look.
        cursors: by pod uid, how far its tap has been read.
        metrics: by name of the stop-loss.
    """

    run_number: int
    since: float
    began: float
    at: float
    stratum: str = ""
    cursors: Mapping[str, PodCursor] = field(default_factory=dict)
    metrics: Mapping[str, MetricMemory] = field(default_factory=dict)


def dump(memory: Memory) -> str:
    """As compact JSON, which `load` reads back exactly. 8 metrics, 10 pods and 10 strata: about 350 kB."""
    body = json.dumps(_memory(memory), separators=(",", ":"), sort_keys=True)
    return json.dumps({"version": VERSION, "crc": zlib.crc32(body.encode()), "body": body}, separators=(",", ":"))


def load(text: str) -> Memory | None:
    """What `dump` wrote; None: unknown or garbled, the caller begins afresh and says that evidence was lost."""
    try:
        found = json.loads(text)
        if found["version"] != VERSION or zlib.crc32(found["body"].encode()) != found["crc"]:
            return None
        return _to_memory(json.loads(found["body"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, zlib.error):
        return None


def _pack(array: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array, dtype=kind).tobytes(), 3)).decode()


def _unpack(text: str, kind: str) -> npt.NDArray[Any]:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind).copy()


def _memory(memory: Memory) -> dict[str, Any]:
    return {
        "run": memory.run_number,
        "since": memory.since,
        "began": memory.began,
        "at": memory.at,
        "stratum": memory.stratum,
        "cursors": {uid: _cursor(cursor) for uid, cursor in memory.cursors.items()},
        "metrics": {name: _metric(metric) for name, metric in memory.metrics.items()},
    }


def _to_memory(found: dict[str, Any]) -> Memory:
    return Memory(
        run_number=int(found["run"]),
        since=float(found["since"]),
        began=float(found["began"]),
        at=float(found["at"]),
        stratum=str(found["stratum"]),
        cursors={uid: _to_cursor(cursor) for uid, cursor in found["cursors"].items()},
        metrics={name: _to_metric(metric) for name, metric in found["metrics"].items()},
    )


def _cursor(cursor: PodCursor) -> dict[str, Any]:
    keys = sorted(cursor.seen)
    counts = np.stack([cursor.seen[key] for key in keys]) if keys else np.zeros(0, dtype=np.int64)
    return {
        "started": cursor.started,
        "now": cursor.now,
        "at": cursor.at,
        "keys": [list(key) for key in keys],
        "counts": _pack(counts, "<i8"),
    }


def _to_cursor(found: dict[str, Any]) -> PodCursor:
    counts: Ints = _unpack(found["counts"], "<i8").astype(np.int64).reshape(-1, 2, BUCKETS)
    seen = {(key[0], key[1], key[2]): count for key, count in zip(found["keys"], counts, strict=True)}
    return PodCursor(float(found["started"]), float(found["now"]), float(found["at"]), seen)


def _metric(metric: MetricMemory) -> dict[str, Any]:
    cursor = metric.cursor
    return {
        "tests": [_test(test) for test in (metric.comparative, metric.absolute, metric.baseline, metric.interference)],
        "state": metric.state.value,
        "cursor": None if cursor is None else [list(cursor.at), list(cursor.stable), list(cursor.canary)],
        "step": list(metric.step),
        "dispersion": _dispersion(metric.dispersion),
    }


def _to_metric(found: dict[str, Any]) -> MetricMemory:
    comparative, absolute, baseline, interference = (_to_test(test) for test in found["tests"])
    if comparative is None:
        raise ValueError("the comparative test is missing")
    pairs = None if found["cursor"] is None else [(float(pair[0]), float(pair[1])) for pair in found["cursor"]]
    bad, total, stable_bad, stable_total = (int(count) for count in found["step"])
    return MetricMemory(
        comparative=comparative,
        absolute=absolute,
        baseline=baseline,
        interference=interference,
        state=EvidenceState(found["state"]),
        cursor=None if pairs is None else QueryCursor(pairs[0], pairs[1], pairs[2]),
        step=(bad, total, stable_bad, stable_total),
        dispersion=_to_dispersion(found["dispersion"]),
    )


def _test(test: Test | None) -> list[Any] | None:
    # The tests keep no more digits than these (`eprocess.update`).
    return None if test is None else [test.limit, test.began, test.t, _pack(test.logs, "<f4")]


def _to_test(found: list[Any] | None) -> Test | None:
    if found is None:
        return None
    logs = _unpack(found[3], "<f4").astype(np.float64).reshape(-1, len(RATIOS))
    return Test(float(found[0]), float(found[1]), float(found[2]), logs)


def _dispersion(known: Dispersion) -> dict[str, Any]:
    return {
        "taken": dict(known.taken),
        "waiting": [[start, *counts] for start, counts in sorted(known.waiting.items())],
        "closed": known.closed,
        "scales": [[length, s.open, s.last, s.squares, s.pairs] for length, s in sorted(known.scales.items())],
        "users": [_pack(known.bad, "<i8"), _pack(known.total, "<i8")],
        "before": list(known.before),
        "prior": known.prior,
        "floor": known.floor,
    }


def _to_dispersion(found: dict[str, Any]) -> Dispersion:
    bad, total = (_unpack(text, "<i8").astype(np.int64) for text in found["users"])
    if len(bad) != BUCKETS or len(total) != BUCKETS:
        raise ValueError("buckets")
    return Dispersion(
        taken={uid: float(start) for uid, start in found["taken"].items()},
        waiting={float(start): (int(bads), int(n)) for start, bads, n in found["waiting"]},
        closed=float(found["closed"]),
        scales={
            int(length): Scale(
                None if held is None else (float(held[0]), int(held[1]), int(held[2])),
                None if last is None else (float(last[0]), int(last[1]), int(last[2])),
                float(squares),
                int(pairs),
            )
            for length, held, last, squares, pairs in found["scales"]
        },
        bad=bad,
        total=total,
        before=(int(found["before"][0]), int(found["before"][1])),
        prior=float(found["prior"]),
        floor=float(found["floor"]),
    )
