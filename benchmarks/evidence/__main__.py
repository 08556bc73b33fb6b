"""From a fault to the rollback, and rollbacks without one: Retune beside the documented rules of its peers.

    python benchmarks/evidence [--trials 100] [--out result.json]

The same traces for all: Poisson traffic split 10:90, 0.5 % bad answers in both arms, an hour of stable before. With a
fault, the candidate's rate rises by 5 or 50 points from the tenth minute on; without one, 60 minutes pass. Rules:
`retune`, the operator's own judge (confidence 0.99, maxRatio 1.25, one stop-loss), looking at the counters every 5 s;
`maxRate`, the same with maxRate 0.01;
`flagger`, success rate of at least 99 % over each minute, interval 1m, threshold 5; `argo`, at least 95 % over each
minute, interval 1m, failureLimit 0. Their set-up, scrape intervals and retries are not modelled, which favours them.
Needs numpy and the operator; touches nothing but the result file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path[:0] = [str(Path(__file__).parents[2] / "operator")]

from retune.decide.evidence.judge import Plan, Watched, begin, judge
from retune.decide.readings import BUCKETS, Series, TapReading

Counts = npt.NDArray[np.int64]

BASE = 0.005
WEIGHT = 0.1
POLL = 5
FAULT_AT = 600  # seconds
LIMIT = 1800  # seconds after which a fault counts as not found
START = 1_790_000_040.0
PLAN = Plan(1, (Watched("errors", "Errors", 1.25, None, None),), 0.99, 0.95)
CAPPED = Plan(1, (Watched("errors", "Errors", 1.25, 0.01, None),), 0.99, 0.95)  # the same edge as Flagger's 99 %


def trace(random: np.random.Generator, per_minute: float, fault: float, seconds: int) -> tuple[Counts, Counts, Counts]:
    """(bad, total), each polls x arms x buckets, and windows of the hour before: (bad, total)."""
    polls = seconds // POLL
    share = np.array([1 - WEIGHT, WEIGHT])[None, :, None] * per_minute * POLL / 60 / BUCKETS
    total = random.poisson(np.broadcast_to(share, (polls, 2, BUCKETS)))
    late = np.arange(polls) * POLL >= FAULT_AT
    rate = np.stack([np.full(polls, BASE), BASE + fault * late], axis=-1)[..., None]
    before = random.poisson(per_minute / 4, 240)
    return random.binomial(total, rate), total, np.stack([random.binomial(before, BASE), before], axis=-1)


def retune(plan: Plan, bad: Counts, total: Counts, before: Counts) -> int | None:
    """Second at which Retune's judge says so."""
    memory = begin(plan, START)
    windows = [(START - 15.0 * (240 - index), int(b), int(n)) for index, (b, n) in enumerate(before)]
    bads, totals = np.cumsum(bad, axis=0), np.cumsum(total, axis=0)
    for index in range(-1, len(bad)):
        at = START + POLL * (index + 1)
        if index >= 0 and (index + 1) % 3 == 0:
            last = slice(index - 2, index + 1)
            windows.append((at - 15, int(bad[last, 0].sum()), int(total[last, 0].sum())))
        series = tuple(
            Series("errors", arm, "1:0", tuple(bads[index, place].tolist()), tuple(totals[index, place].tolist()))
            for place, arm in enumerate(("stable", "canary"))
            if index >= 0
        )
        newest = tuple(windows if index < 0 else windows[-8:])
        reading = TapReading("pod", "uid", START - 9999, at, 1, series=series, windows={"errors": newest})
        memory, said = judge(memory, plan, [reading], [], stratum="1:0", baking=False, w_next=1.0, at=at)
        if said.breached:
            return POLL * (index + 1)
    return None


def flagger(bad: Counts, total: Counts) -> int | None:
    """Second at which Flagger's rule says so: five checks have failed. A minute without a request is a failed check."""
    failed = 0
    for minute, (bads, n) in enumerate(_minutes(bad, total)):
        failed += n == 0 or 1 - bads / n < 0.99
        if failed >= 5:
            return 60 * (minute + 1)
    return None


def argo(bad: Counts, total: Counts) -> int | None:
    """Second at which Argo Rollouts' rule says so: one measurement has failed. No request, no measurement."""
    for minute, (bads, n) in enumerate(_minutes(bad, total)):
        if n and 1 - bads / n < 0.95:
            return 60 * (minute + 1)
    return None


def _minutes(bad: Counts, total: Counts) -> Iterator[tuple[int, int]]:
    """(bad, total) of the candidate, by minute."""
    per = 60 // POLL
    for first in range(0, len(bad), per):
        yield int(bad[first : first + per, 1].sum()), int(total[first : first + per, 1].sum())


def found(per_minute: float, fault: float, trials: int) -> dict[str, list[int | None]]:
    """When each rule says so, in seconds from the fault (or from the start if there is none), by trace."""
    seconds = FAULT_AT + LIMIT if fault else 3600
    said: dict[str, list[int | None]] = {"retune": [], "maxRate": [], "flagger": [], "argo": []}
    for seed in range(trials):
        bad, total, before = trace(np.random.default_rng(seed), per_minute, fault, seconds)
        said["retune"].append(retune(PLAN, bad, total, before))
        said["maxRate"].append(retune(CAPPED, bad, total, before))
        said["flagger"].append(flagger(bad, total))
        said["argo"].append(argo(bad, total))
    return said


def rows(trials: int) -> Iterator[dict[str, Any]]:
    """One row for each kind of trace and rule."""
    for per_minute in (60, 600):
        for fault in (0.05, 0.5, 0.0):
            for rule, times in found(per_minute, fault, trials).items():
                early = [time for time in times if time is not None and (not fault or time <= FAULT_AT)]
                late = sorted(
                    LIMIT if time is None else time - FAULT_AT for time in times if time is None or time > FAULT_AT
                )
                row: dict[str, Any] = {"requestsPerMinute": per_minute, "fault": fault, "rule": rule}
                row["falseRollbacks"] = round(len(early) / trials, 3)
                if fault:
                    row["medianSeconds"] = float(np.median(late)) if late else None
                    row["p90Seconds"] = float(np.quantile(late, 0.9)) if late else None
                    row["missed"] = sum(time is None for time in times)
                yield row


def main() -> int:
    """Run all, print a table, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    print(f"{'req/min':>8} {'fault':>6} {'rule':>8} {'false':>7} {'median s':>9} {'p90 s':>7} {'missed':>7}")
    done = []
    for row in rows(arguments.trials):
        done.append(row)
        times = [row.get(key) for key in ("medianSeconds", "p90Seconds", "missed")]
        shown = ["" if value is None else f"{value:.0f}" for value in times]
        print(
            f"{row['requestsPerMinute']:>8} {row['fault']:>6.0%} {row['rule']:>8} {row['falseRollbacks']:>7.1%} "
            f"{shown[0]:>9} {shown[1]:>7} {shown[2]:>7}",
            flush=True,
        )
    if arguments.out:
        arguments.out.write_text(json.dumps({"trials": arguments.trials, "rows": done}, indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
