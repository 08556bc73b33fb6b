"""Past counters as polls: what was added since the poll before, whatever the counters did. Pure.

Counters are cumulative and may start anew: one that falls has been reset, and what it shows has all come since. The
first poll is where counting begins; a counter that appears later counts from nought.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

STABLE, CANARY = "stable", "canary"
ARMS = (STABLE, CANARY)


class Key(NamedTuple):
    """What a counter counts. `step`: the rollout's step that the data name, or "" where they name none."""

    metric: str
    arm: str
    bucket: int = 0
    step: str = ""


class Sample(NamedTuple):
    """A counter's value at a time, in seconds. `series` tells apart what counts the same, such as two pods."""

    time: float
    key: Key
    bad: int
    total: int
    series: str = ""


class Poll(NamedTuple):
    """What was added since the poll before: (bad, total) by key. `step`: what the data name as in force, or ""."""

    time: float
    step: str
    added: Mapping[Key, tuple[int, int]]


class Trace(NamedTuple):
    """All polls, and the metrics that they say anything about. `buckets`: whether the data tell users apart."""

    polls: tuple[Poll, ...]
    metrics: frozenset[str]
    buckets: bool = False


def trace(samples: Iterable[Sample], *, buckets: bool = False) -> Trace:
    """Polls out of samples that are sorted by time."""
    counters = _Counters()
    polls: list[Poll] = []
    metrics: set[str] = set()
    for together in _together(samples):
        metrics.update(sample.key.metric for sample in together)
        step = together[-1].key.step
        polls.append(Poll(together[0].time, step, counters.take(together)))
    return Trace(tuple(polls), frozenset(metrics), buckets)


def _together(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Samples of one time."""
    held: list[Sample] = []
    for sample in samples:
        if held and sample.time != held[0].time:
            yield held
            held = []
        held.append(sample)
    if held:
        yield held


class _Counters:
    """What every counter showed last."""

    def __init__(self) -> None:
        self._last: dict[tuple[Key, str], tuple[int, int]] = {}
        self._step: dict[tuple[Key, str], str] = {}  # under which step a counter stood last
        self._first = True

    def take(self, together: list[Sample]) -> dict[Key, tuple[int, int]]:
        """What these samples add."""
        here = {(sample.key, sample.series) for sample in together}
        before = [self._before(sample, here) for sample in together]
        # Where one counter of an arm has started anew, all of that arm have: the same process counts them.
        anew = {
            (s.key.metric, s.key.arm, s.key.step, s.series)
            for s, (bad, total) in zip(together, before, strict=True)
            if s.bad < bad or s.total < total
        }
        added: dict[Key, tuple[int, int]] = {}
        for sample, (bad, total) in zip(together, before, strict=True):
            key, series = sample.key, sample.series
            reset = (key.metric, key.arm, key.step, series) in anew
            more = (sample.bad, sample.total) if reset else (sample.bad - bad, sample.total - total)
            self._last[key, series] = (sample.bad, sample.total)
            self._step[key._replace(step=""), series] = key.step
            if more != (0, 0) and not self._first:
                have = added.get(key, (0, 0))
                added[key] = (have[0] + more[0], have[1] + more[1])
        self._first = False
        return added

    def _before(self, sample: Sample, here: set[tuple[Key, str]]) -> tuple[int, int]:
        """What the counter showed: under its step, or, if that is new, under the step that it had before.

        A counter that goes on over a change of step is told by that from one that starts at nought with each: the
        latter falls, or its earlier step is still there beside it.
        """
        last = self._last.get((sample.key, sample.series))
        if last is not None:
            return last
        earlier = self._step.get((sample.key._replace(step=""), sample.series))
        if earlier is None:
            return 0, 0
        key = sample.key._replace(step=earlier)
        return (0, 0) if (key, sample.series) in here else self._last[key, sample.series]
