"""The typed form of `run.json`: which run this is and what it asks for.

Reads one file and the environment's `RETUNE_*` settings. Fields this image does not know are ignored, so that a newer
operator can start an older trainer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from retune_stores.errors import InputError

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


class HoldOut(Model):
    """A share of the newest examples that is kept out of training and becomes fresh gold."""

    fraction: float = 0.1
    newest: str = "14d"


class Dataset(Model):
    """What to learn from, and what to be judged on."""

    train: Location
    gold: Location
    format: Literal["Messages", "PromptCompletion", "Text", "Classification"] | None = None
    segment_field: str | None = None
    weight_field: str | None = None
    annotators_field: str | None = None
    time_field: str | None = None
    hold_out: HoldOut | None = None


def _mode(value: object) -> object:
    # YAML 1.1 reads a bare `Off` as false, and the API takes both.
    return "Off" if value is False else value


class Gate(Model):
    """What every gate has; one that is Off is not measured."""

    mode: Annotated[Literal["Enforce", "Warn", "Off"], BeforeValidator(_mode)] = "Enforce"


class ProductionBalance(Model):
    """Share of each value of a column in production."""

    classified_by: str
    expected: dict[str, float]


class DataGate(Gate):
    """What of the data gate says what to measure; its limits are the operator's."""

    production_balance: ProductionBalance | None = None


class LeakageGate(Gate):
    """Whether to look for gold examples in the training set."""


class PrivacyGate(Gate):
    """Which kinds of personal data are looked for (none named: all that are known), and whether they are replaced."""

    redact: bool = False
    entities: tuple[str, ...] = ()


class BaselineEndpoint(Model):
    """A prompted model behind an OpenAI-compatible API."""

    url: str
    model: str
    prompt_template: str | None = None
    secret_ref: SecretRef | None = None


class BaselineGate(Gate):
    """Whom to ask the gold questions before anything is trained."""

    endpoint: BaselineEndpoint | None = None


class PaybackGate(Gate):
    """Of payback, only what a request costs today: a measured baseline is priced with it."""

    baseline_cost_per_1k: Decimal | None = Field(None, alias="baselineCostPer1k")


class Gates(Model):
    """What preflight measures."""

    data: DataGate = Field(default_factory=DataGate)
    leakage: LeakageGate = Field(default_factory=LeakageGate)
    privacy: PrivacyGate = Field(default_factory=PrivacyGate)
    baseline: BaselineGate = Field(default_factory=BaselineGate)
    payback: PaybackGate | None = None


class Lora(Model):
    """Shape of the adapter."""

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0
    target_modules: list[str] = Field(default_factory=lambda: ["all-linear"])


class Method(Model):
    """How the model is changed."""

    type: Literal["LoRA", "QLoRA", "Full"] = "LoRA"
    lora: Lora = Field(default_factory=Lora)


class EarlyStop(Model):
    """Stop when the loss on a held-out share of the training set has not fallen for `patience` looks."""

    hold_out: float = 0.05
    patience: int = 3


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
    early_stop: EarlyStop | None = None


class Metric(Model):
    """One measure of answers; parameters that only some metrics have are kept as they came."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="allow", frozen=True)

    name: str
    json_schema: dict[str, Any] | None = Field(None, alias="schema")


class Acceptance(Model):
    """The metric that decides, and the limits that its power is computed for."""

    metric: str | None = None
    minimum: float | None = None
    min_uplift: float = 0.0
    max_regression: float = 0.02
    confidence: float = 0.95


class Guard(Location):
    """A set that tests what the model could do before."""

    metric: str = "TokenF1"
    max_drop: float = 0.03


class Evaluation(Model):
    """What is measured on the gold set."""

    metrics: list[Metric] = Field(default_factory=list)
    acceptance: Acceptance = Field(default_factory=Acceptance)
    max_examples: int | None = None
    max_segment_regression: float | None = None
    guard: Guard | None = None


class Stable(Model):
    """The model that serves now: the run it came from, its digest, and the folder of its adapter."""

    run: str | None = None
    digest: str
    uri: str


class Mlflow(Model):
    """An MLflow server, and the experiment that the run goes into."""

    uri: str
    experiment: str
    secret_ref: SecretRef | None = None


class Wandb(Model):
    """A project of Weights & Biases; without an API key the run is written to a file."""

    project: str
    secret_ref: SecretRef | None = None


class Tracking(Model):
    """Where the run is tracked, beside its report."""

    mlflow: Mlflow | None = None
    wandb: Wandb | None = None


class Corrections(Model):
    """Whether answers that people corrected are trained on, too, and how many of them at most."""

    collect: bool = False
    max_examples: int = 5000


class Serving(Model):
    """Of serving, only what comes back from it."""

    corrections: Corrections = Field(default_factory=Corrections)


class Spec(Model):
    """The parts of a FineTuneRun's spec that its pods need."""

    base_model: BaseModelSpec
    dataset: Dataset
    method: Method = Field(default_factory=Method)
    training: Training = Field(default_factory=Training)
    artifacts: Location
    evaluation: Evaluation = Field(default_factory=Evaluation)
    gates: Gates = Field(default_factory=Gates)
    stable: Stable | None = None
    serving: Serving | None = None
    tracking: Tracking | None = None


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


class TrainIdentity(Identity):
    """The training set, with how many of its examples people have corrected."""

    corrections: int | None = None


class GoldIdentity(Identity):
    """The gold set, with the sketch that tells how much of a later one is new."""

    sketch: str | None = None


class PreparedSet(Model):
    """A file of the run's own folder that stands for a source: JSON Lines with the source's columns."""

    path: str
    digest: str
    examples: int


class Prepared(Model):
    """What training reads instead of the source, and what was held out of it."""

    train: PreparedSet
    fresh: PreparedSet | None = None


class Expected(Model):
    """What preflight resolved, which training must find the same, and the level of this look at the gold set."""

    base_model: Identity | None = None
    train: TrainIdentity | None = None
    gold: GoldIdentity | None = None
    prepared: Prepared | None = None
    alpha: float | None = None


class Probe(Model):
    """Whom to ask gold questions: the serving model, at the API's base; `header` means stable, and is not counted."""

    url: str
    model: str
    header: str | None = None
    examples: int = 50
    seed: int = 0


class Watch(Model):
    """What a watch pod is to find out."""

    count: bool = False
    probe: Probe | None = None


class RunConfig(Model):
    """All a pod is told, besides credentials."""

    run: Run
    spec: Spec
    watch: Watch | None = None
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
    def corrections_uri(self) -> str:
        """Where taps write the answers that people corrected; of the job, for all its runs."""
        return f"{self.spec.artifacts.uri.rstrip('/')}/{self.run.namespace}/{self.run.job}/corrections"

    @property
    def corrections(self) -> Corrections | None:
        """How corrections are trained on; None: not at all."""
        serving = self.spec.serving
        return serving.corrections if serving is not None and serving.corrections.collect else None

    @property
    def uris(self) -> list[str]:
        """Every store this run touches."""
        spec = self.spec
        places = [spec.base_model, spec.dataset.train, spec.dataset.gold, spec.artifacts, spec.evaluation.guard]
        return [place.uri for place in places if place is not None]


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
