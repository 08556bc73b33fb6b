"""Where promtool is, which checks and tests the alerts; `python -m hack.dashboards.promtool` fetches it where it can.

It is looked for in RETUNE_ASSETS, on the PATH and in the cache folder. Fetched, it comes out of Debian's package of
Prometheus, which is unpacked and not installed: installing it would start a server.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.cluster.process import ClusterError, logged  # noqa: E402 - found only through the line above
from hack.cluster.settings import BIN, LOG  # noqa: E402


def path() -> Path | None:
    """The program, if it is there."""
    own = Path(os.environ.get("RETUNE_ASSETS") or os.devnull) / "promtool"
    onpath = shutil.which("promtool")
    candidates = [own, *([Path(onpath)] if onpath else []), BIN / "promtool"]
    return next((found for found in candidates if found.is_file()), None)


def fetch() -> Path:
    """The program, fetched into the cache folder if it is not there; takes some 20 MB and as many seconds.

    Raises:
        ClusterError: this is no Debian, or the package cannot be had.
    """
    known = path()
    if known is not None:
        return known
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise ClusterError("promtool is not there: put it on the PATH; it is part of Prometheus")
    BIN.mkdir(parents=True, exist_ok=True)
    LOG.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        if os.geteuid() == 0:
            logged(["apt-get", "update", "-q"], LOG / "apt-update.log")
        logged(
            ["apt-get", "-q", "-o", f"Dir::Cache::archives={folder}", "download", "prometheus"],
            LOG / "promtool.log",
            cwd=Path(folder),
        )
        package = next(Path(folder).glob("prometheus_*.deb"))
        logged(["dpkg", "-x", str(package), f"{folder}/files"], LOG / "promtool.log")
        shutil.copy2(f"{folder}/files/usr/bin/promtool", BIN / ".promtool")
    (BIN / ".promtool").replace(BIN / "promtool")  # complete from the first moment that it has its name
    return BIN / "promtool"


if __name__ == "__main__":
    try:
        print(fetch())
    except ClusterError as error:
        sys.exit(str(error))
