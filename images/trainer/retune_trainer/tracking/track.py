"""After the report: has every place that `spec.tracking` names told of the run, each by a process of its own.

Nothing here fails a report. What could not be done within a minute is killed, and said in the pod's result.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from retune_stores import Store
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import PodError
from retune_trainer.config import RunConfig, Tracking
from retune_trainer.inputs import Sources
from retune_trainer.log import say
from retune_trainer.reporting.build import Report
from retune_trainer.reporting.write import HTML, JSON
from retune_trainer.tracking.content import Content, content

SECONDS = 60.0
ROLES = {"mlflow": Role.MLFLOW, "wandb": Role.WANDB}
# The libraries' own names of what a Secret holds.
_NAMES = {"API_KEY": "WANDB_API_KEY", "AWS_REGION": "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL": "MLFLOW_S3_ENDPOINT_URL"}
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "WANDB_ERROR_REPORTING": "false",
    "DO_NOT_TRACK": "true",
}
Told = dict[str, dict[str, str]]


def run(config: RunConfig, keys: dict[Role, Credentials], work: Path) -> dict[str, Told]:
    """Tell of the run whose report lies in the store: `{"tracking": {PLACE: {"url", "error"}}}`, or nothing."""
    wanted = _wanted(config.spec.tracking)
    if not wanted:
        return {}
    try:
        store = Sources(config, keys).artifacts()
        files = {name: store.read(name) for name in (JSON, HTML)}
        report = Report.model_validate_json(files[JSON])
        told = content(config, report, f"{store.uri}/{HTML}")
        work.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=work, ignore_cleanup_errors=True) as folder:
            found = _all(wanted, told, keys, Path(folder), files)
            _keep(found, told, store)
    except Exception as error:
        logging.getLogger("retune").exception("not tracked")
        return {"tracking": {place: {"error": f"spec.tracking.{place}: {error}"[:400]} for place in wanted}}
    say("tracked", **found)
    return {"tracking": found}


def _wanted(tracking: Tracking | None) -> dict[str, dict[str, Any]]:
    if tracking is None:
        return {}
    return {place: spec for place, spec in tracking.model_dump(by_alias=True, mode="json").items() if spec}


def _all(
    wanted: dict[str, dict[str, Any]],
    told: Content,
    keys: dict[Role, Credentials],
    folder: Path,
    files: dict[str, bytes],
) -> Told:
    """Tell all places at the same time, each in a folder of its own."""
    for name, raw in files.items():
        (folder / name).write_bytes(raw)
    running: dict[str, subprocess.Popen[bytes]] = {}
    seconds = float(os.environ.get("RETUNE_TRACKING_SECONDS", SECONDS))
    deadline = time.monotonic() + seconds
    try:
        for place, spec in wanted.items():
            home = folder / place
            home.mkdir()
            order = {"place": place, "spec": spec, "content": told.model_dump(), "files": []}
            if place == "mlflow":
                order["files"] = [str(folder / name) for name in files]
            (home / "order.json").write_text(json.dumps(order))
            running[place] = _start(home, keys.get(ROLES[place], Credentials()))
        return {place: _answer(place, process, folder / place, deadline) for place, process in running.items()}
    finally:
        for process in running.values():
            _kill(process)


def _start(home: Path, keys: Credentials) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RETUNE_")}
    secret = {_NAMES.get(name, name): value for name, value in keys.values.items() if value}
    own = {"HOME": str(home), "TMPDIR": str(home), "WANDB_DIR": str(home)}
    with (home / "log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "retune_trainer.tracking", str(home)],
            cwd=home,
            env={**kept, **_QUIET, **own, **secret},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _answer(place: str, process: subprocess.Popen[bytes], home: Path, deadline: float) -> dict[str, str]:
    field = f"spec.tracking.{place}"
    try:
        code = process.wait(max(deadline - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        return {"error": f"{field}: not told in time; it may be known there in part, and is not told again"}
    try:
        found: dict[str, str] = json.loads((home / "told.json").read_bytes())
    except (OSError, ValueError):
        lines = (home / "log").read_text(errors="replace").strip().splitlines()
        return {"error": f"{field}: the client ended with {code}: {lines[-1][:200] if lines else 'it said nothing'}"}
    return found


def _kill(process: subprocess.Popen[bytes]) -> None:
    """With everything that it started: wandb has a service of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _keep(found: Told, told: Content, store: Store) -> None:
    """Put the file that `wandb sync` is to send beside the report, under a name that `wandb sync` knows by its form."""
    file = found.get("wandb", {}).pop("file", None)
    if file is None:
        return
    at = datetime.fromtimestamp((told.ended or told.started or 0) / 1000, UTC)
    path = f"wandb/offline-run-{at:%Y%m%d_%H%M%S}-{told.uid}/run-{told.uid}.wandb"
    try:
        store.put(path, Path(file))
    except PodError as error:
        found["wandb"]["error"] = f"spec.tracking.wandb: the file could not be kept: {error}"
    else:
        found["wandb"]["url"] = f"{store.uri}/{path}"
