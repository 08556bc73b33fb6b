"""What is kept between two looks at drift, and how it is written down for a restart of the operator.

Numbers come back exactly: integers and floats as JSON has them, arrays as their bytes. Below 900 kB for a week's
reference (about 700 kB), so that it fits into a ConfigMap.
"""

import base64
import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from retune.api.job import DriftState
from retune.decide.drift import betting, psi
from retune.decide.drift.clocks import Clock, Reading
from retune.decide.drift.evidence import WIDTH
from retune.decide.drift.pool import Cut, Piece, Pool
from retune.decide.drift.prompts import Prompts
from retune.decide.drift.quality import Quality
from retune.decide.drift.reference import BINS, GROUPS, prepare
from retune.decide.drift.tallies import Tally

VERSION = 1
LARGEST = 2**22  # bytes of an array; whoever may edit ConfigMaps must not fill the operator's memory


@dataclass(frozen=True, eq=False)
class Memory:
    """Opaque to all but this package.

    Attributes:
        at: last look, seconds since the epoch.
        served: the model that served then; "" if none did.
        prompts: None: no trigger asks for them.
        quality: of answers.
        clocks: by trigger.
        drifted: since when prompts are unlike the reference, seconds since the epoch; None: they are not.
    """

    at: float
    served: str = ""
    prompts: Prompts | None = None
    quality: Quality = field(default_factory=Quality)
    clocks: Mapping[str, Clock] = field(default_factory=dict)
    drifted: float | None = None


def dump(memory: Memory) -> str:
    """As compact JSON, which `load` reads back exactly."""
    body = json.dumps(_memory(memory), separators=(",", ":"), sort_keys=True)
    return json.dumps({"version": VERSION, "crc": zlib.crc32(body.encode()), "body": body}, separators=(",", ":"))


def load(text: str) -> Memory | None:
    """What `dump` wrote; None: unknown or garbled, the caller begins afresh and says that the reference was lost."""
    try:
        found = json.loads(text)
        if found["version"] != VERSION or zlib.crc32(found["body"].encode()) != found["crc"]:
            return None
        return _to_memory(json.loads(found["body"]))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OverflowError, RecursionError, zlib.error):
        return None


def _pack(array: npt.NDArray[Any], kind: str) -> str:
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array, dtype=kind).tobytes(), 3)).decode()


def _unpack(text: str, kind: str) -> npt.NDArray[Any]:
    unpacking = zlib.decompressobj()
    found = unpacking.decompress(base64.b64decode(text), LARGEST)
    if not unpacking.eof:
        raise ValueError("more than is ever kept")
    return np.frombuffer(found, dtype=kind).copy()


def _memory(memory: Memory) -> dict[str, Any]:
    return {
        "at": memory.at,
        "served": memory.served,
        "prompts": None if memory.prompts is None else _prompts(memory.prompts),
        "quality": _quality(memory.quality),
        "clocks": {name: _clock(clock) for name, clock in memory.clocks.items()},
        "drifted": memory.drifted,
    }


def _to_memory(found: dict[str, Any]) -> Memory:
    return Memory(
        at=float(found["at"]),
        served=str(found["served"]),
        prompts=None if found["prompts"] is None else _to_prompts(found["prompts"]),
        quality=_to_quality(found["quality"]),
        clocks={name: _to_clock(clock) for name, clock in found["clocks"].items()},
        drifted=_maybe(found["drifted"]),
    )


def _maybe(found: Any) -> float | None:  # noqa: ANN401 - whatever the JSON holds
    return None if found is None else float(found)


def _clock(clock: Clock) -> list[Any]:
    last = clock.last
    kept = [last.beyond, last.value, last.samples, last.e_value, last.message]
    return [clock.state.value, clock.since, clock.seen, kept]


def _to_clock(found: list[Any]) -> Clock:
    state, since, seen, (beyond, value, samples, e_value, message) = found
    last = Reading(beyond, _maybe(value), None if samples is None else int(samples), _maybe(e_value), str(message))
    return Clock(DriftState(state), _maybe(since), _maybe(seen), last)


def _pool(pool: Pool) -> dict[str, Any]:
    pieces = [pool[key] for key in sorted(pool)]
    whole = [*pieces, Piece()]
    return {
        "keys": sorted(pool),
        "sampled": [len(piece.rows) for piece in pieces],
        "rest": [piece.rest.tolist() for piece in pieces],
        "rows": _pack(np.concatenate([piece.rows for piece in whole]), "i1"),
        "ranks": _pack(np.concatenate([piece.ranks for piece in whole]), "<u4"),
        # 32 bits hold the sums of 16 million prompts in an hour.
        "sums": _pack(np.stack([piece.sums for piece in whole]), "<i4"),
    }


