"""Past counters of a canary, made up with a fixed seed, and a job's file to replay them with."""

from pathlib import Path
from typing import Any

import numpy as np
import yaml


def counters(
    *,
    seed: int = 1,
    per_minute: float = 600.0,
    rate: float = 0.02,
    fault: float = 0.0,
    fault_from: float = 0.0,
    seconds: int = 3 * 3600,
    every: int = 5,
    share: float = 0.2,
    buckets: int = 0,
    canary: bool = True,
    reset_at: int | None = None,
) -> list[str]:
    """The lines of a CSV file. Both arms fail at `rate`, the canary at `fault` more from `fault_from` seconds on."""
    chance = np.random.default_rng(seed)
    width = buckets or 1
    lines = ["time,metric,arm,bad,total" + (",bucket" if buckets else "")]
    shares = {"stable": 1 - share, "canary": share} if canary else {"stable": 1.0}
    bad = {arm: np.zeros(width, dtype=int) for arm in shares}
    total = {arm: np.zeros(width, dtype=int) for arm in shares}
    for time in range(0, seconds + 1, every):
        for arm, part in shares.items():
            if reset_at == time:
                bad[arm][:], total[arm][:] = 0, 0
            asked = chance.multinomial(chance.poisson(per_minute / 60 * every * part), [1 / width] * width)
            wrong = rate + (fault if arm == "canary" and time > fault_from else 0.0)
            total[arm] += asked
            bad[arm] += chance.binomial(asked, wrong)
            for bucket in range(width):
                at = f",{bucket}" if buckets else ""
                lines.append(f"{time},errors,{arm},{bad[arm][bucket]},{total[arm][bucket]}{at}")
    return lines


def job(folder: Path, **rollout: Any) -> str:
    """A file with a FineTuneJob that has this rollout; with one stop-loss, errors, unless it says more."""
    asked = {"stopLoss": [{"name": "errors", "builtin": "Errors"}], **rollout}
    made = {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": "triage"},
        "spec": {"serving": {}, "rollout": {key: value for key, value in asked.items() if value is not None}},
    }
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump(made))
    return str(path)


def table(folder: Path, lines: list[str], name: str = "trace.csv") -> str:
    """A file with these lines."""
    path = folder / name
    path.write_text("\n".join(lines) + "\n")
    return str(path)
