"""The operator starts quickly, and without the libraries that only trainers and tools need."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
PROBE = """
import json, resource, sys
import {what}
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({{"cpu": used.ru_utime + used.ru_stime, "modules": sorted({{m.split(".")[0] for m in sys.modules}})}}))
"""
LIMIT = 2.0  # s of CPU, interpreter start included, at the quietest of five moments: a busy machine only adds to it
LIBRARIES = "kopf, kubernetes.aio, numpy, pydantic, cryptography.fernet, prometheus_client, click"
OVER = 1.4  # times what its libraries alone need, on a machine where these two seconds are short
# Not numpy: the evidence is counted with it.
HEAVY = {
    *("torch", "transformers", "pyarrow", "pandas", "boto3", "botocore", "huggingface_hub"),
    *("hypothesis", "apprise", "scipy"),
}


def _probed(what: str) -> dict[str, Any]:
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT / "operator")}
    command = [sys.executable, "-c", PROBE.format(what=what)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_operator_is_imported_within_two_seconds_and_without_heavy_libraries() -> None:
    ours, libraries = zip(*((_probed("retune.main.app"), _probed(LIBRARIES)) for _ in range(5)), strict=True)
    assert not HEAVY & set(ours[0]["modules"])
    floor = min(probe["cpu"] for probe in libraries)
    assert min(probe["cpu"] for probe in ours) < max(LIMIT, OVER * floor), f"its libraries alone need {floor:.2f} s"
