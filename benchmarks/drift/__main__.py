"""How often drift is found where there is none, how soon where there is some, what a look costs.

    python benchmarks/drift null   [--trials 12] [--days 14]
    python benchmarks/drift power  [--trials 40]
    python benchmarks/drift text   --texts FOLDER [--trials 20]
    python benchmarks/drift rates  [--years 0.05]
    python benchmarks/drift cost   [--jobs 100]

`null`: worlds whose prompts follow the time of day and the weekend, each with its own reference of seven days.
`power`: a shift of 8 of 64 features by 0.2 standard deviations, at once, 0 or 600 prompts after the reference is
there. `text`: the tap's features of banking77 (FOLDER has its train.csv): a reference of texts of 69 intents, the
same as traffic, and then 8 intents among them that the reference has never seen; intents and texts are drawn
uniformly. `rates`: OverrideRate and QualityDrop at their thresholds, looked at all the time. `cost`: CPU of a look,
and the memory's size. Needs numpy, the operator, the tap and the simulated worlds of the unit tests; touches no
file.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "operator"), str(ROOT / "images" / "tap"), str(ROOT)]

from tests.unit.decide.drift.worlds import KINDS, START, World, ranks, stream, through

from retune.api.job import StableModel
from retune.api.triggers import DriftReference, DriftTrigger
from retune.decide.drift import quality, rates
from retune.decide.drift.evidence import Counted, DriftEvidence, ProbeResult, Row
from retune.decide.drift.pool import WEEK, Cut, collect
from retune.decide.drift.reference import prepare
from retune.decide.drift.watch import dump, load, watch

HELD_OUT = 8


def spread(found: list[int | None]) -> dict[str, Any]:
    """Median and 90 % of what was found."""
    there = [each for each in found if each is not None]
    if not there:
        return {"runs": len(found), "found": 0}
    low, high = np.quantile([np.inf if each is None else each for each in found], [0.5, 0.9], method="higher")
    return {"runs": len(found), "found": len(there), "median": float(low), "90 %": float(high)}


def null(options: argparse.Namespace) -> None:
    """By world, wealth per day watched (1 is allowed), the most there was (365 alarms), and PSI beyond 0.1."""
    for kind in KINDS:
        seen = [
            stream(World(kind, s), s, 10, 14_400 * options.days, look=300, after=s % 7) for s in range(options.trials)
        ]
        said = {
            "world": kind,
            "days": options.days * options.trials,
            "wealth per day": round(float(np.mean([each.e_value for each in seen])) / options.days, 5),
            "most": round(max(each.most for each in seen), 3),
            "alarms": sum(each.alarm is not None for each in seen),
            "largest PSI excess": round(max(each.psi for each in seen), 3),
        }
        print(json.dumps(said), flush=True)
    for prompts, trials in ((100, 50), (500, 50), (6000, 20)):
        seen = [stream(World("smooth", s), s, 60, prompts, reference_per_minute=10) for s in range(trials * 4)]
        over = sum(each.psi > 0 for each in seen)
        beyond = sum(each.beyond is not None for each in seen)
        alarms = sum(each.alarm is not None for each in seen)
        said = {"prompts": prompts, "runs": len(seen), "alarms": alarms, "PSI beyond 0.1": beyond, "beyond 0": over}
        print(json.dumps(said), flush=True)


def power(options: argparse.Namespace) -> None:
    """Prompts from the shift to the alarm."""
    for kind in ("iid", "smooth"):
        for before in (0, 600):
            found = []
            for s in range(options.trials):
                how = {"shift": 0.2, "before": before, "reference_per_minute": 10.0, "stop": True}
                alarm = stream(World(kind, s), s, 60, 6000, **how).alarm
                found.append(None if alarm is None else alarm - before)
            print(json.dumps({"world": kind, "before": before, **spread(found)}), flush=True)


def by_intent(file: Path) -> dict[str, Any]:
    """The tap's features of banking77, by intent."""
    from retune_tap.features import features

    found: dict[str, list[bytes]] = {}
    with file.open(newline="") as lines:
        for line in csv.DictReader(lines):
            body = {"messages": [{"role": "user", "content": line["text"]}]}
            found.setdefault(line["category"], []).append(features("/v1/chat/completions", body))
    return {intent: np.frombuffer(b"".join(rows), dtype=np.int8).reshape(-1, 64) for intent, rows in found.items()}


