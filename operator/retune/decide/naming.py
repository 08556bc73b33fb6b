"""Names and labels of all that Retune creates: deterministic, never too long, saying whose it is and which attempt."""

import hashlib

from retune.decide.facts import Stage

RUN_LABEL = "retune.dev/run"
RUN_UID_LABEL = "retune.dev/run-uid"
JOB_LABEL = "retune.dev/job"
STAGE_LABEL = "retune.dev/stage"
ATTEMPT_LABEL = "retune.dev/attempt"
CANCEL_ANNOTATION = "retune.dev/cancel"
RETRY_ANNOTATION = "retune.dev/retry"
PAUSE_ANNOTATION = "retune.dev/pause"
HALT_ANNOTATION = "retune.dev/halt"
PROMOTE_ANNOTATION = "retune.dev/promote"
ROLLBACK_ANNOTATION = "retune.dev/rollback"
REFRESH_ANNOTATION = "retune.dev/refresh"
RESUME_ANNOTATION = "retune.dev/resume"
APPROVAL_PREFIX = "approval.retune.dev/"
LEDGER_LABEL = "retune.dev/ledger"
LEDGER_OF = "retune.dev/job"  # annotation of a ledger: the namespace and name of its job
MANAGED_LABEL = "app.kubernetes.io/managed-by"
MANAGED_BY_US = "retune"
JOB_UID_LABEL = "retune.dev/job-uid"
SERVING_LABEL = "retune.dev/serving"
SERVES_STABLE, SERVES_CANARY = "stable", "canary"  # its values
TAPS_LABEL = "retune.dev/taps"  # of every pod with a tap, whichever arm it is: its job
KEPT_LABEL = "retune.dev/kept"
KEPT_ARMS, KEPT_EVIDENCE, KEPT_DRIFT = "arms", "evidence", "drift"  # its values
SERVING_DIGEST_ANNOTATION = "retune.dev/serving-digest"
REFRESHED_ANNOTATION = "retune.dev/refreshed"
LIMIT = 63  # a Job's name is a label value of its pods


def fit(name: str) -> str:
    """`name` itself, or where it is too long its head and a hash of the whole."""
    if len(name) <= LIMIT:
        return name
    return f"{name[: LIMIT - 9]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def run_name(job: str, job_uid: str, number: int) -> str:
    """The name of a job's run number `number`.

    The last four characters come from the job's uid: a job that is deleted and created again under the same name gets
    other run names, so its artifacts never land in the folder of its namesake.
    """
    return fit(f"{job}-{number}-{hashlib.sha256(job_uid.encode()).hexdigest()[:4]}")


def child_name(run: str, stage: Stage, attempt: int) -> str:
    """The name of the Kubernetes Job of one attempt: `-p1` is preflight 1, `-t2` is training 2."""
    return fit(f"{run}-{stage.value[0]}{attempt}")


def ledger_name(namespace: str, job: str) -> str:
    """The name of the ConfigMap, in the operator's own namespace, with the ledger of a job's name."""
    return f"ledger-{hashlib.sha256(f'{namespace}/{job}'.encode()).hexdigest()[:16]}"


def arms_name(job: str) -> str:
    """The name of the ConfigMap with a job's signed arms document."""
    return f"{job}-arms"


def canary_name(job: str) -> str:
    """The name of the candidate's own Deployment, Service and disruption budget, in mode Deployment."""
    return fit(f"{job}-canary")


def taps_name(job: str) -> str:
    """The name of the headless Service by which a job's taps find each other, of both arms."""
    return f"{job}-taps"


def evidence_name(run: str) -> str:
    """The name of the ConfigMap with what a restart of the operator needs of a run's rollout."""
    return f"{run}-evidence"


def drift_name(job: str) -> str:
    """The name of the ConfigMap with what a restart of the operator needs of a job's drift."""
    return f"{job}-drift"
