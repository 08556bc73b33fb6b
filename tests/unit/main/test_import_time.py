"""The operator starts quickly, and without the libraries that only trainers and tools need."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
PROBE = """
import json, resource, sys
import retune.main.app
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({"cpu": used.ru_utime + used.ru_stime, "modules": sorted({m.split(".")[0] for m in sys.modules})}))
"""
LIMIT = 2.0  # s of CPU, interpreter start included, at the quietest of five moments: a busy machine only adds to it
# Not numpy: the evidence is counted with it.
HEAVY = {"torch", "transformers", "pyarrow", "pandas", "boto3", "botocore", "huggingface_hub", "hypothesis", "apprise"}


def test_the_operator_is_imported_within_two_seconds_and_without_heavy_libraries() -> None:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "operator")}
    probes = []
    for _ in range(5):
        done = subprocess.run(
            [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True
        )
        probes.append(json.loads(done.stdout))
    assert not HEAVY & set(probes[0]["modules"])
    assert min(p["cpu"] for p in probes) < LIMIT
