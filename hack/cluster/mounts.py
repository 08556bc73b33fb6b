"""Mounts that containers, builds and debootstrap leave behind when they are killed."""

from pathlib import Path

from hack.cluster.process import ClusterError, succeeds


def unmount(folder: Path) -> None:
    """Undoes every mount under a folder.

    Raises:
        ClusterError: one stays; deleting the folder would then delete what is mounted there.
    """

    def mounts() -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [path for path in (line.split()[4] for line in lines) if path.startswith(f"{folder}/")]

    for path in sorted(mounts(), reverse=True):
        succeeds(["umount", "--lazy", path])
    if left := mounts():
        raise ClusterError(f"still mounted: {' '.join(left)}")
