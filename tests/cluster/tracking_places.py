"""Environments with the trackers' real clients and a real MLflow server, and a report pod that runs in them.

No cluster is needed. The tests' own environment has neither; they are made by uv in a temporary folder, the clients in
the versions of the trainer's lock. What uv has in its cache it does not load again.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.unit.trainer import report_samples as samples

CHECKOUT = Path(__file__).resolve().parents[2]
IMAGES = CHECKOUT / "images"
UV = CHECKOUT / "hack" / "uv"
# A pod's command, with the volumes where the test has put them.
COMMAND = """
import sys
from pathlib import Path
from retune_stores import pvc
from retune_trainer.__main__ import main
pvc.MOUNT = Path(sys.argv[1])
sys.exit(main(["report"]))
"""


def uv(*arguments: str) -> str:
    """Run uv; skip the test, and say why, if it cannot bring what is asked for."""
    done = subprocess.run([str(UV), *arguments], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"uv {arguments[0]} has failed (no network?): {done.stderr.strip()[-300:]}")
    return done.stdout


def environment(folder: Path, *packages: str) -> Path:
    """A virtual environment with `packages`; its Python."""
    uv("venv", "--quiet", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    uv("pip", "install", "--quiet", "--python", str(python), *packages)
    return python


def locked() -> list[str]:
    """What the trainer's image has beyond the unit tests' environment, as its lock says."""
    told = uv(
        "export", "--quiet", "--project", str(IMAGES / "trainer"), "--frozen",
        "--no-header", "--no-hashes", "--no-annotate", "--only-group", "tracking",
    )  # fmt: skip
    return [line for line in told.splitlines() if line.strip()]


def version_of(packages: list[str], name: str) -> str:
    return next(line.partition("==")[2].split()[0] for line in packages if line.startswith(f"{name}=="))


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def mlflow_server(python: Path, folder: Path, *options: str) -> Iterator[Mlflow]:
    """A real server with a database of its own, on loopback."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    environ = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [
        str(python.parent / "mlflow"), "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1",
        "--backend-store-uri", f"sqlite:///{folder}/mlflow.db", *options,
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=folder, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "Application startup complete" in line:
            break
    else:
        pytest.fail(f"the MLflow server has ended: {''.join(said)[-2000:]}")
    threading.Thread(target=deque, args=(process.stdout, 0), daemon=True).start()
    try:
        yield Mlflow(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait()


@dataclass(frozen=True)
class Mlflow:
    """A server, asked by its REST API: what the client did is not looked at through the client."""

    url: str

    def ask(self, path: str, **body: Any) -> dict[str, Any]:
        """POST where there is a body, else GET."""
        url = f"{self.url}/api/2.0/mlflow/{path}"
        answer = httpx.post(url, json=body, timeout=60) if body else httpx.get(url, timeout=60)
        answer.raise_for_status()
        found: dict[str, Any] = answer.json()
        return found

    def runs(self, experiment: str) -> list[dict[str, Any]]:
        known = self.ask(f"experiments/get-by-name?experiment_name={experiment}")["experiment"]["experiment_id"]
        return list(self.ask("runs/search", experiment_ids=[known], max_results=100).get("runs", []))

    def history(self, run: str, metric: str) -> list[tuple[int, float]]:
        found = self.ask(f"metrics/get-history?run_id={run}&metric_key={metric}").get("metrics", [])
        return [(one.get("step", 0), one["value"]) for one in found]

    def aliases(self, name: str) -> dict[str, str]:
        model = self.ask(f"registered-models/get?name={name}")["registered_model"]
        return {one["alias"]: one["version"] for one in model.get("aliases", [])}

    def versions(self, name: str) -> list[dict[str, Any]]:
        found = self.ask(f"model-versions/search?filter=name%3D%27{name}%27").get("model_versions", [])
        return sorted(found, key=lambda one: int(one["version"]))


def pairs(items: list[dict[str, Any]]) -> dict[str, Any]:
    """A list of key and value as the REST API gives it."""
    return {item["key"]: item["value"] for item in items}


@dataclass
class Place:
    """A volume and the report pods that write to it."""

    python: Path
    folder: Path
    said: list[str] = field(default_factory=list)

    def report(
        self, tracking: dict[str, Any], status: dict[str, Any], number: int = 1, seconds: float = 600, **environ: str
    ) -> dict[str, Any]:
        """Run one pod to its end; its result. `seconds`: a busy machine is not what these tests are about."""
        uid, name = f"{samples.UID[:-2]}{number:02}", f"job-{number}"
        content = samples.run_json(uid)
        content["run"] |= {"name": name, "number": number}
        content["spec"] |= {"tracking": tracking, "jobRef": {"name": "job", "uid": "job-uid"}}
        if "stable" in environ:
            content["spec"]["stable"] |= {"run": "job-0", "digest": environ.pop("stable")}
        out = self.folder / "pvc" / "store" / "out" / "ns" / "job" / name
        out.mkdir(parents=True, exist_ok=True)
        evaluation = {**samples.evaluation(), "run": {"uid": uid}}
        (out / "evaluation.json").write_text(json.dumps(evaluation))
        (self.folder / "run.json").write_text(json.dumps(content))
        inherited = {name: value for name, value in os.environ.items() if not re.match("RETUNE_|MLFLOW_|WANDB_", name)}
        done = subprocess.run(
            [str(self.python), "-c", COMMAND, str(self.folder / "pvc")],
            env={
                **inherited,
                "PYTHONPATH": os.pathsep.join((str(IMAGES / "trainer"), str(IMAGES / "stores"))),
                "PYTHONSAFEPATH": "1",
                "RETUNE_CONFIG": str(self.folder / "run.json"),
                "RETUNE_STATUS": json.dumps(status),
                "RETUNE_WORK": str(self.folder / "work"),
                "RETUNE_TERMINATION_LOG": str(self.folder / "termination"),
                "RETUNE_TRACKING_SECONDS": str(seconds),
                **environ,
            },
            capture_output=True,
            text=True,
            check=False,
        )
        self.said.append(done.stdout + done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        result: dict[str, Any] = json.loads((self.folder / "termination").read_text())
        assert result["outcome"] == "Succeeded"
        assert (out / "report.html").exists()
        shutil.rmtree(self.folder / "work", ignore_errors=True)
        return result
