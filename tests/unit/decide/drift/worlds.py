"""Prompts of simulated worlds, and a stream of them through both detectors. Fixed seeds; features in sixteenths."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from retune.decide.drift import betting, psi
from retune.decide.drift.evidence import WIDTH
from retune.decide.drift.pool import DAY, WEEK, Cut, collect
from retune.decide.drift.reference import Reference, prepare

START = 1_790_035_200.0  # a Tuesday, midnight
KINDS = ("iid", "smooth", "hours", "nightly", "weekend", "discrete")


@dataclass(frozen=True)
class World:
    """Gaussian features whose means follow the time of day in 16 of 64, by up to a standard deviation or more each.

    smooth: a wave of 24 hours; hours: office hours from 8:30 to 17:20, at once; nightly: a batch from 2 to 3 o'clock;
    weekend: other prompts on Saturday and Sunday, and a wave; discrete: a wave, and features that hardly ever change.
    """

    kind: str
    seed: int

    def rows(self, at, random, shift=0.0, wide=8):
        """Vectors at these times; the first `wide` features are moved by `shift` standard deviations."""
        x = random.normal(size=(len(at), WIDTH)) + self._wave(at)[:, None] * self._way()
        x[:, :wide] += shift
        if self.kind == "discrete":
            x[:, 20:24] = 1.0
            x[:, 24:28] = x[:, 24:28] > 2.0
        return np.clip(np.rint(x * 16), -127, 127).astype(np.int8)

    def _way(self):
        way = np.random.default_rng(self.seed).normal(size=WIDTH)
        return np.where(np.arange(WIDTH) < 16, way, 0.0)

    def _wave(self, at):
        hour = at % DAY / 3600
        weekend = (at // DAY + 3) % 7 >= 5
        if self.kind in ("smooth", "discrete"):
            return np.sin(2 * np.pi * hour / 24)
        if self.kind == "hours":
            return np.where((hour > 8.5) & (hour < 17 + 1 / 3), 0.5, -0.5)
        if self.kind == "nightly":
            return np.where((hour >= 2) & (hour < 3), 1.0, 0.0)
        if self.kind == "weekend":
            return 0.5 * np.sin(2 * np.pi * hour / 24) + weekend
        return np.zeros(len(at))


def ranks(random, n):
    return random.integers(0, 2**32, n, dtype=np.uint64).astype(np.uint32)


def reference(world, random, per_minute, *, window=WEEK, until=START) -> Reference:
    """Of the prompts of the window before `until`."""
    cut = Cut(window)
    at = np.sort(random.uniform(until - window, until, int(per_minute * window / 60)))
    keys = np.floor(at / cut.piece).astype(np.int64)
    return prepare(collect({}, cut, world.rows(at, random), ranks(random, len(at)), keys), cut)


@dataclass
class Seen:
    """What a stream ended with. `alarm`: prompts until the betting detector's; `beyond`: until PSI's."""

    most: float = 0.0
    e_value: float = 0.0
    psi: float = 0.0
    alarm: int | None = None
    beyond: int | None = None


def stream(
    world,
    seed,
    per_minute,
    prompts,
    *,
    look=30.0,
    shift=0.0,
    wide=8,
    before=0,
    threshold=0.1,
    after=0.0,
    reference_per_minute=None,
    stop=False,
) -> Seen:
    """A reference of a week, then so many prompts; `before` of them come before the shift. `after`: days between."""
    random = np.random.default_rng([seed, 20261123])
    known = reference(world, random, reference_per_minute or per_minute)
    at = START + after * DAY + np.arange(prompts) * 60 / per_minute
    rows = world.rows(at, random)
    if shift:
        rows[before:] = world.rows(at[before:], random, shift, wide)
    return through(known, at, rows, look=look, threshold=threshold, stop=stop)


def through(known: Reference, at, rows, *, look=30.0, threshold=0.1, stop=False) -> Seen:
    """Prompts through both detectors, a look every `look` seconds."""
    seen, bettor, blocks = Seen(), betting.Bettor(), ()
    looks = np.floor((at - at[0]) / look).astype(np.int64)
    begins = np.flatnonzero(np.diff(looks, prepend=-1))
    last = -1
    for begin, end in zip(begins, [*begins[1:], len(at)], strict=True):
        usual = known.usual(known.cut.hour(known.cut.key(at[begin])))
        bettor = betting.wait(bettor, (looks[begin] - last) * look / DAY)
        last = looks[begin]
        if usual is None:
            continue
        bettor = betting.bet(bettor, usual, known.white, rows[begin:end])
        blocks = psi.add(blocks, usual, rows[begin:end], size=psi.BLOCK, at=at[begin])
        seen.e_value = bettor.e_value
        seen.most = max(seen.most, bettor.e_value)
        if seen.alarm is None and bettor.e_value >= betting.LIMIT:
            seen.alarm = int(end)
        n = sum(block.count for block in blocks)
        if n >= min(500, len(at)) and (n < 2000 or end % 5 == 0 or end == len(at)):
            value = psi.excess(blocks)[0]
            seen.psi = max(seen.psi, value)
            if seen.beyond is None and value > threshold:
                seen.beyond = int(end)
        if stop and seen.alarm is not None:
            break
    return seen
