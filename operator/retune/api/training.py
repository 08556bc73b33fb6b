"""How training runs: hyperparameters, retries, and its pods."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from retune.api.base import Model, Rule, checked
from retune.api.pods import PodFields
from retune.api.quantity import Duration, Image, Label, shaped

_RESOURCE = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"


class EarlyStop(Model):
    """When training ends before its last step."""

    hold_out: float = Field(0.05, gt=0, le=0.5, description="Share of the training set that is held out to watch.")
    patience: int = Field(3, ge=1, le=100, description="Checkpoints without improvement after which training ends.")


class Training(PodFields):
    """How training runs."""

    RULES: ClassVar = (
        Rule(
            "has(self.epochs) != has(self.maxSteps)",
            "training needs exactly one of epochs and maxSteps; for most data 3 epochs is a good start",
            ".epochs",
        ),
        Rule(
            "!has(self.resources) || ((!has(self.resources.limits) || !(self.gpuResource in self.resources.limits))"
            " && (!has(self.resources.requests) || !(self.gpuResource in self.resources.requests)))",
            "training.resources must not name the GPU resource; say training.gpusPerNode instead",
            ".resources",
        ),
        Rule(
            "self.nodes == 1 || self.gpusPerNode >= 1",
            "training.nodes above 1 needs GPUs; set training.gpusPerNode to 1 or more, or nodes to 1",
            ".nodes",
        ),
    )

    epochs: Annotated[float, Field(gt=0, le=1000)] | None = Field(
        None, description="Passes over the training set; exactly one of epochs and maxSteps."
    )
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Optimiser steps; exactly one of epochs and maxSteps."
    )
    learning_rate: float = Field(0.0002, gt=0, le=1, description="Peak learning rate.")
    batch_tokens: int = Field(8192, ge=1, le=100_000_000, description="Tokens per optimiser step, over all GPUs.")
    max_length: int = Field(1024, ge=8, le=1_048_576, description="Longest example in tokens; longer ones are cut.")
    packing: bool | None = Field(None, description="Put several examples into one row; absent: on GPUs yes, on CPU no.")
    seed: int = Field(7, ge=0, le=4_294_967_295, description="Seed of everything random.")
    checkpoint_every_steps: int = Field(50, ge=1, le=10_000_000, description="Steps between checkpoints.")
    early_stop: EarlyStop | None = Field(
        None, description="Stop when a held-out slice of the training set no longer improves; absent: never."
    )
    timeout: Duration = Field("6h", description="Longest time a run may train, over all attempts.")
    max_retries: int = Field(
        2, ge=0, le=20, description="Crashes of the trainer that are retried; lost nodes and preemption never count."
    )
    nodes: int = Field(1, ge=1, le=64, description="Nodes to train on.")
    gpus_per_node: int = Field(1, ge=0, le=16, description="GPUs on each node; 0 trains on CPU.")
    gpu_resource: Annotated[
        str,
        Field(pattern=_RESOURCE, max_length=317),
        checked(shaped(_RESOURCE, "write an extended resource as DOMAIN/NAME, such as nvidia.com/gpu")),
    ] = Field("nvidia.com/gpu", description="Resource that stands for one GPU.")
    queue_name: Label | None = Field(None, description="Kueue LocalQueue that admits the training Job.")
    image: Image = Field("", description="Trainer image; empty: the operator's own.")
