"""The few pod fields that a user may set, the same for training and serving.

Nothing else of a pod can be set: a FineTuneJob must not let its author do what they could not do alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from retune.api.base import WHOLE, Model, Rule, checked, keyed
from retune.api.quantity import ObjectName, ResourceQuantity, shaped

_QUALIFIED = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
_LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"

_KEYS = Rule(
    f"self.all(key, size(key) <= 317 && key.matches(r'{_QUALIFIED}'))",
    "write each key as NAME or DOMAIN/NAME, of letters, digits, dashes, underscores and dots",
)
_OURS = Rule(
    "self.all(key, !key.startsWith('retune.dev/'))", "keys under retune.dev/ are the operator's; choose another"
)

LabelValue = Annotated[
    str,
    Field(pattern=_LABEL_VALUE, max_length=63),
    checked(shaped(_LABEL_VALUE, "use letters, digits, dashes, underscores and dots, at most 63")),
]
Quantities = Annotated[Mapping[str, ResourceQuantity], Field(max_length=16), checked(_KEYS)]
Labels = Annotated[Mapping[str, LabelValue], Field(max_length=32)]


class Resources(Model):
    """What a container asks for and may use."""

    RULES: ClassVar = (
        Rule(
            "!has(self.requests) || !has(self.limits) || self.requests.all(key, !(key in self.limits) || "
            "quantity(string(self.requests[key])).compareTo(quantity(string(self.limits[key]))) <= 0)",
            "resources.requests must not be above resources.limits; lower the request or raise the limit",
            ".requests",
        ),
    )

    requests: Quantities | None = Field(None, description="What the container asks for, such as cpu and memory.")
    limits: Quantities | None = Field(None, description="What the container may use at most.")


class Toleration(Model):
    """A taint that the pods tolerate."""

    RULES: ClassVar = (
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value) || self.value == ''",
            "a toleration with operator Exists has no value; remove value or use operator Equal",
            ".value",
        ),
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "a toleration without key tolerates everything and needs operator Exists; set key or operator",
            ".key",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds counts for effect NoExecute only; set that effect or remove tolerationSeconds",
            ".tolerationSeconds",
        ),
    )

    key: Annotated[str, Field(min_length=1, max_length=317)] | None = Field(None, description="Key of the taint.")
    operator: Literal["Exists", "Equal"] | None = Field(None, description="Exists or Equal (as Kubernetes, Equal).")
    value: Annotated[str, Field(max_length=63)] | None = Field(None, description="Value of the taint, for Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        None, description="Effect of the taint; absent: all effects."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=31_536_000)] | None = Field(
        None, description="How long NoExecute is tolerated, in seconds; absent: for ever."
    )


class PodMetadata(Model):
    """Labels and annotations of the pods."""

    labels: Annotated[Labels, checked(_KEYS, _OURS)] | None = Field(None, description="Labels added to the pods.")
    annotations: (
        Annotated[Mapping[str, Annotated[str, Field(max_length=1024)]], Field(max_length=32), checked(_KEYS, _OURS)]
        | None
    ) = Field(None, description="Annotations added to the pods.")


class ImagePullSecret(Model):
    """A Secret that opens an image registry."""

    name: ObjectName = Field(description="Name of a Secret in the job's namespace.")


class PodFields(Model):
    """The pod fields that a user may set."""

    resources: Resources | None = Field(None, description="What the container asks for and may use.")
    node_selector: Annotated[Labels, checked(_KEYS)] | None = Field(None, description="Labels a node must have.")
    tolerations: Annotated[tuple[Toleration, ...], Field(max_length=16), WHOLE] = Field(
        (), description="Taints that the pods tolerate."
    )
    priority_class_name: ObjectName | None = Field(None, description="PriorityClass of the pods.")
    pod_metadata: PodMetadata | None = Field(None, description="Labels and annotations of the pods.")
    service_account_name: ObjectName | None = Field(
        None, description='ServiceAccount of the pods; it must carry the label retune.dev/usable: "true".'
    )
    image_pull_secrets: Annotated[tuple[ImagePullSecret, ...], Field(max_length=8), keyed("name")] = Field(
        (), description="Secrets that open image registries."
    )
