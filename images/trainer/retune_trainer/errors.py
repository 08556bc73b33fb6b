"""The ways a pod of a run can end other than well, each with its exit code.

Knows nothing of stores, files or models: a leaf that everything else may import.
"""

from __future__ import annotations


class TrainerError(Exception):
    """An end of the pod that the operator must be able to tell from a crash."""

    exit_code = 1
    outcome = "Failed"

    def __init__(self, reason: str, field: str | None, message: str) -> None:
        """Keep what the termination message says: `reason` in PascalCase, `field` as a path into the spec."""
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.message = message


class InputError(TrainerError):
    """What the user gave is wrong; trying again cannot help."""

    exit_code = 64


class StoreError(TrainerError):
    """A store or endpoint did not answer; trying again may help."""

    exit_code = 65

    def __init__(self, field: str | None, message: str) -> None:
        """Every such end has the reason `StoreUnreachable`."""
        super().__init__("StoreUnreachable", field, message)


class SupersededError(TrainerError):
    """A newer attempt has taken over; this one must not write anything more."""

    exit_code = 70
    outcome = "Superseded"

    def __init__(self, attempt: int, newer: int) -> None:
        """Name both attempts."""
        super().__init__("Superseded", None, f"attempt {newer} has taken over from attempt {attempt}")


class InterruptedByOrderError(TrainerError):
    """SIGTERM came; what was learned so far lies in a checkpoint."""

    exit_code = 75
    outcome = "Interrupted"

    def __init__(self, message: str) -> None:
        """Say what was saved."""
        super().__init__("Interrupted", None, message)


class NotFoundError(Exception):
    """A store has no such object. Whoever asked knows which reason that is to the user."""

    def __init__(self, uri: str, detail: str = "") -> None:
        """Name the object by its full address."""
        super().__init__(f"{uri} does not exist" + (f" ({detail})" if detail else ""))
        self.uri = uri
