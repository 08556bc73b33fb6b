"""From a pydantic model to a structural schema as Kubernetes wants it.

Pure. Kubernetes knows a part of JSON Schema only: no references, no titles, no `anyOf` for "or null".
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

Schema = dict[str, Any]

_RULES = "x-kubernetes-validations"
# `additionalProperties: false` is what a structural schema does by itself (it prunes, or refuses when asked to).
_LEFT_OUT = {
    *("$defs", "title", "default", "propertyNames", "additionalProperties", "exclusiveMinimum", "exclusiveMaximum"),
}


def structural(model: type[BaseModel], *, snapshot: bool = False) -> Schema:
    """Structural schema of `model`, with everything inlined.

    A `snapshot` gets neither defaults nor the rules of the models inside it: it holds what was decided when it was
    made, and neither a new default nor a rule that was tightened later may change it or make it unwritable.
    """
    raw = model.model_json_schema(by_alias=True, mode="validation")
    schema = _clean(raw, raw.get("$defs", {}), rules=not snapshot)
    if snapshot and _RULES in raw:
        schema[_RULES] = raw[_RULES]
    _add_defaults(model, schema, keys_only=snapshot)
    return schema


def _clean(raw: Mapping[str, Any], definitions: Mapping[str, Any], *, rules: bool) -> Schema:
    """One node without references, nulls, titles, and what structural schemas forbid."""
    flat = _flat(raw, definitions)
    schema = {key: value for key, value in flat.items() if key not in _LEFT_OUT and (rules or key != _RULES)}
    for bound in ("minimum", "maximum"):  # exclusive is a flag beside the bound, as in OpenAPI v3.0
        exclusive = f"exclusive{bound.capitalize()}"
        if exclusive in flat:
            schema |= {bound: flat[exclusive], exclusive: True}
    if "properties" in flat:
        schema["properties"] = {name: _clean(one, definitions, rules=rules) for name, one in flat["properties"].items()}
    if "items" in flat:
        schema["items"] = _clean(flat["items"], definitions, rules=rules)
    if isinstance(flat.get("additionalProperties"), Mapping):
        schema["additionalProperties"] = _clean(flat["additionalProperties"], definitions, rules=rules)
    if schema.get("type") == "integer":
        schema["format"] = "int64"
    # Owned as one by whoever applies it: half of a small block means nothing, and managedFields stay small.
    if schema.get("x-kubernetes-list-type") == "map":
        schema["items"]["x-kubernetes-map-type"] = "atomic"
    if _is_leaf(schema):
        schema["x-kubernetes-map-type"] = "atomic"
    return schema


def _flat(raw: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    """Put what a node refers to in its place; what stands beside the reference goes first."""
    if "$ref" in raw:
        beside = {key: value for key, value in raw.items() if key != "$ref"}
        return _flat({**definitions[raw["$ref"].rsplit("/", 1)[1]], **beside}, definitions)
    if "anyOf" in raw:
        # The API server drops a null where none is allowed, so that "X or null" is X.
        (branch,) = (one for one in raw["anyOf"] if one.get("type") != "null")
        beside = {key: value for key, value in raw.items() if key != "anyOf"}
        return _flat({**branch, **beside}, definitions)
    return raw


def _is_leaf(schema: Schema) -> bool:
    """Whether this is a block without further blocks inside."""
    inside = schema.get("properties", {}).values()
    return bool(inside) and not any(one.get("type") == "object" for one in inside)


def _add_defaults(model: type[BaseModel], schema: Schema, *, keys_only: bool, keys: tuple[str, ...] = ()) -> None:
    """Put the models' defaults into the schema; what is empty is the same absent, and gets none.

    With `keys_only`, only into the `keys` of lists that are maps, which must have a value.
    """
    for name, field in model.model_fields.items():
        shown = field.alias or name
        node = schema["properties"][shown]
        if (inner := _model_in(field.annotation)) is not None:
            below = node.get("items", node.get("additionalProperties", node))
            _add_defaults(inner, below, keys_only=keys_only, keys=tuple(node.get("x-kubernetes-list-map-keys", ())))
        if (default := _default(field)) is not None and (not keys_only or shown in keys):
            node["default"] = default


def _default(field: FieldInfo) -> object:
    value = field.get_default(call_default_factory=True, validated_data={})
    return None if value is PydanticUndefined else _plain(value)


def _plain(value: object) -> object:
    """Show a default as YAML shows it, every nested default with it: CEL looks at it as it stands."""
    match value:
        case None | () | "":
            return None
        case BaseModel():
            fields = type(value).model_fields.items()
            shown = {field.alias or name: _plain(getattr(value, name)) for name, field in fields}
            return {name: one for name, one in shown.items() if one is not None}
        case tuple():
            return [_plain(one) for one in value]
        case StrEnum():
            return value.value
        case _:
            return value


def _model_in(annotation: object) -> type[BaseModel] | None:
    """The model that an annotation such as `tuple[Step, ...]` or `Serving | None` is about, if any."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for one in get_args(annotation) if (found := _model_in(one)) is not None), None)
