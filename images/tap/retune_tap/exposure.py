"""What holds the candidate back here whatever the weight: not loaded, nobody watching, or enough served."""

from __future__ import annotations

from enum import StrEnum

from retune_tap.arms import Quota


class Held(StrEnum):
    """Why the candidate gets nothing although the document gives it a share."""

    NOT_READY = "NotReady"
    PATIENCE = "Patience"
    QUOTA = "Quota"


class Exposure:
    """What the candidate was given since the rollout's salt, and when somebody last asked for the state."""

    def __init__(self) -> None:
        self._salt: str | None = None
        self.requests = 0
        self.bad = 0

    def under(self, salt: str) -> None:
        """A document came into force: another salt is another rollout."""
        if salt != self._salt:
            self._salt, self.requests, self.bad = salt, 0, 0

    def gave(self) -> str:
        """The candidate was given a request; answers the rollout's salt, for `went_bad`."""
        self.requests += 1
        return self._salt or ""

    def went_bad(self, salt: str) -> None:
        """One of its requests went bad; those of an earlier rollout do not count any more."""
        if salt == self._salt:
            self.bad += 1

    def used_up(self, quota: Quota) -> bool:
        """Whether one of the limits is reached."""
        return (quota.requests is not None and self.requests >= quota.requests) or (
            quota.bad is not None and self.bad >= quota.bad
        )
