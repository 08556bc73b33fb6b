"""The demo's FineTuneJob: applied, asked for a good run and then for a bad one, and the runs that come of it."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml
from hack.cluster.process import ClusterError
from hack.cluster.settings import OPERATOR_NAMESPACE
from hack.demo import shuffled, store
from hack.demo.kubectl import Kubectl, Object, conditions
from hack.demo.run import Run, read
from hack.demo.settings import JOB, MANIFEST, NAMESPACE, POLL, REPORT_PATIENCE, RUN_PATIENCE

from retune.api import FineTuneJobStatus, RunPhase
from retune.decide.naming import RETRY_ANNOTATION


@dataclass(frozen=True)
class Wanted:
    """Which run to follow: the one in flight, or the first one with a number above `after`; `bad`: the bad model's."""

    after: int
    how: str
    bad: bool = False


def ask(kubectl: Kubectl) -> Wanted:
    """Apply the manifest; a job whose last run has ended is asked for another one, one in flight is left alone."""
    job = kubectl.find("finetunejob", JOB)
    last = _last_run(job)
    if job is None or last is None:
        kubectl.apply(_manifest())
        return Wanted(0, f"{MANIFEST.name} is applied")
    number = int(last["number"])
    if not _ended(last):
        return Wanted(number - 1, f"run {number} is in flight already: following it", _bad(kubectl, str(last["name"])))
    # Else the story would begin with a model that knows already what nobody has asked yet.
    store.clear(f"{_manifest()['spec']['artifacts']['uri']}/{NAMESPACE}/{JOB}/corrections")
    if _pending_retry(job):
        kubectl.apply(_manifest(_pending_retry(job)))
        return Wanted(number, "another run had been asked for already")
    kubectl.apply(_manifest(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")))
    return Wanted(number, f"run {number} ended as {last['phase']}: asked for another one")


def ask_bad(kubectl: Kubectl) -> Wanted:
    """Change the job to one that makes a bad model: a change of the spec is reason enough for another run."""
    last = _last_run(kubectl.find("finetunejob", JOB))
    good = _manifest()
    shuffled.write(_train(good))
    kubectl.apply(shuffled.manifest(good))
    return Wanted(int(last["number"]) if last else 0, "the job is changed: answers shuffled, nothing asked for", True)


def ask_nothing(kubectl: Kubectl) -> Wanted:
    """Have the job as it first was, and no run of that: what starts the next one is not its spec."""
    last = _last_run(kubectl.find("finetunejob", JOB))
    manifest = _manifest()
    manifest["spec"]["triggers"] = {**manifest["spec"]["triggers"], "onChange": False}
    kubectl.apply(manifest)
    return Wanted(int(last["number"]) if last else 0, "the job is as it was; a change of it starts nothing any more")


def status(kubectl: Kubectl) -> FineTuneJobStatus:
    """What has become of the job."""
    return FineTuneJobStatus.model_validate((kubectl.find("finetunejob", JOB) or {}).get("status") or {})


def reported(kubectl: Kubectl, name: str) -> Run:
    """A run that has ended, once its report is written; as it is, if that takes too long.

    Raises:
        ClusterError: it was deleted.
    """
    began = time.monotonic()
    while True:
        found = kubectl.find("finetunerun", name)
        if found is None:
            raise ClusterError(f"FineTuneRun {name} in {NAMESPACE} was deleted")
        run = read(found)
        if run.status.report_uri is not None or time.monotonic() - began > REPORT_PATIENCE:
            return run
        time.sleep(POLL)


def _bad(kubectl: Kubectl, run: str) -> bool:
    found = kubectl.find("finetunerun", run)
    return found is not None and read(found).train == shuffled.uri(_train(_manifest()))


def _train(manifest: dict[str, Any]) -> str:
    return str(manifest["spec"]["dataset"]["train"]["uri"])


def await_run(kubectl: Kubectl, wanted: Wanted) -> str:
    """The name of the wanted run, once the operator has made it.

    Raises:
        ClusterError: it did not; the message says why, as far as the job does.
    """
    began = time.monotonic()
    while time.monotonic() - began < RUN_PATIENCE:
        job = kubectl.find("finetunejob", JOB)
        last = _last_run(job)
        if last is not None and int(last["number"]) > wanted.after:
            return str(last["name"])
        if job is not None and (refusal := _refusal(job)):
            raise ClusterError(f"FineTuneJob {JOB} starts no run: {refusal}")
        time.sleep(POLL / 4)
    raise ClusterError(
        f"the operator made no run within {RUN_PATIENCE:.0f} s. What it says:\n"
        f"  kubectl logs --namespace {OPERATOR_NAMESPACE} deployment/retune\n"
        f"  kubectl describe finetunejob {JOB} --namespace {NAMESPACE}"
    )


def _manifest(retry: str = "") -> dict[str, Any]:
    manifest = dict(yaml.safe_load(MANIFEST.read_text()))
    if retry:
        manifest["metadata"].setdefault("annotations", {})[RETRY_ANNOTATION] = retry
    return manifest


def _last_run(job: Object | None) -> dict[str, Any] | None:
    found = ((job or {}).get("status") or {}).get("latestRun")
    return dict(found) if found else None


def _ended(run: dict[str, Any]) -> bool:
    return bool(run.get("phase")) and RunPhase(run["phase"]).is_terminal


def _pending_retry(job: Object) -> str:
    """A retry that was asked for and that no run has answered yet."""
    asked = str((job["metadata"].get("annotations") or {}).get(RETRY_ANNOTATION) or "")
    return asked if asked != (job.get("status") or {}).get("retried") else ""


def _refusal(job: Object) -> str:
    """Why the job, as it stands now, starts nothing; empty if nothing is known against it."""
    status = job.get("status") or {}
    if status.get("observedGeneration") != job["metadata"]["generation"]:
        return ""
    if status.get("phase") == "Suspended":
        resume = '{"spec":{"suspend":false}}'
        return f"it is suspended. To go on: kubectl patch ftj {JOB} -n {NAMESPACE} --type merge -p '{resume}'"
    return next((c["message"] for c in conditions(job) if c["type"] == "Valid" and c["status"] == "False"), "")
