"""The ways a pod can end other than well, whatever it was for, each with its exit code.

Knows nothing of stores, files or models: a leaf that everything else may import.
"""

from __future__ import annotations


class PodError(Exception):
    """An end of the pod that the operator must be able to tell from a crash."""

    exit_code = 1
    outcome = "Failed"

    def __init__(self, reason: str, field: str | None, message: str) -> None:
        """Keep what the termination message says: `reason` in PascalCase, `field` as a path into the spec."""
        super().__init__(message)
        self.reason = reason
        self.field = field
        self.message = message


class InputError(PodError):
    """What the user gave is wrong; trying again cannot help."""

    exit_code = 64


class StoreError(PodError):
    """A store or endpoint did not answer; trying again may help."""

    exit_code = 65

    def __init__(self, field: str | None, message: str) -> None:
        """Every such end has the reason `StoreUnreachable`."""
        super().__init__("StoreUnreachable", field, message)


class NotFoundError(Exception):
    """A store has no such object. Whoever asked knows which reason that is to the user."""

    def __init__(self, uri: str, detail: str = "") -> None:
        """Name the object by its full address."""
        super().__init__(f"{uri} does not exist" + (f" ({detail})" if detail else ""))
        self.uri = uri