def drawn(texts: dict[str, Any], intents: list[str], n: int, random: np.random.Generator) -> Any:
    """Rows of so many texts, every intent as often as any other."""
    of = random.integers(len(intents), size=n)
    return np.array([texts[intents[i]][random.integers(len(texts[intents[i]]))] for i in of]).reshape(-1, 64)


def text(options: argparse.Namespace) -> None:
    """Prompts from the first new intent to the alarm; minutes at 60 requests/min are the same number / 60."""
    train = by_intent(Path(options.texts) / "train.csv")
    cut, week, before = Cut(WEEK), options.week, 600
    for share in options.shares:
        alarms, beyond, most = [], [], 0.0
        for s in range(options.trials):
            random = np.random.default_rng([s, 77])
            intents = [str(each) for each in random.permutation(sorted(train))]
            new, old = intents[:HELD_OUT], intents[HELD_OUT:]
            at = START - WEEK + np.arange(week) * WEEK / week
            keys = np.floor(at / cut.piece).astype(np.int64)
            known = prepare(collect({}, cut, drawn(train, old, week, random), ranks(random, week), keys), cut)
            rows = drawn(train, old, options.prompts, random)
            late = (np.arange(options.prompts) >= before) & (random.random(options.prompts) < share)
            rows[late] = drawn(train, new, int(late.sum()), random)
            seen = through(known, START + np.arange(options.prompts), rows, stop=share > 0)
            alarms.append(None if seen.alarm is None else seen.alarm - before)
            beyond.append(None if seen.beyond is None else seen.beyond - before)
            most = max(most, seen.most)
        said = {"share": share, "betting": spread(alarms), "PSI": spread(beyond), "most": round(most, 3)}
        print(json.dumps(said), flush=True)


def overrides(rate: float, per_minute: float, hours: int, icc: float, seed: int) -> tuple[int, int]:
    """Looks beyond the threshold 0.05, each minute, and times that it began; overrides come in bursts of 5 minutes."""
    random = np.random.default_rng(seed)
    total = random.poisson(per_minute, hours * 60)
    rates_ = np.full(hours * 60, rate)
    if icc:
        a = rate * (1 - icc) / icc
        rates_ = np.repeat(random.beta(a, a * (1 - rate) / rate, hours * 12), 5)
    bad = random.binomial(total, rates_)
    known, beyond, began = quality.Quality(), 0, 0
    for minute in range(hours * 60):
        at = START + 60.0 * minute
        windows = (Counted("pod", at - 15.0, int(bad[minute]), int(total[minute])),)
        known = quality.learn(known, None, None, windows, since=0.0, base=0, now=at)
        said = quality.overridden(known, 0.05, None, at).beyond is True
        began += said and not beyond
        beyond = said
    return int(beyond), began


def independent(per_minute: int, years: int) -> int:
    """Breaches that began in so many years of independent answers at the threshold, every hour having as many."""
    random, total, began = np.random.default_rng(11), 60 * per_minute, 0
    least = next(bad for bad in range(total) if rates.lower(bad, total, rates.ALPHA) > 0.05)
    for _ in range(years):
        bad = np.cumsum(random.binomial(per_minute, 0.05, 525_600))
        beyond = bad[60:] - bad[:-60] >= least
        began += int((beyond[1:] & ~beyond[:-1]).sum() + beyond[0])
    return began


def probes(now_right: float, looks: int, seed: int) -> list[bool]:
    """Hourly probes of 50, accepted at 0.9 with threshold 0.05: whether each is beyond."""
    random = np.random.default_rng(seed)
    known, said = quality.Quality(), []
    for hour in range(looks):
        at = START + 3600.0 * hour
        probe = ProbeResult(str(hour), at, 50, 50, float(random.binomial(50, now_right)))
        known = quality.learn(known, probe, None, None, since=0.0, base=0, now=at)
        said.append(quality.drop(known, 0.05, None, 0.9, base=0, every=3600.0, now=at).beyond is True)
    return said


