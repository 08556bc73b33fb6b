"""Preflight's measuring of a large training set, against a plain pass over the same file.

    python benchmarks/preflight [--rows 1000000] [--gold 5000] [--redact] [--out result.json]

Runs wherever the trainer's light libraries are. Makes a file of short questions with labels, some of them copies, near
copies, contradictions, gold examples and personal data, each a known share; then takes turns in processes of their own:
`plain` reads every line as JSON, `measure` does all that the gates data, leakage and privacy ask for, with a hold-out.
Printed are seconds, processor time and the peak of resident memory, and what was measured beside what was put in, so
that a fast wrong answer shows. Touches a temporary folder and the result file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SHARES = {"exactDuplicates": 0.02, "nearDuplicates": 0.02, "conflicts": 0.005, "personal": 0.05}
START = 1_700_000_000


def question(rng: random.Random, words: list[str]) -> str:
    """Some 60 characters."""
    return " ".join(rng.choice(words) for _ in range(rng.randint(8, 12))).capitalize() + "?"


def make(folder: Path, rows: int, gold: int) -> dict[str, int]:
    """Write train.jsonl and gold.jsonl and return how many rows of each kind were put in."""
    rng = random.Random(1)  # noqa: S311
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choice(letters) for _ in range(rng.randint(3, 8))) for _ in range(5000)]
    put = dict.fromkeys([*SHARES, "leaked"], 0)
    kept: list[tuple[str, str]] = []
    with (folder / "train.jsonl").open("w") as file:
        for number in range(rows):
            text, label = question(rng, words), f"class_{rng.randrange(77)}"
            draw = rng.random()
            if kept and draw < SHARES["exactDuplicates"]:
                (text, label), kind = kept.pop(rng.randrange(len(kept))), "exactDuplicates"
            elif kept and draw < 0.04:
                (text, label), kind = kept.pop(rng.randrange(len(kept))), "nearDuplicates"
                text = f"{text[:-1]}s?"
            elif kept and draw < 0.0425:
                (text, label), kind = kept.pop(rng.randrange(len(kept))), "conflicts"
                label = f"other_{label}"
                put["conflicts"] += 1
            elif draw < 0.0925:
                kind = "personal"
                text += rng.choice(
                    [
                        f" Call 212-555-{rng.randrange(10000):04d}.",
                        f" Write to {rng.choice(words)}@example.com.",
                        " My name is Anna Schmidt.",
                        " Card 4111 1111 1111 1111.",
                    ]
                )
            else:
                kind = ""
                if len(kept) < 10_000:
                    kept.append((text, label))
            if kind:
                put[kind] += 1
            file.write(json.dumps({"text": text, "label": label, "at": START + number}) + "\n")
    with (folder / "gold.jsonl").open("w") as file:
        for number in range(gold):
            text = question(rng, words)
            if number % 50 == 0 and kept:
                text, _ = kept.pop()
                put["leaked"] += 1
            file.write(json.dumps({"text": text, "label": "class_1"}) + "\n")
    return put


def plain(folder: Path) -> dict[str, Any]:
    """Every line, as JSON, and nothing else."""
    count = 0
    with (folder / "train.jsonl").open("rb") as file:
        for line in file:
            count += bool(json.loads(line))
    return {"rows": count}


def measure(folder: Path, *, redact: bool) -> dict[str, Any]:
    """What the preflight pod does between reading its inputs and writing its result."""
    sys.path.insert(0, str(ROOT / "images" / "trainer"))
    from retune_stores.base import sha256_file
    from retune_trainer import measuring
    from retune_trainer.config import RunConfig
    from retune_trainer.data import Origin
    from retune_trainer.inputs import DataFile

    here = {"uri": "pvc://local/data.jsonl"}
    dataset = {"train": here, "gold": here, "timeField": "at", "holdOut": {"fraction": 0.1, "newest": "1d"}}
    spec = {"baseModel": here, "dataset": dataset, "artifacts": here, "gates": {"privacy": {"redact": redact}}}
    run = {"namespace": "n", "job": "j", "name": "r", "uid": "u", "number": 1}
    config = RunConfig.model_validate({"run": run, "spec": spec})

    def found(name: str) -> DataFile:
        return DataFile(folder / name, Origin(name, name), f"sha256:{sha256_file(folder / name)}")

    result = measuring.measure(config, found("train.jsonl"), found("gold.jsonl"), None, folder / "work")
    return {"measured": result.measured}


def alone(arguments: argparse.Namespace, what: str, folder: Path) -> dict[str, Any]:
    """One of the two in a process of its own."""
    command = [sys.executable, __file__, "--only", what, "--folder", str(folder), *(["--redact"] * arguments.redact)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {"seconds": round(time.monotonic() - began, 1), **json.loads(done.stdout.splitlines()[-1])}


def main() -> None:
    """Make, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--gold", type=int, default=5_000)
    parser.add_argument("--redact", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", choices=["plain", "measure"], help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        told = (
            plain(arguments.folder) if arguments.only == "plain" else measure(arguments.folder, redact=arguments.redact)
        )
        used = resource.getrusage(resource.RUSAGE_SELF)
        # ru_maxrss is in kibibytes on Linux. Processor time tells more than the clock where there are neighbours.
        seconds = round(used.ru_utime + used.ru_stime, 1)
        print(json.dumps({"cpuSeconds": seconds, "peakMiB": used.ru_maxrss // 1024, **told}))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        put = make(folder, arguments.rows, arguments.gold)
        result = {
            "rows": arguments.rows,
            "bytes": (folder / "train.jsonl").stat().st_size,
            "redact": arguments.redact,
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            "python": platform.python_version(),
            "plain": alone(arguments, "plain", folder),
            "measure": alone(arguments, "measure", folder),
            "put": put,
        }
    print(json.dumps(result, indent=2))
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
