"""Where experiments are tracked, beside the run's own report: an MLflow server, Weights & Biases, or both.

Types for the models; the report pod speaks to them.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from retune.api.base import Model, StatusModel
from retune.api.quantity import Text
from retune.api.source import HttpUrl, SecretRef


class Mlflow(Model):
    """Where MLflow runs."""

    uri: HttpUrl = Field(description="Address of the tracking server.")
    experiment: Annotated[str, Field(min_length=1, max_length=256)] = Field(description="Name of the experiment.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the credentials for the server.")


class Wandb(Model):
    """Where Weights & Biases gets the run."""

    project: Annotated[str, Field(min_length=1, max_length=128)] = Field(description="Name of the project.")
    secret_ref: SecretRef | None = Field(None, description="Secret with the API key.")


class Tracking(Model):
    """Where experiments are tracked; spoken from pods in the job's namespace."""

    mlflow: Mlflow | None = Field(None, description="An MLflow server; absent: none.")
    wandb: Wandb | None = Field(None, description="Weights & Biases; absent: not used.")


class TrackingStatus(StatusModel):
    """Where the run is tracked, or why it is not."""

    mlflow: Text | None = Field(None, description="URL of the run in MLflow, or why there is none.")
    wandb: Text | None = Field(None, description="Where the run for Weights & Biases is, or why there is none.")
