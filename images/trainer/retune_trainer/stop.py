"""SIGTERM: while steps are made, a request to checkpoint and stop; at any other time, an end at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from retune_trainer.errors import InterruptedByOrderError


class Stop:
    """Whether an end was asked for."""

    def __init__(self) -> None:
        """Not yet."""
        self.requested = False
        self._patient = False

    def install(self) -> None:
        """Handle SIGTERM from now on. PID 1 of a pod has no default handler that would end it."""
        signal.signal(signal.SIGTERM, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
        if not self._patient:
            self.check()

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Within, nothing is raised: who looks at `requested` after each step ends in good order."""
        self.check()
        self._patient = True
        try:
            yield
        finally:
            self._patient = False

    def check(self) -> None:
        """Raise if an end was asked for: some library may have swallowed the handler's own exception."""
        if self.requested:
            raise InterruptedByOrderError("stopped by SIGTERM; what was learned lies in the newest checkpoint")
