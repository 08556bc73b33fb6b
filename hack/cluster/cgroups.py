"""The cgroup of all pods: how `down` finds containers, which have network namespaces of their own."""

import os
from contextlib import suppress
from pathlib import Path

from hack.cluster.settings import CGROUP

MOUNT = Path("/sys/fs/cgroup")


def _roots() -> list[Path]:
    """Our folder in each hierarchy: one on cgroup v2, one per controller on v1."""
    if (MOUNT / "cgroup.controllers").exists():
        return [MOUNT / CGROUP]
    return [folder / CGROUP for folder in MOUNT.iterdir() if folder.is_dir() and not folder.is_symlink()]


def create() -> None:
    """Makes it in every hierarchy; the kubelet insists that its root exists, with all the controllers that it uses."""
    if (MOUNT / "cgroup.controllers").exists():
        for controller in (MOUNT / "cgroup.controllers").read_text().split():
            with suppress(OSError):  # the kubelet does not need all that there are, and says which one it misses
                (MOUNT / "cgroup.subtree_control").write_text(f"+{controller}")
    for root in _roots():
        root.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            # cgroup v1 gives a new cpuset no processors at all, and then refuses every process.
            if (root / setting).exists() and (root.parent / setting).exists():
                (root / setting).write_text((root.parent / setting).read_text())


def pids() -> set[int]:
    """Every process of every pod."""
    found: set[int] = set()
    for root in _roots():
        for folder, _, files in os.walk(root):
            if "cgroup.procs" in files:
                try:
                    found.update(int(pid) for pid in (Path(folder) / "cgroup.procs").read_text().split())
                except OSError:
                    continue  # the pod ended while we looked
    return found


def remove() -> None:
    """Removes the folders, inner ones first."""
    for root in _roots():
        for folder, _, _ in os.walk(root, topdown=False):
            try:
                Path(folder).rmdir()
            except OSError:
                continue  # the kernel still counts a process that is going; `create` finds the folder again
