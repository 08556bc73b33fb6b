"""Why a pod has not started yet, in words that name the field and the cure."""

from dataclasses import dataclass
from datetime import datetime

from retune.decide.facts import Pod, Stage

# The kubelet's and the Job controller's reasons that only a change by a person mends; the rest may pass by themselves.
_CONFIG = {
    "ImagePullBackOff": "Check spec.training.image and spec.training.imagePullSecrets.",
    "ErrImagePull": "Check spec.training.image and spec.training.imagePullSecrets.",
    "InvalidImageName": "spec.training.image is not an image reference.",
    "ErrImageNeverPull": "The image is not on the node.",
    "CreateContainerConfigError": "Check that the Secret named in a secretRef exists in the job's namespace.",
    "CreateContainerError": "The container could not be created.",
}
_HINTS = {
    "Unschedulable": "No node fits: compare spec.training.resources, gpusPerNode, gpuResource, nodeSelector and "
    "tolerations with the cluster's nodes.",
    "FailedCreate": "The cluster refused the pod (a quota, a missing ServiceAccount or an admission rule).",
}
_STARTING = {"ContainerCreating": "The image is being pulled or a volume mounted: `kubectl describe pod` shows which."}
_PREFLIGHT_HINTS = {"Unschedulable": "No node has room for the preflight pod (a quarter of a CPU, 512 MiB)."}


@dataclass(frozen=True)
class Wait:
    """A reason for which a pod is not running. `fatal`: it fails the run when it lasts longer than the deadline."""

    reason: str
    message: str
    fatal: bool


SLOW_START = 15  # s: a container that is created for longer than this is worth a word


def waiting(stage: Stage, pods: tuple[Pod, ...], denied: tuple[str, str] | None, now: datetime) -> Wait | None:
    """Why the attempt is not running, or None if it runs or nothing is known against it.

    `denied` is the Job controller's complaint when it could not create the pod at all.
    """
    if not pods:
        if denied is None:
            return None
        return Wait(denied[0], f"{denied[1]}. {_HINTS['FailedCreate']}", fatal=False)
    for pod in pods:
        if pod.waiting is None or pod.over:
            continue
        reason, message = pod.waiting
        if reason in _STARTING and (pod.created is None or (now - pod.created).total_seconds() < SLOW_START):
            continue
        hint = _CONFIG.get(reason) or (_PREFLIGHT_HINTS if stage is Stage.PREFLIGHT else {}).get(reason)
        hint = hint or _HINTS.get(reason) or _STARTING.get(reason, "")
        text = f"{message.rstrip('. ')}. {hint}".strip(". ") + "."
        return Wait(reason, text, fatal=reason in _CONFIG)
    return None
