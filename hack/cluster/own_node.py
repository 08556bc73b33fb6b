"""The backend for machines without Docker: node.py's cluster, buildah's images."""

from collections.abc import Sequence
from pathlib import Path

from hack.cluster import base_image, buildah, containerd, debian, handover, node
from hack.cluster.mounts import unmount
from hack.cluster.settings import CACHE, IMAGE_PREFIX, KUBECONFIG, NODE_IP


class OwnNode:
    """A control plane and one node, as processes of this machine."""

    name = "node"
    kubeconfig = KUBECONFIG

    def up(self) -> None:
        """Starts it, or leaves a healthy one alone."""
        node.up()

    def down(self) -> None:
        """Ends what `up` started."""
        node.down()

    def clean(self) -> None:
        """Undoes what builds left mounted, so that the cache folder can be deleted."""
        unmount(CACHE)

    def healthy(self) -> bool:
        """Whether it can be used."""
        return node.healthy()

    def node_address(self) -> str:
        """The node's end of the pair of links."""
        return NODE_IP

    def base(self) -> str:
        """The image made by debootstrap."""
        debian.ensure(debian.BUILD)
        buildah.tidy()
        return base_image.ensure()

    def exists(self, reference: str) -> bool:
        """Whether buildah has this image."""
        return buildah.exists(reference)

    def build(self, dockerfile: Path, context: Path, arguments: Sequence[str], reference: str, log: Path) -> None:
        """Builds an image with buildah."""
        buildah.build(dockerfile, context, arguments, reference, log)

    def loaded(self) -> set[str]:
        """The project's images in containerd."""
        return {reference for reference in containerd.images() if reference.startswith(f"{IMAGE_PREFIX}/")}

    def load(self, reference: str) -> None:
        """From buildah to containerd, as far as containerd has not got it."""
        name = reference.rpartition("/")[2]
        with handover.registry(containerd.blobs(), buildah.TEMPORARY) as registry:
            buildah.push(reference, registry, name)
            containerd.pull(registry, name, reference)

    def drop(self, repository: str, keep: str) -> None:
        """Forgets stale tags in both stores."""
        buildah.remove({known for known in buildah.references(repository) if not known.startswith(keep)})
        if node.healthy():
            stale = {reference for reference in self.loaded() if reference.rpartition(":")[0] == repository} - {keep}
            containerd.remove(sorted(stale))
