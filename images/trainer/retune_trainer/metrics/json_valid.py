"""JsonValid: the answer is JSON, and nothing but JSON, and meets the schema.

A schema comes from the user and an answer from a model, so neither is trusted: nothing is fetched for a `$ref`, and an
answer that takes too long to hold against the schema (patterns can take for ever) counts as not valid.
"""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from jsonschema import Draft202012Validator, SchemaError  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable

from retune_stores.errors import InputError

FIELD = "spec.evaluation.metrics"
DEEPEST = 32
# For one answer; and how many may take longer before the schema is to blame.
SECONDS, SLOW_ANSWERS = 0.5, 20


class _TooSlowError(Exception):
    pass


@contextmanager
def _within(seconds: float) -> Iterator[None]:
    """Raise _TooSlowError when the time is up. Python looks at signals even within a regular expression."""
    if threading.current_thread() is not threading.main_thread():
        # Signals reach the main thread only, and there is where a run evaluates.
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise _TooSlowError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _depth(value: object) -> int:
    deepest = 0
    waiting: list[tuple[object, int]] = [(value, 1)]
    while waiting:
        item, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(item, dict):
            waiting += [(each, depth + 1) for each in item.values()]
        elif isinstance(item, list):
            waiting += [(each, depth + 1) for each in item]
    return deepest


def _references(schema: object) -> Iterator[str]:
    """Every reference in a schema, wherever it stands."""
    waiting: list[object] = [schema]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += item.values()
            yield from (item[key] for key in ("$ref", "$dynamicRef") if isinstance(item.get(key), str))
        elif isinstance(item, list):
            waiting += item


class JsonValid:
    """Whether an answer meets one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Check the schema itself.

        Raises:
            InputError: it is no JSON Schema, or refers to anything outside of itself.
        """
        plain = dict(schema)
        outside = next((reference for reference in _references(plain) if not reference.startswith("#")), None)
        if outside is not None:
            message = f"the schema refers to {outside[:200]!r}; nothing is fetched: write it into the schema's $defs"
            raise InputError("SchemaInvalid", FIELD, message)
        kind = validator_for(plain, default=Draft202012Validator)
        try:
            with _within(10 * SECONDS):
                kind.check_schema(plain)
        except SchemaError as error:
            where = "/".join(str(part) for part in error.absolute_path)
            problem = f"{where}: {error.message}" if where else error.message
            raise InputError("SchemaInvalid", FIELD, f"the schema is no JSON Schema: {problem[:500]}") from None
        except (RecursionError, _TooSlowError):
            raise InputError("SchemaInvalid", FIELD, "the schema is nested too deeply; make it flatter") from None
        # A registry of its own: the default one fetches what it does not know.
        self._validator = kind(plain, registry=Registry())
        self._slow = 0

    def __call__(self, answer: str, reference: str) -> float:
        """1 or 0; the reference does not matter.

        Raises:
            InputError: too many answers took too long, or a `$ref` of the schema leads nowhere.
        """
        del reference
        try:
            value = json.loads(answer, parse_constant=_constant)
        except (ValueError, RecursionError):
            return 0.0
        if _depth(value) > DEEPEST:
            return 0.0
        try:
            with _within(SECONDS):
                return float(self._validator.is_valid(value))
        except (RecursionError, ArithmeticError, _TooSlowError):
            self._slow += 1
        except Unresolvable as error:
            raise InputError("SchemaInvalid", FIELD, f"the schema's $ref {error.ref[:200]!r} leads nowhere") from None
        if self._slow >= SLOW_ANSWERS:
            message = (
                f"{self._slow} answers took over {SECONDS} s each to check; simplify the schema's patterns and $refs"
            )
            raise InputError("SchemaTooSlow", FIELD, message)
        return 0.0
