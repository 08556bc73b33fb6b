"""How a model is tuned."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from retune.api.base import UNIQUE, Model


class MethodType(StrEnum):
    """Which weights are trained, and how."""

    LORA = "LoRA"
    QLORA = "QLoRA"
    FULL = "Full"


class Lora(Model):
    """Shape of the adapter, for LoRA and QLoRA."""

    rank: int = Field(16, ge=1, le=512, description="Rank of the adapter's matrices.")
    alpha: int = Field(32, ge=1, le=4096, description="Scale of the adapter: alpha / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Share of the adapter's inputs dropped in training.")
    target_modules: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=128)], ...], Field(min_length=1, max_length=64), UNIQUE
    ] = Field(("all-linear",), description="Layers that get an adapter; all-linear: every linear layer but the head.")


class Method(Model):
    """How the model is tuned."""

    type: MethodType = Field(MethodType.LORA, description="LoRA, QLoRA or Full.")
    lora: Lora = Field(default_factory=Lora, description="Shape of the adapter, for LoRA and QLoRA.")
