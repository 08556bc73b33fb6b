"""Where jobs and runs can stand."""

from __future__ import annotations

from enum import StrEnum


class JobPhase(StrEnum):
    """Where a job stands."""

    IDLE = "Idle"
    RUNNING = "Running"
    WAITING = "Waiting"
    SUSPENDED = "Suspended"
    HALTED = "Halted"
    INVALID = "Invalid"


class RunPhase(StrEnum):
    """Where a run stands, in the order of its life; the terminal phases last."""

    PENDING = "Pending"
    PREFLIGHT = "Preflight"
    AWAITING_APPROVAL = "AwaitingApproval"
    QUEUED = "Queued"
    TRAINING = "Training"
    EVALUATING = "Evaluating"
    LOADING = "Loading"
    SHADOW = "Shadow"
    PILOT = "Pilot"
    CANARY = "Canary"
    BAKING = "Baking"
    PROMOTED = "Promoted"
    DECLINED = "Declined"
    REJECTED = "Rejected"
    ROLLED_BACK = "RolledBack"
    INCONCLUSIVE = "Inconclusive"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended; it never leaves such a phase."""
        return self in TERMINAL_PHASES


TERMINAL_PHASES = frozenset(
    {
        RunPhase.PROMOTED,
        RunPhase.DECLINED,
        RunPhase.REJECTED,
        RunPhase.ROLLED_BACK,
        RunPhase.INCONCLUSIVE,
        RunPhase.FAILED,
        RunPhase.CANCELLED,
    }
)
