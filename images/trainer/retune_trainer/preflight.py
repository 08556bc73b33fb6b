"""The first pod of a run: can everything it needs be read, is it well formed, and can results be written?

Imports no torch; takes seconds and hardly any memory, so that a GPU is asked for only when it can be used.
"""

from __future__ import annotations

import json
from pathlib import Path

from retune_trainer import evaluation, inputs, publish, versions
from retune_trainer.attempts import Attempts
from retune_trainer.config import RunConfig
from retune_trainer.credentials import Credentials, Role
from retune_trainer.errors import InputError, NotFoundError
from retune_trainer.log import say
from retune_trainer.result import Result, succeeded
from retune_trainer.stores import Store


def run(config: RunConfig, credentials: dict[Role, Credentials], work: Path) -> Result:
    """Check everything and say what was found.

    Raises:
        InputError: something is wrong; only the first thing found is named, in the order a user would correct them.
        StoreError: a store does not answer.
    """
    publish.supported(config)
    sources = inputs.Sources(config, credentials)
    base = inputs.identify(config, sources.base_model())
    say("base model found", uri=config.spec.base_model.uri, digest=base)
    train = sources.fetch(Role.TRAIN, work)
    gold = sources.fetch(Role.GOLD, work)
    learned, judged = inputs.survey(config, train, gold)
    say("data sets read", train=learned.examples, gold=judged.examples, format=learned.format.value)
    evaluation.acceptance_metric(config, learned.format)
    _check_writable(config, sources.artifacts())
    return succeeded(
        resolved={
            "baseModel": {"uri": config.spec.base_model.uri, "digest": base},
            "train": {"digest": train.digest, "examples": learned.examples, "format": learned.format.value},
            "gold": {"digest": gold.digest, "examples": judged.examples, "format": judged.format.value},
        },
        versions=versions.short(),
    )


def _check_writable(config: RunConfig, store: Store) -> None:
    """Write the run's own configuration: the proof that results will find their place, and of use to whoever looks."""
    try:
        Attempts(config, store).finished()
    except NotFoundError as error:
        raise InputError("ArtifactsNotWritable", "spec.artifacts.uri", f"{error}; create it first") from None
    document = {"run": config.run.model_dump(by_alias=True), "spec": config.raw_spec}
    store.put("run.json", json.dumps(document, indent=2).encode())
    say("artifacts can be written", uri=store.uri)
