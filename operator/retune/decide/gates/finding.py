"""What all gates share: the numbers they are given, and how findings become a verdict."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retune.api import Gate, GateMode, GateResult, GateVerdict

NOTE_LIMIT = 300  # characters of a pod's own words
REASON_LIMIT = 1024  # characters that the status can hold


@dataclass(frozen=True)
class Measured:
    """What the preflight pod measured: numbers by gate and name, and notes by gate."""

    numbers: Mapping[str, Mapping[str, float]]
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, result: Mapping[str, Any]) -> "Measured":
        """Take them from a termination message.

        Raises:
            ValueError, TypeError, AttributeError: it is not of the contract's shape.
        """
        numbers = {
            str(gate): {str(name): float(value) for name, value in values.items()}
            for gate, values in (result.get("measured") or {}).items()
        }
        notes = {str(gate): str(text)[:NOTE_LIMIT] for gate, text in (result.get("notes") or {}).items()}
        return cls(numbers, notes)


@dataclass(frozen=True)
class Finding:
    """Something that is not as it must be: what, against which field, and what to do about it."""

    what: str
    advice: str


def conclude(
    name: str, gate: Gate, findings: Sequence[Finding], said: str, values: Mapping[str, float] | None = None
) -> GateResult:
    """The verdict: Passed with what is `said`, else Failed or, in mode Warn, Warned with all that was found."""
    if not findings:
        return GateResult(name=name, verdict=GateVerdict.PASSED, reason=said, values=values)
    return GateResult(
        name=name,
        verdict=GateVerdict.WARNED if gate.mode is GateMode.WARN else GateVerdict.FAILED,
        reason=" ".join(f.what for f in findings)[:REASON_LIMIT],
        advice=findings[0].advice,  # one sentence: the first thing to do
        values=values,
    )


def skipped(name: str, why: str) -> GateResult:
    """The gate has not been asked."""
    return GateResult(name=name, verdict=GateVerdict.SKIPPED, reason=why)


def numbers_of(name: str, gate: Gate, measured: Measured) -> Mapping[str, float] | GateResult:
    """The numbers of a gate that is on, or its result when there are none to judge."""
    if gate.mode is GateMode.OFF:
        return skipped(name, f"spec.gates.{name}.mode is Off.")
    numbers = measured.numbers.get(name)
    if numbers is None:
        # A foreign trainer image that does not measure must not be a way around a gate.
        unmeasured = Finding(
            "The preflight pod did not measure it.",
            f"Use the operator's own trainer (leave spec.training.image empty), or set spec.gates.{name}.mode to Off.",
        )
        return conclude(name, gate, [unmeasured], "")
    return numbers


def count(number: float) -> str:
    """A whole number as people write it: 12,345."""
    return f"{number:,.0f}"


def share(number: float) -> str:
    """A fraction as percent, with as many digits as it takes to tell it from nothing."""
    return f"{number:.1%}" if number >= 0.001 or number == 0 else f"{number:.2g}"
