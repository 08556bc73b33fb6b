"""Processes that outlive the command that started them: started detached, known by pid file, ended by identity."""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from hack.cluster.network import ENTER
from hack.cluster.settings import RUN

PIDS = RUN / "pids"
LOGS = RUN / "log"


def _started(pid: int) -> str:
    """When the kernel started this pid: with the pid, an identity that no later process can have."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def _running(pid: int, started: str) -> bool:
    # A process that ended stays as a zombie for as long as its parent pleases: it has no program any more.
    return bool(started) and _started(pid) == started and _has_program(pid)


def _has_program(pid: int) -> bool:
    try:
        return bool(os.readlink(f"/proc/{pid}/exe"))  # noqa: PTH115 — Path.readlink would lose "(deleted)" programs
    except OSError:
        return False


def start(name: str, command: Sequence[str | Path]) -> None:
    """Starts a command in the node's network namespace, detached from the terminal, with its output in a log."""
    LOGS.mkdir(parents=True, exist_ok=True)
    PIDS.mkdir(parents=True, exist_ok=True)
    with (LOGS / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [*ENTER, *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=RUN,
            # containerd finds its shim on the PATH: the one built with it must come first.
            env={**os.environ, "PATH": f"{Path(command[0]).parent}:{os.environ['PATH']}"},
        )
    (PIDS / f"{name}.pid").write_text(f"{process.pid} {_started(process.pid)}\n")


def identities() -> dict[str, tuple[int, str]]:
    """Name → pid and start time of everything started and not yet forgotten."""
    found = {}
    for file in PIDS.glob("*.pid"):
        words = file.read_text().split()
        if len(words) == 2:
            found[file.stem] = (int(words[0]), words[1])
    return found


def dead() -> list[str]:
    """Names of what was started and runs no more."""
    return sorted(name for name, who in identities().items() if not _running(*who))


def stop(name: str, seconds: float = 5) -> None:
    """Ends one process and waits until it is gone."""
    who = identities().get(name)
    (PIDS / f"{name}.pid").unlink(missing_ok=True)
    if who is None:
        return
    kill({who[0]} if _running(*who) else set(), signal.SIGTERM)
    end = time.monotonic() + seconds
    while _running(*who) and time.monotonic() < end:
        time.sleep(0.02)
    kill({who[0]} if _running(*who) else set(), signal.SIGKILL)


def ours() -> set[int]:
    """Pids of everything started that still runs."""
    return {who[0] for who in identities().values() if _running(*who)}


def kill(pids: set[int], sig: signal.Signals = signal.SIGKILL) -> None:
    """Sends a signal; who is gone already is fine."""
    for pid in pids:
        try:
            os.kill(pid, sig)
        except ProcessLookupError:
            continue
