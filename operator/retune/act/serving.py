"""Manifests of what serves for a job: Deployment, Service, disruption budget. Pure builders; contract: design/0012."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from retune.act.manifests import API_VERSION, NON_ROOT
from retune.api import SecretRef
from retune.decide.actions import ApplyRoute, ApplyServing, ServingTemplate
from retune.decide.facts import Meta
from retune.decide.naming import (
    JOB_LABEL,
    JOB_UID_LABEL,
    MANAGED_BY_US,
    MANAGED_LABEL,
    REFRESHED_ANNOTATION,
    SERVES_CANARY,
    SERVES_STABLE,
    SERVING_DIGEST_ANNOTATION,
    SERVING_LABEL,
    TAPS_LABEL,
    arms_name,
    canary_name,
    taps_name,
)
from retune.decide.settle import TAP_CPU

USERS_PORT = 8000
CLUSTER_PORT = 9090
SERVER_PORT = 8001  # on loopback
GRACE = 60  # s that a tap is given to drain
LINGER = 5  # s between a pod's end being decided and its tap hearing of it
MODELS = "/models"
ARMS = "/etc/retune/arms"
TMP = "/tmp"  # noqa: S108 - a volume of its own
SMALL = {"requests": {"cpu": TAP_CPU, "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
_ROLES = ("--model", "--served-model-name", "--host", "--port", "--enable-lora", "--max-lora-rank", "--max-loras")
PROTECTED = (*_ROLES, "--max-cpu-loras", "--trust-remote-code")
Raw = dict[str, Any]


@dataclass(frozen=True)
class Own:
    """What of a serving pod comes from the operator.

    Attributes:
        tap: image of the tap.
        server: image of the model server, for jobs that name none.
        key: public key of the arms document, base64.
    """

    tap: str
    server: str
    key: str


def forbidden(args: tuple[str, ...]) -> list[str]:
    """Those of `spec.serving.args` that would set what is not the user's, in any spelling that the server takes.

    The server's parser reads an underscore as a dash, and an unambiguous beginning of a flag as the flag.
    """
    found = []
    for arg in args:
        flag = arg.partition("=")[0].replace("_", "-").lower()
        whole = "--" + flag.removeprefix("--no-") if flag.startswith("--no-") else flag
        if whole.startswith("--") and len(whole) > 2 and any(name.startswith(whole) for name in PROTECTED):
            found.append(arg)
    return found


def labels(job: str, uid: str) -> dict[str, str]:
    """Of everything that serves for a job."""
    return {MANAGED_LABEL: MANAGED_BY_US, JOB_LABEL: job, JOB_UID_LABEL: uid}


def owned(name: str, namespace: str, job: tuple[str, str], more: dict[str, str] | None = None) -> Raw:
    """Metadata of an object that the FineTuneJob `job` (name, uid) controls, with `more` labels."""
    return {
        "name": name,
        "namespace": namespace,
        "labels": {**labels(*job), **(more or {})},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": "FineTuneJob",
                "name": job[0],
                "uid": job[1],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }


def deployment(job: Meta, action: ApplyServing, own: Own) -> Raw:
    """The Deployment of stable; or of the candidate, in mode Deployment."""
    serving = action.template.serving
    user = serving.pod_metadata
    metadata = _metadata(job, action.template)
    refreshed = {REFRESHED_ANNOTATION: action.refresh} if action.refresh else {}
    metadata["annotations"] = {SERVING_DIGEST_ANNOTATION: action.digest, **refreshed}
    scraped = {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(CLUSTER_PORT),
        "prometheus.io/path": "/metrics",
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {
            # Left out it is nobody's here, and an autoscaler may have it.
            **({"replicas": serving.replicas} if serving.replicas is not None else {}),
            "revisionHistoryLimit": 2,
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
            "selector": {"matchLabels": _selector(job.name, action.template)},
            "template": {
                "metadata": {
                    "labels": {
                        **((user.labels if user else None) or {}),
                        **metadata["labels"],
                        TAPS_LABEL: job.name,
                    },
                    "annotations": {**((user.annotations if user else None) or {}), **scraped, **refreshed},
                },
                "spec": _pod(job, action.template, own),
            },
        },
    }


def service(job: Meta, action: ApplyServing) -> Raw:
    """The Service, whose port leads to the taps."""
    port = {"name": "http", "port": action.template.serving.port, "targetPort": "http", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(job, action.template),
        "spec": {"selector": _selector(job.name, action.template), "ports": [port]},
    }


def peers(job: Meta) -> Raw:
    """The headless Service by which taps find each other: feedback comes to any, and one of them knows the answer."""
    port = {"name": "cluster", "port": CLUSTER_PORT, "targetPort": "cluster", "protocol": "TCP"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": owned(taps_name(job.name), job.namespace, (job.name, job.uid), {SERVING_LABEL: SERVES_STABLE}),
        "spec": {
            "clusterIP": "None",
            # A pod that drains, or has lost its adapters, still knows what it answered.
            "publishNotReadyAddresses": True,
            "selector": {TAPS_LABEL: job.name},
            "ports": [port],
        },
    }


def budget(job: Meta, action: ApplyServing) -> Raw:
    """The disruption budget: one pod at a time, so that a single replica never blocks a drain."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": _metadata(job, action.template),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": _selector(job.name, action.template)},
        },
    }


