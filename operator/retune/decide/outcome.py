"""How an attempt ended, from its Job's conditions and, for the details, its pod. Exit codes: design/0002."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from retune.decide.facts import Child, Pod, Stage

EXIT_INPUT, EXIT_STORE = 64, 65
_EXIT_CODE = re.compile(r"failed with exit code (\d+)")


class Exit(StrEnum):
    """The ends of an attempt, as `status.attempts[].exit` shows them."""

    SUCCEEDED = "Succeeded"
    INPUT_ERROR = "InputError"  # wrong input: a retry would end the same way
    OUT_OF_MEMORY = "OutOfMemory"  # same limit, same data: a retry would end the same way
    TIMEOUT = "Timeout"
    CRASHED = "Crashed"  # counts against maxRetries
    DISRUPTED = "Disrupted"  # preempted, evicted, drained: never counts
    LOST = "Lost"  # the pod or its Job vanished, or its result did: never counts
    SUSPENDED = "Suspended"
    CANCELLED = "Cancelled"


FATAL = frozenset({Exit.INPUT_ERROR, Exit.OUT_OF_MEMORY, Exit.TIMEOUT})
COUNTED = frozenset({Exit.CRASHED})


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt. `reason` and `message` are for the run's condition; `result` is what the pod reported."""

    exit: Exit
    reason: str
    message: str
    result: dict[str, Any]


def outcome(child: Child, pods: tuple[Pod, ...], memory_limit: str) -> Outcome | None:
    """How `child` ended, or None while it has not.

    Args:
        child: the attempt's Job.
        pods: the pods of that attempt that still exist; the newest decides.
        memory_limit: the container's limit as written, for the message of an OOM kill.
    """
    if not child.over:
        return None
    pod = max(pods, key=lambda p: (p.created.timestamp() if p.created else 0.0, p.name), default=None)
    if child.complete:
        return _complete(pod)
    job_reason, job_message = child.failed or ("", "")
    if pod is not None and pod.deleting and not _its_own_end(pod):  # somebody took it away while it ran
        return Outcome(Exit.DISRUPTED, "PodDeleted", f"Pod {pod.name} was deleted while it ran", {})
    if pod is not None and pod.termination is not None and not pod.disrupted:
        return _terminated(pod, pod.termination.exit_code, job_reason, memory_limit)
    if job_reason == "DeadlineExceeded" or (pod is not None and pod.evicted == "DeadlineExceeded"):
        return _timeout(child.stage)
    if pod is not None and (pod.disrupted or pod.evicted):
        return Outcome(
            Exit.DISRUPTED, "Disrupted", f"Pod {pod.name} was taken away: {pod.disrupted or pod.evicted}", {}
        )
    if "DisruptionTarget" in job_message:
        return Outcome(Exit.DISRUPTED, "Disrupted", job_message, {})
    code = _EXIT_CODE.search(job_message)
    if code:  # the pod is gone, but the Job's own condition remembers its exit code
        return _by_code(int(code[1]), {}, f"{job_message}; the pod with its message is gone")
    return Outcome(Exit.LOST, "PodLost", f"The attempt's pod is gone without a trace of its end ({job_message})", {})


def _its_own_end(pod: Pod) -> bool:
    """It had ended for a reason of its own before, or while, it was deleted."""
    end = pod.termination
    return end is not None and (end.exit_code in (EXIT_INPUT, EXIT_STORE) or end.reason == "OOMKilled")


def _complete(pod: Pod | None) -> Outcome:
    result = pod.termination.message if pod is not None and pod.termination is not None else {}
    if result.get("outcome") == "Succeeded":
        return Outcome(Exit.SUCCEEDED, "Succeeded", "", result)
    if pod is not None and pod.termination is not None:  # counted: an image that is no trainer says so every time
        text = (
            f"Pod {pod.name} ended with exit code 0 but without a result. Check that spec.training.image is a trainer."
        )
        return Outcome(Exit.CRASHED, "ResultUnreadable", text, {})
    # The next attempt finds the manifest in the store and answers with the result in it.
    return Outcome(
        Exit.LOST, "ResultLost", "The attempt succeeded, but its pod was gone before its result was read", {}
    )


def _terminated(pod: Pod, code: int, job_reason: str, memory_limit: str) -> Outcome:
    end = pod.termination
    assert end is not None  # noqa: S101 - the caller has checked it
    if end.reason == "OOMKilled":
        limit = f"its memory limit ({memory_limit})" if memory_limit else "the node's memory"
        cure = (
            "Make the files that spec.dataset names smaller."
            if pod.stage is Stage.PREFLIGHT
            else "Raise spec.training.resources.limits.memory, "
            "or lower spec.training.batchTokens or spec.training.maxLength."
        )
        text = f"The container was killed for using more than {limit}. {cure}"
        return Outcome(Exit.OUT_OF_MEMORY, "OutOfMemory", text, {})
    if end.reason == "ContainerStatusUnknown":  # exit code 137 is made up: the node went away, and came back
        return Outcome(Exit.LOST, "NodeLost", f"The node lost track of pod {pod.name}", {})
    if job_reason == "DeadlineExceeded" or pod.evicted == "DeadlineExceeded":
        return _timeout(pod.stage)
    if pod.evicted:
        return Outcome(Exit.DISRUPTED, "Evicted", f"Pod {pod.name} was evicted: {pod.evicted}", {})
    return _by_code(code, end.message, f"The container ended with exit code {code} ({end.reason or 'Error'})")


def _by_code(code: int, result: dict[str, Any], fallback: str) -> Outcome:
    said = result.get("error")  # by contract an object of texts, but a foreign image may say anything
    error = {k: v[:4000] for k, v in said.items() if isinstance(v, str)} if isinstance(said, dict) else {}
    reason = error.get("reason", "")[:128]
    field = f"{error['field'][:256]}: " if error.get("field") else ""
    message = f"{field}{error['message']}" if error.get("message") else fallback
    match code:
        case 64:
            return Outcome(Exit.INPUT_ERROR, reason or "InvalidInput", message, result)
        case 65:
            return Outcome(Exit.CRASHED, reason or "StoreUnreachable", message, result)
        case 75:
            return Outcome(Exit.DISRUPTED, "Interrupted", "Stopped by SIGTERM after a checkpoint", result)
        case 143:
            return Outcome(Exit.DISRUPTED, "Interrupted", "Stopped by SIGTERM", result)
        case 70:
            return Outcome(Exit.LOST, "Superseded", "A newer attempt had taken over", result)
        case _:
            return Outcome(Exit.CRASHED, reason or "Crashed", message, result)


def _timeout(stage: Stage) -> Outcome:
    if stage is Stage.PREFLIGHT:
        text = "Preflight took longer than an hour. Make the files that spec.dataset names smaller."
        return Outcome(Exit.TIMEOUT, "Timeout", text, {})
    return Outcome(
        Exit.TIMEOUT,
        "Timeout",
        "The attempt ran longer than spec.training.timeout. Raise it, or train on less "
        "(spec.training.epochs, spec.training.maxSteps).",
        {},
    )
