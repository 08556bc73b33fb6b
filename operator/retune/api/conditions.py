"""Conditions, as Kubernetes writes them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from retune.api.base import StatusModel, keyed
from retune.api.quantity import Time


class Condition(StatusModel):
    """One thing that is so, is not so, or is not known."""

    type: Annotated[str, Field(min_length=1, max_length=64)] = Field(description="What is said, such as Trained.")
    status: Literal["True", "False", "Unknown"] = Field(description="True, False or Unknown.")
    reason: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="Why, as one PascalCase word.")
    message: Annotated[str, Field(max_length=4096)] = Field("", description="Why, for a reader, with the numbers.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: int | None = Field(None, description="Generation of the spec that it speaks of.")


Conditions = Annotated[tuple[Condition, ...], Field(max_length=32), keyed("type")]