def http_route(job: Meta, action: ApplyRoute) -> Raw:
    """The HTTPRoute of mode Deployment. A Service without a share is not named: it need not be there."""
    shares = ((job.name, 100 - action.weight), (canary_name(job.name), action.weight))
    backends = [{"name": name, "port": action.port, "weight": weight} for name, weight in shares if weight]
    metadata = owned(job.name, job.namespace, (job.name, job.uid))
    metadata["annotations"] = {SERVING_DIGEST_ANNOTATION: action.digest}
    parents = [p.model_dump(by_alias=True, exclude_none=True, mode="json") for p in action.route.parent_refs]
    hosts = {"hostnames": list(action.route.hostnames)} if action.route.hostnames else {}
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": metadata,
        "spec": {"parentRefs": parents, **hosts, "rules": [{"backendRefs": backends}]},
    }


def _metadata(job: Meta, template: ServingTemplate) -> Raw:
    canary = template.alone is not None and template.alone.canary
    name, arm = (canary_name(job.name), SERVES_CANARY) if canary else (job.name, SERVES_STABLE)
    return owned(name, job.namespace, (job.name, job.uid), {SERVING_LABEL: arm})


def _selector(job: str, template: ServingTemplate) -> dict[str, str]:
    canary = template.alone is not None and template.alone.canary
    return {JOB_LABEL: job, SERVING_LABEL: SERVES_CANARY if canary else SERVES_STABLE}


def _pod(job: Meta, template: ServingTemplate, own: Own) -> Raw:
    serving = template.serving
    mounts, volumes = _claims(template)
    pod: Raw = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": GRACE,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": NON_ROOT,
            "runAsGroup": NON_ROOT,
            "fsGroup": NON_ROOT,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": {"matchLabels": _selector(job.name, template)},
            }
        ],
        "initContainers": [_fetch(template, own, mounts), _server(template, own)],
        "containers": [_tap(job, template, own, mounts)],
        "volumes": [
            {"name": "models", "emptyDir": {}},
            {"name": "arms", "configMap": {"name": arms_name(job.name), "optional": True}},
            {"name": "tap-tmp", "emptyDir": {}},
            {"name": "server-tmp", "emptyDir": {}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            *volumes,
        ],
    }
    if serving.service_account_name:
        pod["serviceAccountName"] = serving.service_account_name
    if serving.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": s.name} for s in serving.image_pull_secrets]
    if serving.node_selector:
        pod["nodeSelector"] = dict(serving.node_selector)
    if serving.tolerations:
        pod["tolerations"] = [t.model_dump(by_alias=True, exclude_none=True) for t in serving.tolerations]
    if serving.priority_class_name:
        pod["priorityClassName"] = serving.priority_class_name
    return pod


def _fetch(template: ServingTemplate, own: Own, mounts: dict[str, list[Raw]]) -> Raw:
    told = {
        "RETUNE_MODELS": MODELS,
        "RETUNE_BASE_URI": template.base.uri,
        "RETUNE_BASE_DIGEST": template.base_digest,
        **({"RETUNE_BASE_CONTENT": template.alone.digest} if template.alone and template.alone.digest else {}),
        "HOME": TMP,
    }
    return {
        "name": "fetch",
        "image": own.tap,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "retune_tap", "fetch"],
        "env": _env(told),
        "envFrom": _secrets(template, "fetch"),
        "resources": SMALL,
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS},
            {"name": "tap-tmp", "mountPath": TMP},
            *mounts["fetch"],
        ],
    }


def _server(template: ServingTemplate, own: Own) -> Raw:
    serving = template.serving
    given = serving.resources.model_dump(by_alias=True, exclude_none=True, mode="json") if serving.resources else {}
    alone = template.alone
    told = {
        **({} if alone else {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}),
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "HOME": TMP,
        "LOGNAME": "retune",  # libraries look the user up by number, which an image of the user's own need not know
    }
    ours = ["--model", f"{MODELS}/base", "--served-model-name", alone.name if alone else "base"]
    ours += ["--host", "127.0.0.1", "--port", str(SERVER_PORT)]
    if alone is None:
        ours += ["--enable-lora", "--max-lora-rank", str(template.max_rank), "--max-loras", "2", "--max-cpu-loras", "8"]
    return {
        "name": "server",
        "image": serving.image or own.server,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",  # a native sidecar: it outlives the tap while that drains
        "command": ["python3", "-m", "vllm.entrypoints.openai.api_server"],
        # Ours come last: of two the server takes the last one. `$(` would be read as the name of a variable.
        "args": [*(arg.replace("$", "$$") for arg in serving.args), *ours],
        "env": _env(told),
        "resources": given,
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS, "readOnly": True},
            {"name": "server-tmp", "mountPath": TMP},
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108 - a volume of its own
        ],
    }


