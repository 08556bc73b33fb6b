"""The cluster without Docker: the real control plane and one real node, as processes in one network namespace."""

import json
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hack.cluster import archive, binaries, cgroups, components, containerd, daemons, debian, keys, network
from hack.cluster.mounts import unmount
from hack.cluster.process import ClusterError, logged, succeeds, tail
from hack.cluster.progress import say, step
from hack.cluster.settings import CACHE, CONTAINERD, KUBECONFIG, LOG, NODE, RUN

READY = RUN / "ready"
"""Written last by `up`: without it, what is in RUN is a leftover."""
PAUSE = CACHE / "pause.tar"
PAUSE_SOURCE = Path(__file__).resolve().parents[1] / "pause" / "pause.c"
LONGEST_CACHE = 60
"""Characters: the kernel allows a socket's path 107, and the kubelet's longest adds some 45."""


def up() -> None:
    """Starts the cluster; returns when the node is ready. A healthy one is left alone, leftovers are removed first."""
    if healthy():
        say("the cluster is up")
        return
    _refuse_what_cannot_work()
    if RUN.exists() or network.exists():
        say("cleaning up after a cluster that did not end properly")
        down()
    debian.ensure((*debian.NODE, *debian.BUILD))
    for name in binaries.NODE:
        binaries.path(name)
    _build_pause()
    try:
        with step("starting Kubernetes", about=12):
            _start()
    except BaseException:
        down()
        raise


def healthy() -> bool:
    """Whether everything that was started still runs, and the API server says that it is ready."""
    return READY.exists() and not daemons.dead() and succeeds(_kubectl("get", "--raw", "/readyz"))


def down() -> None:
    """Ends exactly what `up` started and removes its state, in a second or two; images and programs stay."""
    if network.other_owner():
        return
    _keep_logs()
    end = time.monotonic() + 10
    # A loop, because a shim or runc in its last breath may still start something.
    while (pids := daemons.ours() | cgroups.pids() | set(network.pids())) and time.monotonic() < end:
        daemons.kill(pids, signal.SIGKILL)
        time.sleep(0.05)
    if pids:
        raise ClusterError(f"these processes of the cluster do not end: {sorted(pids)}")
    _remove_shim_sockets()
    unmount(RUN)
    unmount(CONTAINERD)
    cgroups.remove()
    network.remove()
    for result in Path("/var/lib/cni/results").glob(f"{components.CNI_NETWORK}-*"):
        result.unlink()
    for link in Path("/var/log/containers").glob("*"):
        if link.is_symlink() and link.readlink().is_relative_to(RUN):
            link.unlink()
    KUBECONFIG.unlink(missing_ok=True)
    _throw_away(RUN)
    say("the cluster is down")


def _refuse_what_cannot_work() -> None:
    if platform.system() != "Linux" or platform.machine() not in archive.ARCHITECTURES:
        raise ClusterError("the local cluster needs Docker on this system: start it and try again")
    if os.geteuid() != 0:
        raise ClusterError("without Docker the local cluster needs root: start Docker, or run this as root")
    if owner := network.other_owner():
        raise ClusterError(f"the cluster of {owner} is running; stop it with RETUNE_CACHE={owner} make down")
    if len(str(CACHE)) > LONGEST_CACHE:
        raise ClusterError(f"{CACHE} is too long for the paths of sockets: set RETUNE_CACHE to a shorter one")


def _build_pause() -> None:
    """The image every pod's sandbox runs."""
    if PAUSE.exists():
        return
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        logged(["gcc", "-Os", "-static", "-s", "-o", f"{work}/pause", PAUSE_SOURCE], LOG / "build-pause.log")
        archive.write(components.PAUSE_IMAGE, Path(work), PAUSE, ["/pause"])


def _start() -> None:
    RUN.mkdir(parents=True)
    components.write()
    network.create()
    cgroups.create()
    _daemon("etcd", components.etcd())
    keys.create()
    _daemon("kube-apiserver", components.kube_apiserver())
    containerd.sweep()
    containerd.run("containerd.toml")
    if components.PAUSE_IMAGE not in containerd.images():
        containerd.import_archive(PAUSE)
    _wait("kube-apiserver", 60, lambda: succeeds(_kubectl("get", "--raw", "/readyz")))
    for name, arguments in components.node().items():
        _daemon(name, arguments)
    _wait("kube-proxy", 60, lambda: _in_netns(components.PROXY_HEALTH))
    _wait("coredns", 60, lambda: _in_netns(components.DNS_HEALTH))
    _wait("kube-controller-manager", 60, lambda: succeeds(_kubectl("get", "serviceaccount", "default")))
    _wait("kubelet", 60, _node_ready)
    READY.touch()


def _daemon(name: str, arguments: list[str]) -> None:
    daemons.start(name, [binaries.path(name), *arguments])


def _kubectl(*arguments: str) -> list[str | Path]:
    return [binaries.path("kubectl"), "--kubeconfig", KUBECONFIG, *arguments]


def _node_ready() -> bool:
    return succeeds(_kubectl("wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=1s"))


def _in_netns(url: str) -> bool:
    """Whether a health address inside the network namespace answers well."""
    return succeeds([*network.ENTER, "curl", "-fs", url])


def _wait(name: str, seconds: float, ready: Callable[[], bool]) -> None:
    end = time.monotonic() + seconds
    while not ready():
        if name in daemons.dead() or time.monotonic() > end:
            log = daemons.LOGS / f"{name}.log"
            raise ClusterError(f"{name} does not get ready; its log is kept in {LOG / 'last'}:\n{tail(log)}")
        time.sleep(0.1)


def _keep_logs() -> None:
    """The components' logs outlive the cluster by one, for who wants to know why it ended."""
    if daemons.LOGS.exists():
        last = LOG / "last"
        shutil.rmtree(last, ignore_errors=True)
        last.parent.mkdir(parents=True, exist_ok=True)
        daemons.LOGS.replace(last)


def _remove_shim_sockets() -> None:
    """A shim's socket lies outside our folder, where containerd puts the shims of everyone; ours are on record."""
    for record in RUN.glob("containerd-state/io.containerd.runtime.v2.task/*/*/bootstrap.json"):
        try:
            address = str(json.loads(record.read_text())["address"])
        except (OSError, ValueError, KeyError):
            continue
        Path(address.removeprefix("unix://")).unlink(missing_ok=True)


def _throw_away(folder: Path) -> None:
    """Deletes a folder in the background: it is out of the way at once, whatever its size."""
    if folder.exists():
        folder.replace(CACHE / f"trash.{os.getpid()}.{time.monotonic_ns()}")
    if trash := list(CACHE.glob("trash.*")):
        subprocess.Popen(
            ["rm", "-rf", *trash],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
