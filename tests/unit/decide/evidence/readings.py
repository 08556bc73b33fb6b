"""Readings as a tap would give them, from traces or by hand."""

import numpy as np
from tests.unit.decide.evidence.twin import POLL

from retune.decide.evidence.judge import Plan, Watched
from retune.decide.readings import BUCKETS, Series, TapReading

START = 1_790_000_040.0  # a whole minute


def watched(name="errors", builtin="Errors", max_ratio=1.25, max_rate=None, margin=None):
    return Watched(name, builtin, max_ratio, max_rate, margin)


def plan(*metrics, run_number=3, confidence=0.99, promote=0.95, blocked_user=False):
    return Plan(run_number, metrics or (watched(),), confidence, promote, blocked_user)


def spread(count, bucket=None):
    """A count over the buckets, as evenly as can be, or all in one."""
    if bucket is not None:
        return tuple(count if index == bucket else 0 for index in range(BUCKETS))
    return tuple(count // BUCKETS + (index < count % BUCKETS) for index in range(BUCKETS))


def series(arm, stratum, bad, total, *, metric="errors", bucket=None):
    return Series(metric, arm, stratum, spread(bad, bucket), spread(total, bucket))


def tap(*given, uid="a", now=START, started=START - 7200, windows=None, heaviest=0.0):
    return TapReading(
        pod="pod-" + uid,
        pod_uid=uid,
        started=started,
        now=now,
        generation=1,
        series=given,
        windows=windows or {},
        heaviest=heaviest,
    )


def past(traces, run, metric="errors"):
    """Windows of the hour before."""
    n = traces.history.shape[1]
    return [
        (START - 15.0 * (n - index), int(bad), int(total)) for index, (bad, total) in enumerate(traces.history[run])
    ]


def replayed(traces, run, *, uid="a", metric="errors", poll=POLL):
    """What one tap answers at each poll of a trace, once before it, and the hour of windows before that."""
    bad = traces.bad[run].astype(np.int64)
    total = traces.total[run].astype(np.int64)
    windows = past(traces, run)
    sums: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    yield tap(uid=uid, now=START, windows={metric: tuple(windows)})
    per = round(15 / poll)
    for index in range(bad.shape[0]):
        step = int(traces.steps[index])
        old = sums.get(step, (np.zeros((2, BUCKETS), int), np.zeros((2, BUCKETS), int)))
        sums[step] = old[0] + bad[index], old[1] + total[index]
        if (index + 1) % per == 0:
            last = slice(index + 1 - per, index + 1)
            windows.append((START + (index + 1 - per) * poll, int(bad[last, 0].sum()), int(total[last, 0].sum())))
        given = [
            Series(metric, arm, f"3:{step}", tuple(counts[0][place].tolist()), tuple(counts[1][place].tolist()))
            for step, counts in sums.items()
            for place, arm in enumerate(("stable", "canary"))
        ]
        yield tap(*given, uid=uid, now=START + (index + 1) * poll, windows={metric: tuple(windows[-60:])})
