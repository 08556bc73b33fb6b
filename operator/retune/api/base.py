"""What every model of the API is made of: the base classes and the marks that only Kubernetes understands.

Knows pydantic and nothing else; no I/O, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel

if TYPE_CHECKING:  # a tenth of the import time
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

GROUP = "retune.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "retune"


@dataclass(frozen=True)
class Rule:
    """One CEL validation: what must hold (over `self`), and what to write instead when it does not.

    `field` is the field at fault below the place where the rule stands, such as `.httpRoute`. `told` is the message as
    CEL that can quote the value; `message` stands where it cannot be worked out.
    """

    rule: str
    message: str
    field: str = ""
    told: str = ""

    def to_schema(self) -> dict[str, str]:
        """Shape it as an entry of `x-kubernetes-validations`."""
        entry = {"rule": self.rule, "message": self.message, "messageExpression": self.told, "fieldPath": self.field}
        return {key: text for key, text in entry.items() if text}


@dataclass(frozen=True, eq=False)  # told apart by identity: a type's annotations are hashed, mappings cannot be
class Kube:
    """Adds keys that only Kubernetes knows to the schema of an annotated type."""

    extra: Mapping[str, Any]

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the keys to what pydantic made of the type."""
        return {**handler(core_schema), **self.extra}


def checked(*rules: Rule) -> Kube:
    """Put CEL rules on one value, so that the error carries the path of that value."""
    return Kube({"x-kubernetes-validations": [rule.to_schema() for rule in rules]})


def keyed(*keys: str) -> Kube:
    """Mark a list whose items are known by `keys`: no two alike, and appliers can each own their items."""
    return Kube({"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)})


UNIQUE = Kube({"x-kubernetes-list-type": "set"})
WHOLE = Kube({"x-kubernetes-list-type": "atomic"})


class Model(BaseModel):
    """A part of a spec: snake_case here, camelCase in YAML, never changed, unknown fields refused."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True)

    RULES: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the class's CEL rules to its schema."""
        schema = handler.resolve_ref_schema(handler(core_schema))
        if cls.RULES:
            schema["x-kubernetes-validations"] = [rule.to_schema() for rule in cls.RULES]
        return schema


class StatusModel(Model):
    """A part of a status: as `Model`, but an older operator reads what a newer one wrote."""

    model_config = ConfigDict(extra="ignore")
