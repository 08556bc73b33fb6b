"""How far the training set's classes are from production's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def divergence(expected: Mapping[str, float], found: Mapping[str, float]) -> float:
    """The total variation distance of two distributions: half the sum of absolute differences, from 0 to 1.

    Args:
        expected: shares by class; divided by their sum, which may be a little off 1.
        found: shares or counts by class.
    """
    wanted, had = _shares(expected), _shares(found)
    return sum(abs(wanted.get(name, 0.0) - had.get(name, 0.0)) for name in {*wanted, *had}) / 2


def _shares(counts: Mapping[str, float]) -> dict[str, float]:
    total = sum(counts.values())
    return {name: count / total for name, count in counts.items()} if total else {}


class Classes:
    """Gives every value of a column a number: those expected from 0 on, all others the one after."""

    OTHER = "(other)"

    def __init__(self, expected: Mapping[str, float]) -> None:
        """`expected` has at most 64 classes."""
        self._expected = dict(expected)
        self._numbers = {name: number for number, name in enumerate(expected)}

    def number(self, value: object) -> int:
        """The class of a row."""
        text = value.strip() if isinstance(value, str) else str(value)
        return self._numbers.get(text, len(self._numbers))

    def compare(self, counts: Sequence[int]) -> tuple[float, dict[str, dict[str, float]]]:
        """The divergence, and each class's share as expected and as found; `counts` are by number."""
        found = dict(zip([*self._numbers, self.OTHER], (float(count) for count in counts), strict=True))
        wanted, had = _shares(self._expected), _shares(found)
        shares = {
            name: {"expected": round(wanted.get(name, 0.0), 6), "found": round(share, 6)} for name, share in had.items()
        }
        if not counts[-1]:
            shares.pop(self.OTHER, None)
        return divergence(self._expected, found), shares
