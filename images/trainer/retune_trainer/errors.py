"""The ways a pod of a run can end that no other pod knows; the rest are in `retune_stores.errors`."""

from __future__ import annotations

from retune_stores.errors import PodError


class SupersededError(PodError):
    """A newer attempt has taken over; this one must not write anything more."""

    exit_code = 70
    outcome = "Superseded"

    def __init__(self, attempt: int, newer: int) -> None:
        """Name both attempts."""
        super().__init__("Superseded", None, f"attempt {newer} has taken over from attempt {attempt}")


class InterruptedByOrderError(PodError):
    """SIGTERM came; what was learned so far lies in a checkpoint."""

    exit_code = 75
    outcome = "Interrupted"

    def __init__(self, message: str) -> None:
        """Say what was saved."""
        super().__init__("Interrupted", None, message)
