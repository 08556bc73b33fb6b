"""The backend for machines with Docker: a kind cluster, made as kind-config.yaml says."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import binaries, docker
from hack.cluster.process import logged, output, succeeds
from hack.cluster.progress import say, step
from hack.cluster.settings import BASE_IMAGE, IMAGE_PREFIX, KUBECONFIG, LOG, ROOT

CLUSTER = "retune"


class KindCluster:
    """Kubernetes in Docker."""

    name = "kind"
    kubeconfig = KUBECONFIG

    def up(self) -> None:
        """Makes the cluster, or leaves a healthy one alone; one that is half made is made again."""
        if self.healthy():
            say("the cluster is up")
            return
        self.down()
        with step("making a kind cluster", about=60):
            command = [self._kind(), "create", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG]
            logged([*command, "--config", ROOT / "kind-config.yaml", "--wait", "180s"], LOG / "kind.log")

    def down(self) -> None:
        """Deletes the cluster; kind leaves every other one alone."""
        if CLUSTER in output([self._kind(), "get", "clusters"]).split():
            output([self._kind(), "delete", "cluster", "--name", CLUSTER, "--kubeconfig", KUBECONFIG])
        KUBECONFIG.unlink(missing_ok=True)
        say("the cluster is down")

    def clean(self) -> None:
        """Removes the project's images from Docker."""
        listing = output(["docker", "images", "--format", "{{.Repository}}:{{.Tag}}", f"{IMAGE_PREFIX}/*"])
        docker.remove(set(listing.split()))

    def healthy(self) -> bool:
        """Whether its API server says that it is ready."""
        kubectl: list[str | Path] = [binaries.path("kubectl"), "--kubeconfig", KUBECONFIG]
        return KUBECONFIG.exists() and succeeds([*kubectl, "get", "--raw", "/readyz"])

    def node_address(self) -> str:
        """kind-config.yaml maps the node ports to this machine's loopback."""
        return "127.0.0.1"

    def base(self) -> str:
        """The real python image."""
        return BASE_IMAGE

    def exists(self, reference: str) -> bool:
        """Whether Docker has this image."""
        return docker.exists(reference)

    def build(self, dockerfile: Path, context: Path, arguments: Sequence[str], reference: str, log: Path) -> None:
        """Builds an image with Docker."""
        docker.build(dockerfile, context, arguments, reference, log)

    def loaded(self) -> set[str]:
        """The project's images in the node."""
        listing = output(["docker", "exec", f"{CLUSTER}-control-plane", "ctr", "-n", "k8s.io", "images", "list", "-q"])
        return {reference for reference in listing.split() if reference.startswith(f"{IMAGE_PREFIX}/")}

    def load(self, reference: str) -> None:
        """From Docker into the node."""
        name = reference.rpartition("/")[2].partition(":")[0]
        logged([self._kind(), "load", "docker-image", "--name", CLUSTER, reference], LOG / f"load-{name}.log")

    def drop(self, repository: str, keep: str) -> None:
        """Forgets stale tags in Docker; those in the node go with it."""
        docker.remove(docker.references(repository) - {keep})

    def _kind(self) -> str | Path:
        return shutil.which("kind") or binaries.path("kind")
