"""`python:3.13-slim` without a registry: Debian with Python, made by debootstrap, as BASE of every build."""

import hashlib
import shutil

from hack.cluster import archive, buildah
from hack.cluster.mounts import unmount
from hack.cluster.process import logged
from hack.cluster.progress import step
from hack.cluster.settings import BASE_IMAGE, CACHE, LOG, SUITE

REFERENCE = f"localhost/{BASE_IMAGE}"
PACKAGES = "python3,python3-pip,python3-venv,ca-certificates"
WASTE = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "dev")
RECIPE = hashlib.sha256(f"{SUITE} {PACKAGES} {WASTE}".encode()).hexdigest()[:12]
"""Part of the image's second name: a change of the recipe makes a new image."""


def ensure() -> str:
    """Makes the image if buildah has none of this recipe; returns its name."""
    named = f"localhost/retune/base:{RECIPE}"
    if not buildah.exists(named):
        with step("making the base image with debootstrap", about=60):
            _make(named)
    return named


def _make(named: str) -> None:
    work = CACHE / "base"
    # An interrupted debootstrap leaves /proc mounted in it.
    unmount(work)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rootfs = work / "rootfs"
    include = f"--include={PACKAGES}"
    logged(["debootstrap", "--variant=minbase", include, SUITE, rootfs], LOG / "debootstrap.log")
    for waste in WASTE:
        for path in (rootfs / waste).iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    archive.write(REFERENCE, rootfs, work / "base.tar")
    buildah.pull(work / "base.tar", REFERENCE, named)
    shutil.rmtree(work)
