"""Building the images behind the first tiers, at low priority: on a cold machine they take minutes."""

import os
import signal
import subprocess
from collections.abc import Sequence

from hack.cluster.process import ClusterError, tail
from hack.cluster.progress import step
from hack.cluster.settings import LOG


class ImageBuild:
    """A command in the background, with its output in a log."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._log = LOG / "images.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, in a session of its own: it is ended as a whole."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("wb") as log:
            command = ["nice", "-n", "19", *self._command]
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def finish(self) -> None:
        """Waits for its end.

        Raises:
            ClusterError: it failed.
        """
        if self._process is None:
            return
        with step("the images that are being built in the background", about=300):
            code = self._process.wait()
        self._process = None
        if code:
            raise ClusterError(f"building the images failed; all output is in {self._log}:\n{tail(self._log)}")

    def stop(self) -> None:
        """Ends it, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGINT)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
