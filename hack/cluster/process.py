"""Running other programs: with their output kept in a file, or as an answer."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class ClusterError(Exception):
    """Something a person can act on; the message says what."""


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, indented."""
    if not log.exists():
        return ""
    return "\n".join(f"    {line}" for line in log.read_text(errors="replace").splitlines()[-lines:])


def logged(
    command: Sequence[str | Path], log: Path, *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> None:
    """Runs a command with its output in `log`.

    Raises:
        ClusterError: it failed; the message has the log's path and last lines.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        out.write(f"$ {' '.join(map(str, command))}\n")
        out.flush()
        code = subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
            cwd=cwd,
        ).returncode
    if code:
        raise ClusterError(f"`{Path(command[0]).name}` ended with {code}; all of its output is in {log}:\n{tail(log)}")


def output(command: Sequence[str | Path], *, stdin: str | None = None, env: Mapping[str, str] | None = None) -> str:
    """What a command prints.

    Raises:
        ClusterError: it failed; the message has what it said.
    """
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, input=stdin or "", env={**os.environ, **(env or {})}
    )
    if done.returncode:
        raise ClusterError(f"`{' '.join(map(str, command))}` ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def succeeds(command: Sequence[str | Path], *, seconds: float = 10) -> bool:
    """Whether a command ends well within the time."""
    try:
        return not subprocess.run(
            command,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=seconds,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False
