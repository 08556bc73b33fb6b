"""The prompts' side of a look: pool, reference, both detectors, for all PromptDrift triggers of a job. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from retune.decide.drift import betting, psi
from retune.decide.drift.clocks import GAP, Reading
from retune.decide.drift.evidence import WIDTH, Row
from retune.decide.drift.pool import DAY, WEEK, Cut, Pool, Vectors, collect, rank, since
from retune.decide.drift.reference import Reference, prepare
from retune.decide.drift.tallies import FORGOTTEN, placed

SHORTEST = 60.0  # s, of a window
MINUTES = 120.0  # s from which a span is told in minutes
LEAST = 100  # prompts below which PSI says nothing, whatever minSamples is
YOUNG = 3600.0  # s that PSI looks back at least, however short the reference's window


@dataclass(frozen=True, eq=False)
class Prompts:
    """What is known of a job's prompts.

    Attributes:
        window: of the reference, seconds.
        version: of the features; None: none seen yet.
        heard: when a tap last answered, seconds since the epoch.
        cursors: by pod uid, the last row's number and when it came.
        collecting: since when the pool is whole.
        pool: of the last `window` seconds.
        reference: None: it is being collected.
        bettor, blocks: the detectors, since the reference is there.
        uncovered: the last prompts came at an hour for which the reference has too few.
    """

    window: float
    collecting: float
    version: int | None = None
    heard: float | None = None
    cursors: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    pool: Pool = field(default_factory=dict)
    reference: Reference | None = None
    bettor: betting.Bettor = field(default_factory=betting.Bettor)
    blocks: tuple[psi.Block, ...] = ()
    uncovered: bool = False


def begin(window: float, now: float) -> Prompts:
    """Nothing known yet. `window`: seconds; more than a week is taken as a week."""
    return Prompts(window=min(WEEK, max(SHORTEST, window)), collecting=now)


def promoted(prompts: Prompts, drifted: float | None, *, first: bool, now: float) -> Prompts:
    """Another model serves: drift is measured against what came before that from now on.

    Args:
        prompts: before.
        drifted: since when prompts were found to be unlike the reference; what came before it is not what the new model
            is for, and would call the drift drift again.
        first: no model served before: the reference is collected from now on.
        now: seconds since the epoch.
    """
    cut = Cut(prompts.window)
    begun = now if first else max(prompts.collecting, drifted or 0.0)
    pool = {} if first else since(prompts.pool, cut, begun, whole=begun > prompts.collecting)
    return replace(
        prompts,
        collecting=begun,
        pool=pool,
        reference=None,
        bettor=betting.Bettor(),
        blocks=(),
        uncovered=False,
    )


def learn(
    prompts: Prompts, rows: Iterable[Row], version: int | None, *, fewest: int, size: int, last: float, now: float
) -> Prompts:
    """After a look.

    Args:
        prompts: before.
        rows: told by taps, in any order, known ones among them.
        version: of their features; None: no tap answered.
        fewest: prompts that make a reference.
        size: prompts of one of PSI's eight blocks.
        last: the look before, seconds since the epoch.
        now: this look.
    """
    if version is not None and version != prompts.version:
        lately = prompts.heard is not None and now - prompts.heard <= GAP
        if prompts.version is not None and version < prompts.version and lately:
            version = None  # a tap of an older image, beside newer ones
        else:
            prompts = replace(begin(prompts.window, now), version=version)
    cut = Cut(prompts.window)
    if version is not None:
        prompts, vectors, at, ranks = _new(prompts, rows, last=last, now=now)
        young = at > now - prompts.window
        keys = np.floor(at / cut.piece).astype(np.int64)
        inside = young & (at >= prompts.collecting)
        pool = collect(prompts.pool, cut, vectors[inside], ranks[inside], keys[inside])
        prompts = replace(prompts, pool=since(pool, cut, now - prompts.window), heard=now)
        if prompts.reference is not None:
            return _detect(prompts, prompts.reference, vectors, keys, size=size, days=(now - last) / DAY, now=now)
    count = sum(piece.count for piece in prompts.pool.values())
    if prompts.reference is None and now >= prompts.collecting + prompts.window and count >= fewest:
        return replace(prompts, reference=prepare(prompts.pool, cut))
    return prompts


def reading(prompts: Prompts, threshold: float, needed: int | None, *, fewest: int, now: float) -> Reading:
    """What a PromptDrift trigger is told; `needed`: its minSamples, `fewest`: the reference's."""
    if prompts.reference is None:
        return _collecting(prompts, fewest, now)
    if prompts.heard != now:
        return Reading(None, message="no tap told of prompts")
    n = sum(block.count for block in prompts.blocks)
    value, feature = psi.excess(prompts.blocks) if n >= LEAST else (None, 0)
    e_value = prompts.bettor.e_value
    alarm = e_value >= betting.LIMIT and n >= (needed or 0)
    enough = psi.FEWEST if needed is None else max(needed, LEAST)
    bet = f"e-value {e_value:.3g} of {betting.LIMIT:g} days"
    if not alarm and prompts.uncovered:
        said = "the reference has too few prompts of this time of day"
        return Reading(None, value, n, e_value, said)
    if not alarm and n < enough:
        return Reading(None, None, n, e_value, f"{n} of {enough} prompts since there is a reference")
    if alarm:
        said = f"the betting detector is sure: {bet}, which chance reaches once a year"
        return Reading(True, value, n, e_value, said)
    beyond = value is not None and value > threshold
    moved = f"feature {feature} has moved most" if value else "no feature has moved beyond chance"
    return Reading(beyond, value, n, e_value, f"{moved}; {bet}")


