"""The typed form of `run.json`: which run this is and what it asks for.

Reads one file and the environment's `RETUNE_*` settings. Fields this image does not know are ignored, so that a newer
operator can start an older trainer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from retune_trainer.errors import InputError

DEFAULT_PATH = "/etc/retune/run.json"


class Model(BaseModel):
    """camelCase outside, snake_case inside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class SecretRef(Model):
    """A Secret of the job's namespace, by name."""

    name: str


class Location(Model):
    """A URI and the Secret that opens it."""

    uri: str
    secret_ref: SecretRef | None = None


class BaseModelSpec(Location):
    """The model to start from; `digest` is what the run was promised, if it was resolved before."""

    digest: str | None = None


class Dataset(Model):
    """What to learn from, and what to be judged on."""

    train: Location
    gold: Location
    format: Literal["Messages", "PromptCompletion", "Text", "Classification"] | None = None
    segment_field: str | None = None


class Lora(Model):
    """Shape of the adapter."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: list[str] = Field(default_factory=lambda: ["all-linear"])


class Method(Model):
    """How the model is changed."""

    type: str = "LoRA"
    lora: Lora = Field(default_factory=Lora)


class Training(Model):
    """Hyperparameters. Exactly one of `epochs` and `max_steps` counts; `max_steps` when both are there."""

    epochs: float | None = None
    max_steps: int | None = None
    learning_rate: float = 2e-4
    batch_tokens: int = 8192
    max_length: int = 1024
    packing: bool | None = None
    seed: int = 7
    checkpoint_every_steps: int = 50
    gpus_per_node: int = 1


class Metric(Model):
    """One measure of answers; parameters that only some metrics have are kept as they came."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: str


class Acceptance(Model):
    """The metric that decides."""

    metric: str | None = None


class Evaluation(Model):
    """What is measured on the gold set."""

    metrics: list[Metric] = Field(default_factory=list)
    acceptance: Acceptance = Field(default_factory=Acceptance)
    max_examples: int | None = None


class Spec(Model):
    """The parts of a FineTuneRun's spec that its pods need."""

    base_model: BaseModelSpec
    dataset: Dataset
    method: Method = Field(default_factory=Method)
    training: Training = Field(default_factory=Training)
    artifacts: Location
    evaluation: Evaluation = Field(default_factory=Evaluation)


class Run(Model):
    """Which run this is."""

    namespace: str
    job: str
    name: str
    uid: str
    number: int


class Identity(Model):
    """What an input was found to be."""

    digest: str


class Expected(Model):
    """What preflight resolved; training must find the same."""

    base_model: Identity | None = None
    train: Identity | None = None
    gold: Identity | None = None


class RunConfig(Model):
    """All a pod is told, besides credentials."""

    run: Run
    spec: Spec
    attempt: int = 1
    expected: Expected = Field(default_factory=Expected)
    # The spec as it came, for the manifest: with the fields this image does not know.
    raw_spec: dict[str, Any] = Field(default_factory=dict, exclude=True)

    @property
    def artifacts_uri(self) -> str:
        """Where everything of this run lies."""
        run = self.run
        return f"{self.spec.artifacts.uri.rstrip('/')}/{run.namespace}/{run.job}/{run.name}"

    @property
    def uris(self) -> list[str]:
        """Every store this run touches."""
        spec = self.spec
        return [spec.base_model.uri, spec.dataset.train.uri, spec.dataset.gold.uri, spec.artifacts.uri]


def load(environ: Mapping[str, str]) -> RunConfig:
    """Read `run.json` and the settings beside it.

    Raises:
        InputError: the file is absent or does not have the contract's shape. Only an operator and a trainer of
            different versions, or a hand-made pod, can bring this about.
    """
    path = Path(environ.get("RETUNE_CONFIG", DEFAULT_PATH))
    try:
        document = json.loads(path.read_bytes())
        document["rawSpec"] = document.get("spec", {})
        document["attempt"] = int(environ.get("RETUNE_ATTEMPT", "1"))
        document["expected"] = json.loads(environ.get("RETUNE_EXPECTED") or "{}")
        return RunConfig.model_validate(document)
    except FileNotFoundError:
        raise InputError("ConfigInvalid", None, f"{path} does not exist; mount the run's ConfigMap there") from None
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError("ConfigInvalid", where, f"{path}: {where}: {first['msg']}") from None
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError("ConfigInvalid", None, f"{path} is not what the operator writes: {error}") from None
