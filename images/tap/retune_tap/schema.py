"""Whether an answer's text is JSON of a schema. Fetches nothing: a schema that refers elsewhere is no schema here."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]
from referencing import Registry


class SchemaError(Exception):
    """This is no JSON schema."""


class Schema:
    """A JSON schema, ready to be asked."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raise SchemaError if it is none."""
        try:
            kind = validator_for(schema, default=jsonschema.Draft202012Validator)
            kind.check_schema(schema)
        except Exception:  # noqa: BLE001 - a `$schema` that is no text fails in the library's own ways
            raise SchemaError from None
        # Without a registry of its own the library would fetch what `$ref` names.
        self._validator = kind(schema, registry=Registry())

    def holds(self, text: str) -> bool:
        """Whether the text is JSON of this schema."""
        try:
            return bool(self._validator.is_valid(json.loads(text)))
        except Exception:  # noqa: BLE001 - a model can write numbers that the library's arithmetic ends on
            return False
