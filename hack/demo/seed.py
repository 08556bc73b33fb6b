"""The base model and the examples: put into S3 by a Job in the cluster, unless they are there already."""

import time
from typing import Any

import yaml
from hack.cluster import images
from hack.cluster.process import ClusterError
from hack.demo import store
from hack.demo.kubectl import Kubectl, conditions
from hack.demo.settings import POLL, SEED, SEED_PATIENCE, SEEDED
from rich.console import Console
from rich.text import Text

LABEL = "retune.dev/demo=seed"
POD_STATES = {"Pending": "waits for its pod", "Running": "runs"}


def ensure(kubectl: Kubectl, console: Console) -> None:
    """Have the store filled, showing what the Job says.

    The Job bears its image's tag, which is a hash of all that goes into it: an old one's work is not taken for new.

    Raises:
        ClusterError: the Job failed, or did not end in time; the message has its last words.
    """
    job = _job(images.noted()["seed"])
    name = job["metadata"]["name"]
    found = kubectl.find("job", name)
    if found is not None and _ended(found) is not None:
        if _ended(found) == "Complete" and _filled():
            console.print("  [green]✓[/] model and data are in the store")
            return
        kubectl("delete", "job", name, "--cascade=foreground")
        found = None
    if found is None:
        kubectl("delete", "job", "--selector", LABEL)
        kubectl.apply(job)
    _follow(kubectl, name, console)


def _job(image: str) -> dict[str, Any]:
    job = dict(yaml.safe_load(SEED.read_text()))
    job["metadata"]["name"] = f"seed-{image.rpartition(':')[2][:12]}"
    job["spec"]["template"]["spec"]["containers"][0]["image"] = image
    return job


def _filled() -> bool:
    client = store.connect()
    return all(store.holds(client, bucket, key) for bucket, key in SEEDED)


def _ended(job: dict[str, Any]) -> str | None:
    """Complete or Failed; None while it is neither."""
    ends = [c["type"] for c in conditions(job) if c["status"] == "True" and c["type"] in {"Complete", "Failed"}]
    return ends[0] if ends else None


def _follow(kubectl: Kubectl, name: str, console: Console) -> None:
    began = time.monotonic()
    said = 0
    with console.status("  putting the base model and the examples into the store") as status:
        while time.monotonic() - began < SEED_PATIENCE:
            job = kubectl.find("job", name)
            end = _ended(job) if job else "Failed"
            lines = _log(kubectl, name)
            for line in lines[said:]:
                console.print(Text(f"    {line}", "dim"), soft_wrap=True)
            said = max(said, len(lines))
            if end == "Complete":
                console.print(
                    f"  [green]✓[/] model and data are in the store [dim]({time.monotonic() - began:.0f} s)[/]"
                )
                return
            if end == "Failed":
                raise ClusterError(f"the Job {name}, which fills the store, failed:\n{_why(kubectl, name, lines)}")
            waits = _why(kubectl, name, []) if not lines else ""
            seconds = f"{time.monotonic() - began:.0f} s"
            status.update(
                Text(f"  putting the base model and the examples into the store: {seconds} of about 60 {waits}")
            )
            time.sleep(POLL)
    raise ClusterError(f"the Job {name} did not end within {SEED_PATIENCE:.0f} s: {_why(kubectl, name, [])}")


def _log(kubectl: Kubectl, name: str) -> list[str]:
    """What it has said; nothing while its pod has not started."""
    try:
        return [line for line in kubectl("logs", f"job/{name}", "--tail=-1").splitlines() if line.startswith("seed:")]
    except ClusterError:
        return []


def _why(kubectl: Kubectl, name: str, lines: list[str]) -> str:
    """The Job's last words, or why its pod does not run."""
    if lines:
        return "\n".join(lines[-10:])
    for pod in kubectl.select("pods", f"job-name={name}"):
        status = pod.get("status") or {}
        for container in status.get("containerStatuses") or []:
            state = container.get("state") or {}
            if waiting := state.get("waiting"):
                return f"({waiting.get('reason')}: {waiting.get('message', '')})".replace(": )", ")")
            if ended := state.get("terminated"):
                return f"exit code {ended.get('exitCode')} ({ended.get('reason')})"
        for condition in status.get("conditions") or []:
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return f"({condition.get('reason')}: {condition.get('message')})"
    return ""
