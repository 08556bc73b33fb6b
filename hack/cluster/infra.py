"""What the demo and the tests need beside the operator: an S3 store and a Prometheus, as pods in the cluster."""

import re
from pathlib import Path

from hack.cluster import binaries, images
from hack.cluster.backend import Cluster
from hack.cluster.process import ClusterError, output
from hack.cluster.progress import step
from hack.cluster.settings import IMAGE_PREFIX, LOCAL_NAMESPACE, NODE_PORTS, OPERATOR_NAMESPACE, ROOT

MANIFESTS = Path(__file__).resolve().parents[1] / "manifests"
CHART = ROOT / "charts" / "retune"
RESTRICTED = """apiVersion: v1
kind: Namespace
metadata:
  name: {name}
  labels: {{pod-security.kubernetes.io/enforce: restricted}}
"""


def apply(cluster: Cluster) -> None:
    """Applies hack/manifests and waits until S3 and Prometheus are ready."""
    references = images.ensure(cluster, sorted(NODE_PORTS))
    kubectl = _kubectl(cluster)
    with step("S3 and Prometheus", about=15):
        output([*kubectl, "apply", "-f", "-"], stdin=RESTRICTED.format(name=LOCAL_NAMESPACE))
        for manifest in sorted(MANIFESTS.glob("*.yaml")):
            output([*kubectl, "apply", "-f", "-"], stdin=_with_images(manifest.read_text(), references))
        for name in NODE_PORTS:
            rollout = ["rollout", "status", f"deployment/{name}", "--namespace", LOCAL_NAMESPACE, "--timeout", "180s"]
            output([*kubectl, *rollout])


def install(cluster: Cluster) -> None:
    """Installs the operator with its chart, or upgrades it, and waits until it is ready."""
    if not CHART.is_dir():
        raise ClusterError(f"there is no chart in {CHART}")
    references = images.noted()
    helm: list[str | Path] = [binaries.path("helm"), "--kubeconfig", cluster.kubeconfig, "upgrade", "--install"]
    helm += ["retune", CHART, "--namespace", OPERATOR_NAMESPACE, "--wait", "--timeout", "120s"]
    for name in ("operator", "trainer", "tap", "server"):
        if name not in references:
            raise ClusterError(f"the image {name} has not been built: run `make images`")
        helm += ["--set", f"{name}.image={references[name]}"]
    helm += ["--set-string", "prices.cpuHour=0.04"]  # about what clouds ask, so that the demo has something to count
    helm += ["--set", f"prometheus.url=http://prometheus.{LOCAL_NAMESPACE}.svc:9090"]
    helm += ["--set", "rollouts.feedbackWindow=5"]  # the demo's users object within two seconds, and it waits for them
    helm += ["--set", "rollouts.evidenceSeconds=2"]  # its canaries last a minute, not hours: the screen should follow
    helm += ["--set", "watch.pollSeconds=10"]  # its world changes within minutes
    helm += ["--set", "notifications.existingSecret=retune-channels"]  # made by whoever wants to be told
    with step("installing the operator", about=15):
        output([*_kubectl(cluster), "apply", "-f", "-"], stdin=RESTRICTED.format(name=OPERATOR_NAMESPACE))
        try:
            output(helm)
        except ClusterError as error:
            raise ClusterError(f"{error}\n{_what_the_pods_say(cluster)}") from error
    images.forget_stale(cluster)


def _what_the_pods_say(cluster: Cluster) -> str:
    """Helm only says that it waited in vain; why, the pods know."""
    kubectl = [*_kubectl(cluster), "--namespace", OPERATOR_NAMESPACE]
    said = []
    for question in (["get", "pods"], ["logs", "deployment/retune", "--tail", "15"]):
        try:
            said.append(output([*kubectl, *question]))
        except ClusterError as error:
            said.append(str(error))
    return "\n".join(said)


def endpoint(cluster: Cluster, name: str) -> str:
    """The address at which this machine reaches `s3` or `prometheus`."""
    return f"http://{cluster.node_address()}:{NODE_PORTS[name]}"


def _kubectl(cluster: Cluster) -> list[str | Path]:
    return [binaries.path("kubectl"), "--kubeconfig", cluster.kubeconfig]


def _with_images(manifest: str, references: dict[str, str]) -> str:
    """The manifests name images without a tag; the tag is a hash that only the build knows."""
    return re.sub(rf"(image: {IMAGE_PREFIX}/)(\S+)", lambda match: f"image: {references[match[2]]}", manifest)