def _collecting(prompts: Prompts, fewest: int, now: float) -> Reading:
    count = sum(piece.count for piece in prompts.pool.values())
    left = prompts.collecting + prompts.window - now
    if prompts.version is None:
        return Reading(None, samples=count, message="no tap told of prompts yet", anew=True)
    if left > 0:
        said = f"the reference is being collected for another {_span(left)}; {count} prompts so far"
    else:
        said = f"the reference has {count} of {fewest} prompts (spec.triggers.reference.minSamples)"
    return Reading(None, samples=count, message=said, anew=True)


def _span(seconds: float) -> str:
    if seconds >= DAY:
        return f"{seconds / DAY:.1f} days"
    return f"{seconds / 60:.0f} minutes" if seconds >= MINUTES else f"{seconds:.0f} s"


def _new(
    prompts: Prompts, rows: Iterable[Row], *, last: float, now: float
) -> tuple[
    Prompts, Vectors, "np.ndarray[tuple[int], np.dtype[np.float64]]", "np.ndarray[tuple[int], np.dtype[np.uint32]]"
]:
    """The rows not seen before, in order of time: vectors, times, ranks."""
    cursors = dict(prompts.cursors)
    found: dict[tuple[str, int], tuple[float, bytes]] = {}
    for row in rows:
        known = prompts.cursors.get(row.pod)
        if len(row.vector) == WIDTH and (known is None or row.seq > known[0]):
            found[row.pod, row.seq] = (placed(row.at, now, None if known is None else last), row.vector)
            if row.seq >= cursors.get(row.pod, (row.seq, 0.0))[0]:
                cursors[row.pod] = (row.seq, now)
    kept = {pod: told for pod, told in cursors.items() if now - told[1] < FORGOTTEN}
    order = sorted(found, key=lambda place: (found[place][0], place))
    vectors = np.frombuffer(b"".join(found[place][1] for place in order), dtype=np.int8).reshape(-1, WIDTH)
    at = np.array([found[place][0] for place in order], dtype=np.float64)
    ranks = np.array([rank(*place) for place in order], dtype=np.uint32)
    return replace(prompts, cursors=kept), vectors, at, ranks


def _detect(
    prompts: Prompts,
    reference: Reference,
    vectors: Vectors,
    keys: "np.ndarray[tuple[int], np.dtype[np.int64]]",
    *,
    size: int,
    days: float,
    now: float,
) -> Prompts:
    bettor, blocks, uncovered = betting.wait(prompts.bettor, days), prompts.blocks, prompts.uncovered
    for key in map(int, np.unique(keys)):
        usual = reference.usual(reference.cut.hour(key))
        uncovered = usual is None
        if usual is not None:
            some = vectors[keys == key]
            bettor = betting.bet(bettor, usual, reference.white, some)
            blocks = psi.add(blocks, usual, some, size=size, at=now)
    oldest = now - max(YOUNG, prompts.window)
    while len(blocks) > 1 and blocks[1].began < oldest:
        blocks = blocks[1:]
    return replace(prompts, bettor=bettor, blocks=blocks, uncovered=uncovered)
