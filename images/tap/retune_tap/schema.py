"""Whether an answer's text is JSON of a schema. Fetches nothing: a schema that refers elsewhere is no schema here."""

from __future__ import annotations

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
from jsonschema.validators import validator_for  # type: ignore[import-untyped]
from referencing import Registry
from referencing.exceptions import Unresolvable


class Schema:
    """A JSON schema, ready to be asked."""

    def __init__(self, schema: dict[str, Any]) -> None:
        """Raise jsonschema.SchemaError if it is none."""
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        kind.check_schema(schema)
        # Without a registry of its own the library would fetch what `$ref` names.
        self._validator = kind(schema, registry=Registry())

    def holds(self, text: str) -> bool:
        """Whether the text is JSON of this schema."""
        try:
            return bool(self._validator.is_valid(json.loads(text)))
        except (ValueError, RecursionError, Unresolvable):
            return False