def _tap(job: Meta, template: ServingTemplate, own: Own, mounts: dict[str, list[Raw]]) -> Raw:
    told = {
        "RETUNE_NAMESPACE": job.namespace,
        "RETUNE_JOB": job.name,
        "RETUNE_JOB_UID": job.uid,
        "RETUNE_MODEL": template.model,
        "RETUNE_ARMS_KEY": own.key,
        "RETUNE_ARMS_FILE": f"{ARMS}/arms.json",
        "RETUNE_UPSTREAM": f"http://127.0.0.1:{SERVER_PORT}",
        "RETUNE_MODELS": MODELS,
        **({} if template.alone else {"RETUNE_MAX_RANK": str(template.max_rank)}),
        "RETUNE_PEERS": f"{taps_name(job.name)}.{job.namespace}.svc",
        "HOME": TMP,
    }
    if template.alone is not None:
        told |= {
            "RETUNE_ARM": SERVES_CANARY if template.alone.canary else SERVES_STABLE,
            "RETUNE_SERVES": template.alone.name,
            "RETUNE_SERVES_DIGEST": template.alone.digest,
        }
    return {
        "name": "tap",
        "image": own.tap,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "retune_tap", "serve"],
        "env": [*_env(told), _field("RETUNE_POD", "metadata.name"), _field("RETUNE_POD_UID", "metadata.uid")],
        "envFrom": _secrets(template, "tap"),
        "ports": [
            {"name": "http", "containerPort": USERS_PORT, "protocol": "TCP"},
            {"name": "cluster", "containerPort": CLUSTER_PORT, "protocol": "TCP"},
        ],
        "readinessProbe": {
            "httpGet": {"path": "/readyz", "port": "cluster"},
            "periodSeconds": 2,
            "timeoutSeconds": 2,
            "failureThreshold": 3,
        },
        "livenessProbe": {
            "httpGet": {"path": "/healthz", "port": "cluster"},
            "periodSeconds": 10,
            "timeoutSeconds": 5,
            "failureThreshold": 6,
        },
        # New connections are refused once it stops; until then the endpoints follow.
        "lifecycle": {"preStop": {"sleep": {"seconds": LINGER}}},
        "resources": SMALL,
        "securityContext": RESTRICTED,
        "volumeMounts": [
            {"name": "models", "mountPath": MODELS},
            {"name": "arms", "mountPath": ARMS, "readOnly": True},
            {"name": "tap-tmp", "mountPath": TMP},
            *mounts["tap"],
        ],
    }


def _env(told: dict[str, str]) -> list[Raw]:
    # The kubelet would put Secrets in the place of $(NAME).
    return [{"name": name, "value": value.replace("$", "$$")} for name, value in told.items()]


def _field(name: str, path: str) -> Raw:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _sources(template: ServingTemplate) -> dict[str, list[tuple[str, str, SecretRef | None]]]:
    """What each container opens: (role, URI, Secret)."""
    store, base, endpoint = template.artifacts, template.base, template.endpoint
    tap = [("ARTIFACTS", store.uri, store.secret_ref)]
    if endpoint is not None:
        tap.append(("BASELINE", endpoint.url, endpoint.secret_ref))
    return {"fetch": [("BASE_MODEL", base.uri, base.secret_ref)], "tap": tap}


def _secrets(template: ServingTemplate, container: str) -> list[Raw]:
    """Each Secret under the prefix of its role; an S3 source without one of its own uses the artifacts' Secret."""
    shared = template.artifacts.secret_ref
    named = (
        (role, ref or (shared if uri.startswith("s3://") else None)) for role, uri, ref in _sources(template)[container]
    )
    return [{"prefix": f"RETUNE_{role}_", "secretRef": {"name": ref.name}} for role, ref in named if ref]


def _claims(template: ServingTemplate) -> tuple[dict[str, list[Raw]], list[Raw]]:
    """Mounts by container, and volumes, of every `pvc://claim/…`; nothing is written to any."""
    mounts: dict[str, list[Raw]] = {}
    volumes: dict[str, Raw] = {}
    for container, sources in _sources(template).items():
        claims = sorted({urlsplit(uri).netloc for _, uri, _ in sources if uri.startswith("pvc://")})
        for claim in claims:
            name = f"pvc-{len(volumes)}"  # a claim's name may hold dots, a volume's may not
            volumes.setdefault(claim, {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        mounts[container] = [
            {"name": volumes[claim]["name"], "mountPath": f"/pvc/{claim}", "readOnly": True} for claim in claims
        ]
    return mounts, list(volumes.values())
