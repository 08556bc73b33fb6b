"""How often a candidate is accepted that should not be, and declined that should, by n and by rule.

    python benchmarks/evaluation [--trials 2000] [--only binary|graded|looks] [--out result.json]

Accepted falsely: the true uplift is exactly what was asked for, so a rule that promises 5 % may accept in 5 % of cases.
Declined falsely: the true uplift is larger. Rules: `retune`, whose lower bound must reach what was asked for; `plain`,
the point estimate must (what a threshold in a pipeline does); `z`, Tango's score against the normal distribution, and
`percentile`, the usual bootstrap. Needs numpy only; touches nothing but the result file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "images" / "trainer")]

from benchmarks.evaluation import populations

from retune_trainer.statistics import bootstrap, tango
from retune_trainer.statistics.bounds import bounds
from retune_trainer.statistics.paired import Paired

ALPHA = 0.05
SIZES = (100, 300, 1000)
Rules = dict[str, Callable[[int, int], bool]]


def _rules(n: int, asked: float, alpha: float = ALPHA) -> Rules:
    wanted = NormalDist().inv_cdf(1 - alpha)
    return {
        "retune": lambda gained, lost: tango.p_value(gained, lost, n, asked, alpha) <= alpha,
        "z": lambda gained, lost: bool(tango.score(gained, lost, n, asked) >= wanted),
        "plain": lambda gained, lost: gained - lost >= n * asked,
    }


def binary(trials: int) -> Iterator[dict[str, Any]]:
    """Right or wrong: asked for, the share of changed answers, and how much better than asked for the candidate is."""
    for n in SIZES:
        for asked, changed in ((-0.02, 0.04), (-0.02, 0.15), (0.02, 0.02), (0.02, 0.15), (0.05, 0.05), (0.05, 0.15)):
            for better in (0.0, 0.05, 0.1):
                uplift = asked + better
                share = max(changed, abs(uplift))
                chances = [(share + uplift) / 2, max(0.0, (share - uplift) / 2), 1 - share]
                drawn = np.random.default_rng(n).multinomial(n, chances, size=trials)
                found = Counter((int(gained), int(lost)) for gained, lost, _ in drawn)
                rules = _rules(n, asked)
                accepted = {
                    name: sum(count for pair, count in found.items() if rule(*pair)) / trials
                    for name, rule in rules.items()
                }
                yield _row(
                    "binary", n, accepted, declined=better > 0, asked=asked, changed=round(share, 3), better=better
                )


def _percentile(paired: Paired, random: np.random.Generator, resamples: int = 1000) -> float:
    n = len(paired)
    rows = random.integers(0, n, (resamples, n)) + np.arange(resamples)[:, None] * n
    counts = np.bincount(rows.ravel(), minlength=resamples * n).reshape(resamples, n)
    return float(np.quantile(paired.uplift_of(counts @ paired.columns), ALPHA))


def graded(trials: int) -> Iterator[dict[str, Any]]:
    """Other scores, each asked for its own true uplift, and for three of its standard errors less."""
    for population in populations.graded():
        for n in SIZES:
            random = np.random.default_rng(n)
            rounds = max(100, trials * 100 // n)
            error = np.std([population.draw(random, n).uplift for _ in range(200)])
            found = [population.draw(random, n) for _ in range(rounds)]
            lows = {
                "retune": [bounds(each, ALPHA).lower for each in found],
                "percentile": [_percentile(each, random) for each in found],
                "plain": [each.uplift for each in found],
            }
            for better in (0.0, 3 * error):
                asked = population.truth - better
                accepted = {
                    rule: sum(low is not None and low > asked for low in values) / rounds
                    for rule, values in lows.items()
                }
                yield _row(
                    population.name, n, accepted, declined=better > 0, trials=rounds, better=round(float(better), 4)
                )


def looks(trials: int) -> Iterator[dict[str, Any]]:
    """Fifty candidates as good as the base, one after the other, on the same 240 examples."""
    n = 240
    accepted = dict.fromkeys(("retune", "same level each time", "plain"), 0)
    for trial in range(trials // 4):
        random = np.random.default_rng(trial)
        base = random.random(n) < 0.7
        likely = np.where(random.random(n) < 0.75, base, random.random(n) < 0.7)
        pairs = []
        for _ in range(50):
            candidate = np.where(random.random(n) < 0.8, likely, random.random(n) < 0.7)
            pairs.append((int((candidate & ~base).sum()), int((base & ~candidate).sum())))
        levels = [ALPHA / (look * (look + 1)) for look in range(1, 51)]
        # A score a whole standard error short of its level is not looked at, to save time.
        scores = tango.score(*np.array(pairs, dtype=float).T, n, 0.0)
        accepted["retune"] += any(
            score > NormalDist().inv_cdf(1 - level) - 1 and tango.p_value(*pair, n, 0.0, level) <= level
            for pair, level, score in zip(pairs, levels, scores, strict=True)
        )
        accepted["same level each time"] += any(
            score > NormalDist().inv_cdf(1 - ALPHA) - 1 and tango.p_value(*pair, n, 0.0, ALPHA) <= ALPHA
            for pair, score in zip(pairs, scores, strict=True)
        )
        accepted["plain"] += any(gained > lost for gained, lost in pairs)
    rounds = trials // 4
    yield _row("50 looks", n, {rule: count / rounds for rule, count in accepted.items()}, trials=rounds)


def _row(kind: str, n: int, accepted: dict[str, float], *, declined: bool = False, **about: Any) -> dict[str, Any]:
    shares = accepted if not declined else {rule: 1 - share for rule, share in accepted.items()}
    row = {
        "kind": kind,
        "n": n,
        **about,
        "falsely": "declined" if declined else "accepted",
        **{rule: round(share, 4) for rule, share in shares.items()},
    }
    print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
    return row


def main() -> int:
    """Run all, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--only", choices=["binary", "graded", "looks"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    bootstrap.FEWEST = 2000
    kinds = {"binary": binary, "graded": graded, "looks": looks}
    chosen = [arguments.only] if arguments.only else list(kinds)
    rows = [row for kind in chosen for row in kinds[kind](arguments.trials)]
    if arguments.out:
        arguments.out.write_text(json.dumps({"alpha": ALPHA, "trials": arguments.trials, "rows": rows}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