def rated(options: argparse.Namespace) -> None:
    """False breaches a year at the threshold itself, and how soon a real one is found."""
    for per_minute in (6, 60, 600):
        said = {"overrides": "at its threshold, independent", "per minute": per_minute, "years": 100}
        print(json.dumps(said | {"breaches": independent(per_minute, 100)}), flush=True)
    hours = int(8760 * options.years)
    for per_minute, icc in ((6, 0.0), (60, 0.0), (60, 0.01), (60, 0.03)):
        began = overrides(0.05, per_minute, hours, icc, 1)[1]
        said = {"overrides": "at its threshold", "per minute": per_minute, "icc": icc, "breaches": began}
        print(json.dumps(said | {"years": options.years}), flush=True)
    said_ = probes(0.85, hours * 10, 3)
    began = sum(b and not a for a, b in zip([False, *said_], said_, strict=False))
    print(json.dumps({"probes": "at their threshold", "breaches": began, "years": 10 * options.years}), flush=True)
    for right in (0.7, 0.8):
        found = [next((i + 1 for i, b in enumerate(probes(right, 200, s)) if b), None) for s in range(100)]
        print(json.dumps({"accuracy 0.9, now": right, "probes until found": spread(found)}), flush=True)


def cost(options: argparse.Namespace) -> None:
    """Milliseconds of CPU of a look with a full reference of a week, and the size of the memory."""
    random = np.random.default_rng(5)
    trigger = DriftTrigger.model_validate({"name": "prompts", "builtin": "PromptDrift", "threshold": 0.1})
    served = StableModel(run="j-1", digest="sha256:" + "0" * 64)
    began = datetime.fromtimestamp(START, UTC)
    known, seq = None, 0

    def rows(n: int, first: datetime, seconds: float) -> tuple[Row, ...]:
        nonlocal seq
        seq += n
        vectors = np.clip(np.rint(random.normal(size=(n, 64)) * 16), -127, 127).astype(np.int8)
        begin = first.timestamp() - seconds
        return tuple(Row("pod", seq - n + i, begin + i * seconds / n, vectors[i].tobytes()) for i in range(n))

    for hour in range(8 * 24):
        now = began + timedelta(hours=hour)
        evidence = DriftEvidence(rows=rows(300, now, 3600.0), version=1, served=served)
        known = watch([trigger], DriftReference(), evidence, known, now).memory
    size, begin = len(dump(known)), time.process_time()
    for _ in range(10):
        load(dump(known))
    kept = (time.process_time() - begin) / 10
    for per_look in (3, 30, 300):
        jobs, spent = [known] * options.jobs, 0.0
        for look in range(1, 21):
            at = now + timedelta(seconds=30 * look)
            evidence = DriftEvidence(rows=rows(per_look, at, 30.0), version=1, served=served)
            begin = time.process_time()
            jobs = [watch([trigger], DriftReference(), evidence, each, at).memory for each in jobs]
            spent += time.process_time() - begin
        said = {"prompts a look": per_look, "ms a look": round(1000 * spent / 20 / options.jobs, 3)}
        print(json.dumps(said | {"CPU of 100 jobs, cores": round(spent / 20 / options.jobs * 100 / 30, 4)}), flush=True)
    print(json.dumps({"memory, bytes": size, "written and read, ms": round(1000 * kept, 1)}), flush=True)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Drift: false alarms, power, cost.")
    parser.add_argument("what", choices=("null", "power", "text", "rates", "cost"))
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--prompts", type=int, default=6000)
    parser.add_argument("--week", type=int, default=60_480, help="prompts of the reference, for text")
    parser.add_argument("--years", type=float, default=0.05)
    parser.add_argument("--jobs", type=int, default=100)
    parser.add_argument("--shares", type=float, nargs="*", default=[0.0, 0.05, 0.1, 0.2, 0.4], help="for text")
    parser.add_argument("--texts", default="")
    options = parser.parse_args()
    {"null": null, "power": power, "text": text, "rates": rated, "cost": cost}[options.what](options)


if __name__ == "__main__":
    main()