def _to_pool(found: dict[str, Any]) -> Pool:
    ends = np.cumsum(found["sampled"]).tolist()
    rows = _unpack(found["rows"], "i1").astype(np.int8).reshape(-1, WIDTH)
    ranks = _unpack(found["ranks"], "<u4").astype(np.uint32)
    sums = _unpack(found["sums"], "<i4").astype(np.int64).reshape(-1, 2, WIDTH)
    if len(rows) != len(ranks) or len(rows) != (ends[-1] if ends else 0):
        raise ValueError("rows")
    pool: dict[int, Piece] = {}
    parts = zip(found["keys"], found["sampled"], ends, found["rest"], sums, strict=False)
    for key, sampled, end, rest, own in parts:
        pool[int(key)] = Piece(
            rows[end - sampled : end], ranks[end - sampled : end], np.array(rest, dtype=np.int64), own
        )
    return pool


def _prompts(prompts: Prompts) -> dict[str, Any]:
    bettor = prompts.bettor
    blocks = prompts.blocks
    counts = np.array([block.counts for block in blocks]).reshape(-1)
    usual = np.array([block.usual for block in blocks]).reshape(-1)
    return {
        "window": prompts.window,
        "collecting": prompts.collecting,
        "version": prompts.version,
        "heard": prompts.heard,
        "cursors": {pod: list(told) for pod, told in prompts.cursors.items()},
        "pool": _pool(prompts.pool),
        "reference": None if prompts.reference is None else _pool(prompts.reference.pool),
        "bettor": [
            bettor.seen,
            _pack(bettor.wealth, "<f8"),
            _pack(bettor.means, "<f8"),
            _pack(bettor.apart, "<f8"),
            _pack(bettor.g, "<f8"),
        ],
        "blocks": [[block.began, block.count, block.noise] for block in blocks],
        "counts": _pack(counts, "<i4"),
        "usual": _pack(usual, "<f4"),
        "uncovered": prompts.uncovered,
    }


def _to_prompts(found: dict[str, Any]) -> Prompts:
    window = float(found["window"])
    if not math.isfinite(window) or window <= 0:
        raise ValueError("window")
    seen, wealth, means, apart, g = found["bettor"]
    counts = _unpack(found["counts"], "<i4").astype(np.int32).reshape(-1, WIDTH, BINS)
    usual = _unpack(found["usual"], "<f4").astype(np.float32).reshape(-1, GROUPS, WIDTH, BINS)
    return Prompts(
        window=window,
        collecting=float(found["collecting"]),
        version=None if found["version"] is None else int(found["version"]),
        heard=_maybe(found["heard"]),
        cursors={pod: (int(seq), float(at)) for pod, (seq, at) in found["cursors"].items()},
        pool=_to_pool(found["pool"]),
        reference=None if found["reference"] is None else prepare(_to_pool(found["reference"]), Cut(window)),
        bettor=betting.Bettor(
            wealth=_unpack(wealth, "<f8").reshape(betting.SIGNALS, -1),
            seen=int(seen),
            means=_unpack(means, "<f8").reshape(-1, WIDTH),
            apart=_unpack(apart, "<f8"),
            g=_unpack(g, "<f8").reshape(-1, WIDTH),
        ),
        blocks=tuple(
            psi.Block(float(began), int(count), float(noise), own, theirs)
            for (began, count, noise), own, theirs in zip(found["blocks"], counts, usual, strict=True)
        ),
        uncovered=bool(found["uncovered"]),
    )


def _tally(tally: Tally) -> dict[str, Any]:
    return {
        "shape": [tally.width, tally.length],
        "pieces": [[piece, *counts] for piece, counts in sorted(tally.pieces.items())],
        "taken": {pod: list(told) for pod, told in tally.taken.items()},
    }


def _to_tally(found: dict[str, Any]) -> Tally:
    return Tally(
        width=float(found["shape"][0]),
        length=int(found["shape"][1]),
        pieces={int(piece): (int(bad), int(total)) for piece, bad, total in found["pieces"]},
        taken={pod: (float(newest), float(at)) for pod, (newest, at) in found["taken"].items()},
    )


def _quality(quality: Quality) -> dict[str, Any]:
    return {
        "probes": [list(probe) for probe in quality.probes],
        "base": list(quality.base),
        "rated": _tally(quality.rated),
        "overrides": _tally(quality.overrides),
        "heard": list(quality.heard),
    }


def _to_quality(found: dict[str, Any]) -> Quality:
    return Quality(
        probes=tuple((str(name), float(at), int(n), float(score)) for name, at, n, score in found["probes"]),
        base=(int(found["base"][0]), int(found["base"][1])),
        rated=_to_tally(found["rated"]),
        overrides=_to_tally(found["overrides"]),
        heard=(_maybe(found["heard"][0]), _maybe(found["heard"][1])),
    )
