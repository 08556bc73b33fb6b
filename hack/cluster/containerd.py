"""containerd's image store, which outlives the cluster: bringing images in, sweeping out dead containers."""

import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cluster import binaries, daemons
from hack.cluster.components import SOCKET
from hack.cluster.keys import CFG
from hack.cluster.process import ClusterError, output, succeeds, tail
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


def import_archive(archive: Path) -> None:
    """Brings a docker-archive in."""
    output(ctr("images", "import", "--local", str(archive)))


def import_from(push: Sequence[str | Path], what: str) -> None:
    """Brings in the docker-archive that a command writes to its standard output; no copy of it touches the disk."""
    log = LOG / f"import-{what}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as errors:
        source = subprocess.Popen(push, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        sink = subprocess.Popen(
            ctr("images", "import", "--local", "-"), stdin=source.stdout, stdout=errors, stderr=errors
        )
        if source.stdout:
            source.stdout.close()
        try:
            codes = (sink.wait(), source.wait())
        finally:
            for process in (source, sink):
                if process.poll() is None:
                    process.kill()
    if any(codes):
        raise ClusterError(f"bringing {what} into containerd failed; all output is in {log}:\n{tail(log)}")


def remove(references: Sequence[str]) -> None:
    """Removes images with their layers, and the second record of each, named by digest, that the CRI plugin makes."""
    if not references:
        return
    lines = [line.split() for line in output(ctr("images", "list")).splitlines()[1:]]
    kept = {line[2] for line in lines if line[0] not in references and not line[0].startswith("sha256:")}
    nameless = [line[0] for line in lines if line[0].startswith("sha256:") and line[2] not in kept]
    output(ctr("images", "remove", "--sync", *references, *nameless))
