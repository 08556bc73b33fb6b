"""Requests one by one, for what independent counts cannot show: sessions, users who differ, one looping client."""

import numpy as np
from tests.unit.decide.evidence.twin import POLL, Traces

BUCKETS = 32
HOUR = 3600


def weights(seconds, holds=((0.1, 1200.0), (0.25, 2400.0), (0.5, 3600.0))):
    """The candidate's share, and the step, at each of these times."""
    ends = np.array([end for _, end in holds])
    step = np.minimum(np.searchsorted(ends, seconds, side="right"), len(holds) - 1)
    return np.array([weight for weight, _ in holds])[step], step


def binned(run, user, seconds, bad, place, bucket, *, runs, polls, holds, cap=5):
    """Requests as counts by run, poll, arm and bucket; at most `cap` of an id and minute count.

    `place`: of the user's hash, in [0, 1): in the candidate's arm while the weight is above it. Times before 0 are
    history: all stable's.
    """
    minute = np.floor(seconds / 60).astype(np.int64)
    order = np.lexsort((seconds, minute, user))
    run, user, seconds, bad, minute, place, bucket = (
        each[order] for each in (run, user, seconds, bad, minute, place, bucket)
    )
    first = np.r_[True, (user[1:] != user[:-1]) | (minute[1:] != minute[:-1])]
    begins = np.maximum.accumulate(np.where(first, np.arange(len(user)), 0))
    counts = np.arange(len(user)) - begins < cap
    run, seconds, bad, place, bucket = (each[counts] for each in (run, seconds, bad, place, bucket))
    past = seconds < 0
    window = (np.floor(seconds / 15).astype(np.int64) + 240)[past]
    at = run[past] * 240 + window
    history = [
        np.bincount(at, weights=each, minlength=runs * 240).reshape(runs, 240)
        for each in (bad[past].astype(float), np.ones(past.sum()))
    ]
    now = (~past) & (seconds < polls * POLL)
    poll = np.floor(seconds[now] / POLL).astype(np.int64)
    weight, _ = weights(seconds[now], holds)
    arm = (place[now] < weight).astype(np.int64)
    at = ((run[now] * polls + poll) * 2 + arm) * BUCKETS + bucket[now]
    shape = (runs, polls, 2, BUCKETS)
    total, bads = (
        np.bincount(at, weights=each, minlength=int(np.prod(shape))).reshape(shape).astype(np.int32)
        for each in (np.ones(len(at)), bad[now].astype(float))
    )
    _, steps = weights((np.arange(polls) + 0.5) * POLL, holds)
    return Traces(bads, total, np.stack(history, axis=-1).astype(np.int64), steps)


def users(
    random, *, runs, polls, per_minute, many, rho, mean, zipf=1.0, holds=((0.1, 1200.0), (0.25, 2400.0), (0.5, 3600.0))
):
    """Users who stay, of whom a few ask much (Zipf), and whose rates of bad answers differ by an ICC of `rho`."""
    share = 1 / np.arange(1, many + 1) ** zipf
    share /= share.sum()
    span = HOUR + polls * POLL
    n = random.poisson(per_minute * span / 60, runs)
    run = np.repeat(np.arange(runs), n)
    who = random.choice(many, size=len(run), p=share) + run * many
    p = random.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), runs * many)
    place, bucket = random.random(runs * many), random.integers(0, BUCKETS, runs * many)
    seconds = random.uniform(-HOUR, polls * POLL, len(run))
    return binned(
        run,
        who,
        seconds,
        random.random(len(run)) < p[who],
        place[who],
        bucket[who],
        runs=runs,
        polls=polls,
        holds=holds,
    )


def sessions(
    random, *, runs, polls, per_minute, length, rho, mean, holds=((0.1, 1200.0), (0.25, 2400.0), (0.5, 3600.0))
):
    """Sessions of `length` requests within five minutes, some of which go badly as a whole (ICC `rho`)."""
    span = HOUR + polls * POLL
    n = random.poisson(per_minute * span / 60 / length, runs)
    home = np.repeat(np.arange(runs), n)
    begun = random.uniform(-HOUR, polls * POLL, len(home))
    p = random.beta(mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1), len(home))
    place, bucket = random.random(len(home)), random.integers(0, BUCKETS, len(home))
    who = np.repeat(np.arange(len(home)), length)
    seconds = begun[who] + random.uniform(0, 300, len(who))
    return binned(
        home[who],
        who,
        seconds,
        random.random(len(who)) < p[who],
        place[who],
        bucket[who],
        runs=runs,
        polls=polls,
        holds=holds,
    )


def bursts(random, *, runs, polls, per_minute, rho, mean, length=3, weight=0.1):
    """Bursts of `length` polls in which an arm's answers go badly together (beta-binomial, ICC `rho`)."""
    a, b = mean * (1 / rho - 1), (1 - mean) * (1 / rho - 1)
    blocks = -(-polls // length)
    p = np.repeat(random.beta(a, b, (runs, blocks, 2)), length, axis=1)[:, :polls]
    arms = np.stack([np.broadcast_to(1 - weight, polls), np.broadcast_to(weight, polls)], axis=-1)
    total = random.poisson(arms[None, :, :, None] * per_minute * POLL / 60 / BUCKETS, (runs, polls, 2, BUCKETS))
    bad = random.binomial(total, p[..., None])
    before = random.poisson(per_minute / 4, (runs, 240))
    wide = max(1, length // 3)
    past = np.repeat(random.beta(a, b, (runs, -(-240 // wide))), wide, axis=1)[:, :240]
    _, steps = weights((np.arange(polls) + 0.5) * POLL)
    return Traces(bad, total, np.stack([random.binomial(before, past), before], axis=-1), steps * 0)


def with_looping_client(random, traces, *, start, arm=1):
    """One client that asks on and on from some poll on, and always fails; five of its requests a minute count."""
    runs, polls = traces.bad.shape[:2]
    bucket = random.integers(0, BUCKETS, runs)
    for i in range(start, polls, 12):
        for k in range(5):
            if i + k < polls:
                traces.bad[np.arange(runs), i + k, arm, bucket] += 1
                traces.total[np.arange(runs), i + k, arm, bucket] += 1
    return traces
