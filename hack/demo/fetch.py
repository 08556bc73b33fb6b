"""Brings what a run made to this machine, and checks it against the manifest."""

import hashlib
import json
from pathlib import Path
from typing import Any

from hack.cluster.process import ClusterError
from hack.demo import store
from hack.demo.kubectl import Kubectl
from hack.demo.run import read
from hack.demo.settings import JOB, NAMESPACE
from rich.console import Console


def fetch(kubectl: Kubectl, name: str, folder: Path | None, console: Console) -> None:
    """Download a run's manifest, evaluation, reports and adapter; without a name, those of the job's stable model.

    Raises:
        ClusterError: there is no such run, it made no model, or a file is not the one that the manifest names.
    """
    name = name or _stable(kubectl)
    found = kubectl.find("finetunerun", name)
    if found is None:
        raise ClusterError(f"there is no FineTuneRun {name} in {NAMESPACE}")
    status = read(found).status
    artifact = status.artifact
    if artifact is None:
        raise ClusterError(f"FineTuneRun {name} has made no model")
    bucket, key = store.parts(artifact.uri)
    root = key.rpartition("/adapter/")[0]
    client = store.connect()

    def get(path: str) -> bytes:
        return client.get_object(Bucket=bucket, Key=f"{root}/{path}")["Body"].read()

    target = folder or Path(name)
    manifest: dict[str, Any] = json.loads(get("manifest.json"))
    adapter = manifest["adapter"]
    _write(target / "manifest.json", get("manifest.json"), console)
    _write(target / "evaluation.json", get("evaluation.json"), console)
    if status.report_uri is not None:
        for report in ("report.json", "report.html"):
            _write(target / report, get(report), console)
    for file, described in adapter["files"].items():
        content = get(f"{adapter['path']}{file}")
        if hashlib.sha256(content).hexdigest() != described["sha256"]:
            raise ClusterError(f"{file} in {artifact.uri} is not the file that the manifest names")
        _write(target / "adapter" / file, content, console)


def _stable(kubectl: Kubectl) -> str:
    job = kubectl.find("finetunejob", JOB) or {}
    stable = (job.get("status") or {}).get("stable")
    if not stable:
        raise ClusterError(f"FineTuneJob {JOB} in {NAMESPACE} has no model yet: `make demo` makes one")
    return str(stable["run"])


def _write(path: Path, content: bytes, console: Console) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    console.print(f"{len(content):>10,} bytes  {path}", highlight=False, soft_wrap=True)
