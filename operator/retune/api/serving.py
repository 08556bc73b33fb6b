"""How the model is served; without it a job trains and publishes only."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from retune.api.base import UNIQUE, WHOLE, Model, Rule, checked
from retune.api.pods import PodFields
from retune.api.quantity import HeaderName, Image, Label, ObjectName, shaped

_HOST = r"^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"


class ServingMode(StrEnum):
    """How a candidate stands beside stable."""

    ADAPTER = "Adapter"
    DEPLOYMENT = "Deployment"


class Initial(StrEnum):
    """What stable is until the first promotion."""

    BASE = "Base"
    ENDPOINT = "Endpoint"


class ParentRef(Model):
    """A Gateway that the route hangs on."""

    name: ObjectName = Field(description="Name of the Gateway.")
    namespace: Label | None = Field(None, description="Namespace of the Gateway; absent: the job's.")
    section_name: ObjectName | None = Field(None, description="Listener of the Gateway; absent: all.")


class HttpRoute(Model):
    """The HTTPRoute that splits traffic in mode Deployment."""

    parent_refs: Annotated[tuple[ParentRef, ...], Field(min_length=1, max_length=8), WHOLE] = Field(
        description="Gateways that the route hangs on."
    )
    hostnames: Annotated[
        tuple[
            Annotated[
                str,
                Field(pattern=_HOST, max_length=253),
                checked(shaped(_HOST, "write a host name in small letters, such as triage.example.com")),
            ],
            ...,
        ],
        Field(max_length=16),
        UNIQUE,
    ] = Field((), description="Host names the route answers to; absent: all of the Gateway's.")


class Corrections(Model):
    """Overridden answers become training data."""

    collect: bool = Field(False, description="Collect the answers that people overrode.")
    max_examples: int = Field(5000, ge=1, le=10_000_000, description="Most corrections kept.")


class Serving(PodFields):
    """How the model is served."""

    RULES: ClassVar = (
        Rule(
            "self.mode != 'Deployment' || has(self.httpRoute)",
            "serving.mode Deployment needs serving.httpRoute; name the Gateway and the hosts",
            ".httpRoute",
        ),
        Rule(
            "!has(self.stickyHeader) || !has(self.optOutHeader) || "
            "self.stickyHeader.lowerAscii() != self.optOutHeader.lowerAscii()",
            "serving.optOutHeader is the same as serving.stickyHeader; every sticky request would opt out: "
            "choose two headers",
            ".optOutHeader",
        ),
    )

    mode: ServingMode = Field(ServingMode.ADAPTER, description="Adapter beside stable on one server, or a Deployment.")
    initial: Initial = Field(
        Initial.BASE, description="What stable is before the first promotion: the base, or gates.baseline.endpoint."
    )
    model_name: Annotated[str, Field(min_length=1, max_length=128)] | None = Field(
        None, description="Model name that clients ask for; absent: the job's name."
    )
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = Field(
        None, description="Servers; absent: not owned, an autoscaler may."
    )
    image: Image = Field("", description="Model server image; empty: the operator's own.")
    args: Annotated[tuple[Annotated[str, Field(max_length=512)], ...], Field(max_length=64), WHOLE] = Field(
        (), description="Further arguments of the model server."
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the Service.")
    sticky_header: HeaderName | None = Field(None, description="Header whose value keeps a user on one arm.")
    opt_out_header: HeaderName | None = Field(None, description="Header whose presence means stable, always.")
    corrections: Corrections = Field(
        default_factory=Corrections, description="Overridden answers become training data."
    )
    http_route: HttpRoute | None = Field(None, description="Route that splits traffic, for mode Deployment.")
