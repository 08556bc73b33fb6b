"""How much less is known than the number of requests says: bursts, and users who differ.

A test that takes requests as independent is fooled by both. They are measured on stable alone and only on the past, and
the evidence is tempered by eta = 1 / max(1, phi_time, phi_user). Pearson's statistic over its degrees of freedom
(McCullagh and Nelder, "Generalized Linear Models", 1989, section 4.5), shrunk while little is known: towards 1 where
the buckets guard against a single client besides (`combine`), else towards 3.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from retune.decide.evidence.counting import Ints
from retune.decide.readings import BUCKETS, WINDOW

GRACE = 20.0  # seconds after its end at which a window counts as complete on all pods
HISTORY = 3600.0  # seconds before the rollout that are looked at
FEWEST = 2  # bad answers in a pair of windows that say anything
LARGEST = 15.0  # of one pair's statistic
PRIOR, WEIGHT = 1.0, 20.0
PRIOR_UNGUARDED = 3.0  # of the user's own counters, which have no buckets

Window = tuple[float, int, int]  # start, bad, total


@dataclass(frozen=True)
class Scale:
    """Windows of one length: the one being filled, the one before, and what pairs of them have said."""

    open: Window | None = None
    last: Window | None = None
    squares: float = 0.0
    pairs: int = 0


@dataclass(frozen=True, eq=False)
class Dispersion:
    """What is known of one metric's stable requests.

    Attributes:
        taken: by pod uid, start of the newest window taken from it.
        waiting: windows that may not be complete on all pods yet: by start, (bad, total).
        closed: windows that start before it are done with.
        scales: by length in windows of 15 s.
        bad, total: stable's by bucket, since the rollout began.
        before: stable's (bad, total) in the hour before it.
        prior: what phi_time is shrunk towards.
        floor: phi is at least this; of the user's own counters what the builtins have (they see the same users).
    """

    taken: Mapping[str, float] = field(default_factory=dict)
    waiting: Mapping[float, tuple[int, int]] = field(default_factory=dict)
    closed: float = 0.0
    scales: Mapping[int, Scale] = field(default_factory=lambda: {1: Scale(), 4: Scale()})
    bad: Ints = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))
    total: Ints = field(default_factory=lambda: np.zeros(BUCKETS, dtype=np.int64))
    before: tuple[int, int] = (0, 0)
    prior: float = PRIOR
    floor: float = 1.0

    @property
    def phi_time(self) -> float:
        """From pairs of windows of 15 s and of 60 s; the larger."""
        return max(_shrunk(scale.squares, scale.pairs, self.prior) for scale in self.scales.values())

    @property
    def phi_user(self) -> float:
        """From the 32 buckets; 1 if there are none (the user's own counters)."""
        return phi_user(self.bad, self.total) if self.total.any() else 1.0

    @property
    def phi(self) -> float:
        """What counts are divided by: max(1, phi_time, phi_user), and the floor."""
        return max(self.floor, self.phi_time, self.phi_user)

    @property
    def eta(self) -> float:
        """What evidence is multiplied with."""
        return 1.0 / self.phi


def _shrunk(squares: float, pairs: float, prior: float) -> float:
    return (prior * WEIGHT + squares) / (WEIGHT + pairs)


def phi_user(bad: Ints, total: Ints) -> float:
    """Pearson's X over the buckets that have requests, shrunk with the weight of as many bad answers."""
    used = total > 0
    bads, n = float(bad.sum()), float(total.sum())
    if bads == 0 or used.sum() < 2:
        return PRIOR
    expected = bads * total[used] / n
    x = float((np.square(bad[used] - expected) / expected).sum() / (used.sum() - 1))
    return _shrunk(bads * x, bads, PRIOR)


def square(last: Window, now: Window) -> float | None:
    """How far two neighbouring windows differ, squared, in standard deviations; None: too few bad answers to say."""
    f, n = last[1] + now[1], last[2] + now[2]
    if f < FEWEST or last[2] == 0 or now[2] == 0:
        return None
    share = now[2] / n
    return float(min(LARGEST, (now[1] - f * share) ** 2 / (f * share * (1 - share))))


def counted(known: Dispersion, bad: Ints, total: Ints) -> Dispersion:
    """With what stable counted by bucket since the last look."""
    return replace(known, bad=known.bad + bad, total=known.total + total)


def windows(
    known: Dispersion,
    found: Mapping[str, Sequence[Window]],
    *,
    since: float,
    at: float,
    skews: Mapping[str, float] | None = None,
) -> tuple[Dispersion, tuple[int, int]]:
    """With completed windows of stable, by pod uid; and (bad, total) of those that closed after the rollout began.

    Windows of all pods are added up before they are compared: what hits all pods at once is one burst, not many.
    `skews`: by pod uid, what to add to the times of its windows; what was taken is remembered in the pod's own time.
    """
    taken, waiting = dict(known.taken), dict(known.waiting)
    oldest = since - HISTORY
    for uid, given in found.items():
        for start, bad, total in sorted(given):
            if start <= taken.get(uid, -1.0):
                continue
            taken[uid] = start
            ours = start + (skews or {}).get(uid, 0.0)
            if ours > known.closed and oldest <= ours < at:
                old = waiting.get(ours, (0, 0))
                waiting[ours] = (old[0] + min(bad, total), old[1] + total)
    scales, before, after = dict(known.scales), known.before, (0, 0)
    until = at - WINDOW - GRACE
    for start in sorted(start for start in waiting if start <= until):
        bad, total = waiting.pop(start)
        if start + WINDOW <= since:
            before = before[0] + bad, before[1] + total
        else:
            after = after[0] + bad, after[1] + total
        scales = {length: _fed(scale, length * WINDOW, (start, bad, total)) for length, scale in scales.items()}
    gone = sorted(taken, key=lambda uid: -taken[uid])[256:]
    return (
        replace(
            known,
            taken={uid: start for uid, start in taken.items() if uid not in gone},
            waiting=waiting,
            closed=max(known.closed, until),
            scales=scales,
            before=before,
        ),
        after,
    )


def _fed(scale: Scale, length: float, window: Window) -> Scale:
    """With one more window of 15 s; a longer one is complete when the next one begins."""
    start = window[0] - window[0] % length
    held = scale.open
    if held is not None and held[0] == start:
        return replace(scale, open=(start, held[1] + window[1], held[2] + window[2]))
    opened = (start, window[1], window[2])
    if held is None:
        return replace(scale, open=opened)
    difference = square(scale.last, held) if scale.last is not None and held[0] - scale.last[0] == length else None
    squares, pairs = (0.0, 0) if difference is None else (difference, 1)
    return Scale(opened, held, scale.squares + squares, scale.pairs + pairs)
