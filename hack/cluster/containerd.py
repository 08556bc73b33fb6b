"""containerd's image store, which outlives the cluster: bringing images in, sweeping out dead containers."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import binaries, daemons
from hack.cluster.components import SOCKET
from hack.cluster.keys import CFG
from hack.cluster.process import ClusterError, logged, output, succeeds, tail
from hack.cluster.settings import CONTAINERD, LOG


def ctr(*arguments: str) -> list[str | Path]:
    """A `ctr` command line on the kubelet's images and containers."""
    return [binaries.path("ctr"), "--address", SOCKET, "--namespace", "k8s.io", *arguments]


def run(config: str, seconds: float = 20) -> None:
    """Starts containerd and waits until it answers."""
    daemons.start("containerd", [binaries.path("containerd"), "--config", CFG / config])
    end = time.monotonic() + seconds
    while not (SOCKET.exists() and succeeds(ctr("version"))):
        if "containerd" in daemons.dead() or time.monotonic() > end:
            log = daemons.LOGS / "containerd.log"
            raise ClusterError(f"containerd does not start; its log is {log}:\n{tail(log)}")
        time.sleep(0.05)


def sweep() -> None:
    """Forgets the containers of the cluster before this one, which ended as if by a power cut; keeps the images.

    Done with the CRI plugin off: it would read the old pods at its start and hand them to the kubelet as its own.
    """
    shutil.rmtree(CONTAINERD / "io.containerd.grpc.v1.cri", ignore_errors=True)
    if not (CONTAINERD / "io.containerd.metadata.v1.bolt").exists():
        return
    run("containerd-sweep.toml")
    for kind, listing, removal in (
        ("containers", ["list", "--quiet"], ["delete"]),
        ("sandboxes", ["list"], ["remove", "--force"]),
        ("leases", ["list", "--quiet"], ["delete"]),
    ):
        words = [line.split() for line in output(ctr(kind, *listing)).splitlines()]
        names = [line[0] for line in words if line and not line[0].startswith("ID")]
        if names:
            output(ctr(kind, *removal, *names))
    daemons.stop("containerd")


def images() -> set[str]:
    """References of all images in the store."""
    return set(output(ctr("images", "list", "--quiet")).split())


def blobs() -> Path:
    """The folder of all layers, manifests and configurations, named by sha256."""
    return CONTAINERD / "io.containerd.content.v1.content" / "blobs" / "sha256"


def import_archive(archive: Path) -> None:
    """Brings a docker-archive in."""
    output(ctr("images", "import", "--local", str(archive)))


def pull(registry: str, name: str, reference: str) -> None:
    """Brings in an image from a registry on this machine, under a name of its own."""
    source = f"{registry}/{name}"
    log = LOG / f"pull-{name.partition(':')[0]}.log"
    logged(ctr("images", "pull", "--local", "--plain-http", source), log)
    output(ctr("images", "tag", "--force", source, reference))
    output(ctr("images", "remove", source))


def remove(references: Sequence[str]) -> None:
    """Removes images with their layers, and the second record of each, named by digest, that the CRI plugin makes."""
    if not references:
        return
    lines = [line.split() for line in output(ctr("images", "list")).splitlines()[1:]]
    kept = {line[2] for line in lines if line[0] not in references and not line[0].startswith("sha256:")}
    nameless = [line[0] for line in lines if line[0].startswith("sha256:") and line[2] not in kept]
    output(ctr("images", "remove", "--sync", *references, *nameless))
