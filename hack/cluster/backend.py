"""Which cluster: Docker's, one of our own, or one that the user brings. The rest knows only `Cluster`."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from hack.cluster import docker
from hack.cluster.settings import CACHE

CHOICE = CACHE / "backend"
"""What `up` chose, so that `down` ends the same even if Docker came or went in between."""


class Cluster(Protocol):
    """A Kubernetes cluster."""

    @property
    def name(self) -> str:
        """What RETUNE_BACKEND calls it."""

    @property
    def kubeconfig(self) -> Path:
        """Where its kubeconfig is, once it is up."""

    def up(self) -> None:
        """Starts it, or leaves a healthy one alone."""

    def down(self) -> None:
        """Ends what `up` started."""

    def clean(self) -> None:
        """Removes what `down` keeps outside the cache folder, or in it under mounts."""

    def healthy(self) -> bool:
        """Whether it can be used."""

    def node_address(self) -> str:
        """Where node ports are reached from this machine."""


@runtime_checkable
class Builder(Protocol):
    """A cluster whose images are built on this machine."""

    def base(self) -> str:
        """The image that the project's images are built on, made if need be."""

    def exists(self, reference: str) -> bool:
        """Whether this image has been built."""

    def build(self, dockerfile: Path, context: Path, arguments: Sequence[str], reference: str, log: Path) -> None:
        """Builds an image; `arguments` are build arguments, NAME=VALUE."""

    def loaded(self) -> set[str]:
        """The project's images that the running cluster has."""

    def load(self, reference: str) -> None:
        """Brings a built image into the running cluster."""

    def drop(self, repository: str, keep: str) -> None:
        """Forgets all tags of an image but one."""


def choose() -> Cluster:
    """The user's own cluster if they say so, else the running one's kind, else kind where Docker is, else our node."""
    from hack.cluster.existing import ExistingCluster
    from hack.cluster.kind import KindCluster
    from hack.cluster.own_node import OwnNode

    if os.environ.get("RETUNE_USE_KUBECONFIG") == "1":
        return ExistingCluster()
    name = os.environ.get("RETUNE_BACKEND") or (CHOICE.read_text().strip() if CHOICE.exists() else "")
    if not name:
        name = KindCluster.name if docker.engine() else OwnNode.name
    return KindCluster() if name == KindCluster.name else OwnNode()


def remember(cluster: Cluster, *, up: bool) -> None:
    """Notes for later commands which of our clusters is up, if one is; the user's own is chosen anew each time."""
    if cluster.name == "existing":
        return
    if up:
        CHOICE.write_text(cluster.name + "\n")
    else:
        CHOICE.unlink(missing_ok=True)
