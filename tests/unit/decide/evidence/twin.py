"""The judge for many rollouts at once: one pod, one metric, plain arrays. test_twin shows that it is the judge.

Axes: runs, polls, buckets. Counts are what each poll finds new.
"""

from dataclasses import dataclass

import numpy as np

from retune.decide.evidence import dispersion, eprocess

POLL = 5.0


@dataclass
class Traces:
    """Rollouts side by side. `bad`, `total`: (runs, polls, 2 arms: stable, canary, buckets).

    `history`: windows of stable before the rollout, (runs, windows, 2: bad, total). `steps`: of each poll.
    """

    bad: np.ndarray
    total: np.ndarray
    history: np.ndarray
    steps: np.ndarray


def draw(random, runs, polls, *, per_minute, weight, stable, canary, buckets=32, history=240, poll=POLL):
    """Poisson traffic. `weight`, `stable`, `canary`: a number or one per poll (or per run and poll)."""
    weight, stable, canary = (np.broadcast_to(each, (runs, polls)) for each in (weight, stable, canary))
    rate = per_minute * poll / 60
    share = np.stack([1 - weight, weight], axis=-1)[..., None] * rate / buckets
    total = random.poisson(np.broadcast_to(share, (runs, polls, 2, buckets)))
    bad = random.binomial(total, np.stack([stable, canary], axis=-1)[..., None])
    before = random.poisson(per_minute / 4, (runs, history))
    past = np.stack([random.binomial(before, stable[:, :1]), before], axis=-1)
    return Traces(bad, total, past, np.zeros(polls, dtype=int))


class Phi:
    """dispersion, for many at once."""

    def __init__(self, runs, poll):
        self.per = max(1, round(15 / poll))
        self.open = {1: [None, np.zeros((runs, 2))], 4: [None, np.zeros((runs, 2))]}
        self.last = {1: None, 4: None}
        self.squares = {1: np.zeros(runs), 4: np.zeros(runs)}
        self.pairs = {1: np.zeros(runs), 4: np.zeros(runs)}

    def feed(self, index, window):
        for length in (1, 4):
            start, held = self.open[length]
            if start == index // length:
                held += window
                continue
            if start is not None:
                if self.last[length] is not None:
                    self.pair(length, self.last[length], held)
                self.last[length] = held
            self.open[length] = [index // length, window.astype(float).copy()]

    def pair(self, length, last, now):
        f, n = last[:, 0] + now[:, 0], last[:, 1] + now[:, 1]
        use = (f >= dispersion.FEWEST) & (last[:, 1] > 0) & (now[:, 1] > 0)
        share = np.where(use, now[:, 1] / np.maximum(n, 1), 0.5)
        z = np.minimum(dispersion.LARGEST, (now[:, 0] - f * share) ** 2 / np.maximum(f * share * (1 - share), 1e-9))
        self.squares[length] += np.where(use, z, 0)
        self.pairs[length] += use

    def value(self):
        prior, weight = dispersion.PRIOR, dispersion.WEIGHT
        return np.maximum(*((prior * weight + self.squares[k]) / (weight + self.pairs[k]) for k in (1, 4)))


def phi_user(bad, total):
    f, n = bad.sum(-1), total.sum(-1)
    expected = f[:, None] * total / np.maximum(n, 1)[:, None]
    used = total > 0
    x = np.where(used, (bad - expected) ** 2 / np.maximum(expected, 1e-300), 0).sum(-1)
    x = np.where(f > 0, x, 0) / np.maximum(used.sum(-1) - 1, 1)
    prior, weight = dispersion.PRIOR, dispersion.WEIGHT
    return np.where((f > 0) & (used.sum(-1) > 1), (prior * weight + f * x) / (weight + f), prior)


def e_values(traces, *, max_ratio=1.25, poll=POLL, one_out=False, eta=None):
    """E of the comparative test after each poll, (runs, polls); and the last phi."""
    runs, polls = traces.bad.shape[:2]
    rows = 1 + (traces.bad.shape[-1] if one_out else 0)
    test = eprocess.begin((runs, rows), max_ratio, 0.0)
    phi = Phi(runs, poll)
    closing = dispersion.WINDOW + dispersion.GRACE
    done = {index - traces.history.shape[1]: window for index, window in enumerate(np.moveaxis(traces.history, 1, 0))}
    fed = min(done, default=0)
    while fed * dispersion.WINDOW + closing <= 0:
        phi.feed(fed, done.pop(fed))
        fed += 1
    user = np.zeros((2, runs, traces.bad.shape[-1]))
    waiting = np.zeros((runs, 2, 2, traces.bad.shape[-1]))  # bad/total, arm
    out = np.zeros((runs, polls))
    current = -1
    windows = np.zeros((runs, 2))
    tempered = np.ones(runs)
    for i in range(polls):
        tempered = 1 / np.maximum(1, np.maximum(phi.value(), phi_user(*user))) if eta is None else np.full(runs, eta)
        if traces.steps[i] != current:
            current, waiting = traces.steps[i], np.zeros_like(waiting)
        waiting[:, 0] += traces.bad[:, i]
        waiting[:, 1] += traces.total[:, i]
        ready = (waiting[:, 1].sum(-1) > 0).all(-1)
        found = np.where(ready[:, None, None, None], waiting, 0)
        waiting = waiting - found
        whole = found.sum(-1, keepdims=True)
        counts = np.concatenate([whole, whole - found], axis=-1) if one_out else whole  # runs, 2, arms, rows
        evidence = eprocess.comparative(counts[:, 0, 1], counts[:, 1, 1], counts[:, 0, 0], counts[:, 1, 0], max_ratio)
        test = eprocess.update(test, evidence, (i + 1) * poll, tempered[:, None])
        out[:, i] = eprocess.e_value(test).min(-1)
        user += np.moveaxis(found[:, :, 0], 1, 0)
        windows += np.stack([traces.bad[:, i, 0].sum(-1), traces.total[:, i, 0].sum(-1)], axis=-1)
        if (i + 1) % phi.per == 0:
            done[(i + 1) // phi.per - 1] = windows
            windows = np.zeros((runs, 2))
        while fed in done and fed * dispersion.WINDOW + closing <= (i + 1) * poll:
            phi.feed(fed, done.pop(fed))
            fed += 1
    return out, 1 / tempered


def first(reached):
    """Index of the first poll at which it is so, by run; the number of polls if never."""
    return np.where(reached.any(-1), reached.argmax(-1), reached.shape[-1])
