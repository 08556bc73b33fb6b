"""Debian packages the node and the image builds stand on."""

import os
import shutil
from collections.abc import Sequence

from hack.cluster.process import ClusterError, logged, succeeds
from hack.cluster.progress import step
from hack.cluster.settings import LOG

NODE = ("runc", "containernetworking-plugins", "iptables", "conntrack", "iproute2", "openssl", "curl")
BUILD = ("buildah", "debootstrap", "gcc", "libc6-dev", "ca-certificates")


def ensure(packages: Sequence[str]) -> None:
    """Installs those that are missing.

    Raises:
        ClusterError: some are missing and this is no Debian, or not root.
    """
    if not shutil.which("dpkg"):
        raise ClusterError("without Docker the local cluster needs Debian: start Docker, or run this on Debian as root")
    missing = [package for package in packages if not succeeds(["dpkg", "-s", package])]
    if not missing:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"as root: apt-get install {' '.join(missing)}")
    with step(f"installing {' '.join(missing)}", about=20):
        logged(["apt-get", "update", "-q"], LOG / "apt-update.log")
        logged(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing],
            LOG / "apt-install.log",
            env={"DEBIAN_FRONTEND": "noninteractive"},
        )
