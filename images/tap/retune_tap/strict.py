"""Reads typed, bounded values out of JSON that another wrote, and names the first that is wrong.

Keys that are not asked for are passed over: a tap may be older than its operator, and must still take the document that
sets weight 0.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, TypeVar

from retune_tap.arms import ArmsError

T = TypeVar("T", bound=StrEnum)


class Reader:
    """Reads typed, bounded values out of a JSON object and names the path of the first that is wrong."""

    def __init__(self, value: object, path: str) -> None:
        if not isinstance(value, dict):
            raise ArmsError(400, f"{path or 'the payload'} is not an object")
        self._value = value
        self._path = path

    def _fail(self, key: str, problem: str) -> ArmsError:
        return ArmsError(400, f"{self._path}{'.' if self._path else ''}{key} {problem}")

    def has(self, key: str) -> bool:
        """Whether the key is there and not null."""
        return self._value.get(key) is not None

    def text(self, key: str, *, most: int = 2048, default: str | None = None) -> str:
        """A text of at most `most` characters."""
        value = self._value.get(key, default)
        if not isinstance(value, str) or len(value) > most:
            raise self._fail(key, f"is not a text of at most {most} characters")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """A finite number between `low` and `high`."""
        value = self._value.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - NaN
            raise self._fail(key, "is not a number")
        if not low <= value <= high:
            raise self._fail(key, f"is not between {low:g} and {high:g}")
        return float(value)

    def whole(self, key: str, low: int, high: int) -> int:
        """A whole number between `low` and `high`."""
        value = self._value.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._fail(key, f"is not a whole number between {low} and {high}")
        return value

    def choice(self, key: str, kind: type[T]) -> T:
        """One of an enum's values."""
        try:
            return kind(self.text(key))
        except ValueError:
            raise self._fail(key, f"is none of {', '.join(kind)}") from None

    def objects(self, key: str, most: int) -> list[Reader]:
        """A list of at most `most` objects; absent is empty."""
        value = self._value.get(key, [])
        if not isinstance(value, list) or len(value) > most:
            raise self._fail(key, f"is not a list of at most {most}")
        return [Reader(entry, self._at(f"{key}[{number}]")) for number, entry in enumerate(value)]

    def object(self, key: str) -> Reader:
        """An object."""
        return Reader(self._value.get(key), self._at(key))

    def keys(self, most: int) -> list[str]:
        """The object's own keys, at most `most`."""
        if len(self._value) > most or any(len(key) > 253 for key in self._value):
            raise self._fail("", f"has more than {most} entries, or one whose name is too long")
        return list(self._value)

    def mapping(self, key: str) -> dict[str, Any]:
        """An object as it is."""
        value = self._value.get(key)
        if not isinstance(value, dict):
            raise self._fail(key, "is not an object")
        return value

    def texts(self, key: str, most: int) -> frozenset[str]:
        """A list of at most `most` texts."""
        value = self._value.get(key)
        if not isinstance(value, list) or len(value) > most or not all(isinstance(v, str) for v in value):
            raise self._fail(key, f"is not a list of at most {most} texts")
        return frozenset(value)

    def _at(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path else key

    def filled(self, *keys: str) -> None:
        """Fail on the first of these texts that is empty."""
        for key in keys:
            if not self.text(key, default=""):
                raise self._fail(key, "is empty")

    def only(self, key: str, value: str) -> None:
        """Fail when a text is another one."""
        self.among(key, value)

    def among(self, key: str, *values: str) -> None:
        """Fail when a text is none of these."""
        if self.text(key) not in values:
            raise self._fail(key, f"is not {' or '.join(values)}")
