"""The first pod of a run: can its inputs be read, are they well formed, what are they like, can results be written?

Imports no torch, so that a GPU is asked for only when it can be used. Measures what the gates ask and judges nothing;
writes the prepared sets and `preflight.json`, which a second attempt of the same run answers with.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from retune_stores import Store
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, NotFoundError
from retune_trainer import data, evaluation, inputs, measuring, publish, versions
from retune_trainer.attempts import Attempts
from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.log import say
from retune_trainer.measuring import Measurement, corrections, privacy
from retune_trainer.result import Result, succeeded

REPORT = "preflight.json"
# What of it is not in the termination message.
BESIDE = ("apiVersion", "kind", "run", "details")


def run(config: RunConfig, credentials: dict[Role, Credentials], work: Path) -> Result:
    """Check and measure everything and say what was found.

    Raises:
        InputError: something is wrong; only the first thing found is named, in the order a user would correct them.
        StoreError: a store, or the prompted model, does not answer.
    """
    publish.supported(config)
    privacy.kinds(config)
    sources = inputs.Sources(config, credentials)
    base_store = sources.base_model()
    base = inputs.identify(config, base_store)
    say("base model found", uri=config.spec.base_model.uri, digest=base)
    train, gold = sources.fetch(Role.TRAIN, work), sources.fetch(Role.GOLD, work)
    _check_guard(config, sources, work)
    store = sources.artifacts()
    _check_writable(config, store)
    earlier = _earlier(config, store)
    if earlier is not None:
        say("an earlier attempt of this run has measured; answering with its result")
        return earlier
    taken = corrections.take(config, sources.corrections(), train, gold, work)
    found = measuring.measure(config, train, gold, inputs.tokenizer(base_store, work), work, corrections=taken)
    metric = evaluation.acceptance_metric(config, found.format)
    _put_prepared(store, found)
    if config.spec.gates.baseline.mode != "Off" and config.spec.gates.baseline.endpoint is not None:
        # Last, because it may cost money: nothing of what can be wrong with the data is left to find.
        from retune_trainer import baseline

        asked = baseline.measure(config, credentials, _questions(config, gold), work, metric=metric)
        found.measured |= {"baseline": asked.numbers} if asked.numbers else {}
        found.notes |= {"baseline": asked.note} if asked.note else {}
    resolved: dict[str, Any] = {
        "baseModel": {"uri": config.spec.base_model.uri, "digest": base},
        "train": {
            "digest": taken.digest(train.digest) if taken is not None else train.digest,
            "examples": found.train,
            "format": found.format.value,
            **({"corrections": len(taken)} if taken else {}),
        },
        "gold": {
            "digest": gold.digest,
            "examples": found.gold,
            "format": found.format.value,
            "sketch": found.sketch,
        },
    }
    if found.prepared is not None:
        fresh = found.fresh.resolved() if found.fresh is not None else None
        resolved["prepared"] = {"train": found.prepared.resolved(), "fresh": fresh}
    result = succeeded(resolved=resolved, measured=found.measured, notes=found.notes, versions=versions.short())
    document = {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "Preflight",
        "run": config.run.model_dump(by_alias=True),
        **result,
        "details": found.details,
    }
    store.put(REPORT, json.dumps(document, indent=2).encode())
    return result


def _earlier(config: RunConfig, store: Store) -> Result | None:
    """What an earlier attempt of this very run has found, or None."""
    try:
        document = json.loads(store.read(REPORT))
    except (NotFoundError, ValueError, RecursionError):
        return None
    if not isinstance(document, dict) or document.get("outcome") != "Succeeded":
        return None
    owner = document.get("run")
    if not isinstance(owner, dict) or owner.get("uid") != config.run.uid:
        return None
    return {name: value for name, value in document.items() if name not in BESIDE}


def _check_guard(config: RunConfig, sources: inputs.Sources, work: Path) -> None:
    """Read the guard set to its end: better now than after a training."""
    if config.spec.evaluation.guard is None:
        return
    guard = sources.fetch(Role.GUARD, work)
    _, rows = data.examples(guard.path, guard.origin)
    if not sum(1 for _ in rows):
        raise InputError("DatasetEmpty", guard.origin.field, f"{guard.origin.uri} holds no example: every row is empty")


def _put_prepared(store: Store, found: Measurement) -> None:
    for part in (found.prepared, found.fresh):
        if part is not None:
            store.put(part.path, part.file)
            say("prepared", path=part.path, examples=part.examples)


def _questions(config: RunConfig, gold: inputs.DataFile) -> list[Example]:
    """The gold examples that the candidate will be asked, too."""
    dataset = config.spec.dataset
    _, rows = data.examples(gold.path, gold.origin, dataset.format, weight_field=dataset.weight_field)
    return evaluation.choose(list(rows), config.spec.evaluation.max_examples)


def _check_writable(config: RunConfig, store: Store) -> None:
    """Write the run's own configuration: the proof that results will find their place, and of use to whoever looks."""
    try:
        Attempts(config, store).finished()
    except NotFoundError as error:
        raise InputError("ArtifactsNotWritable", "spec.artifacts.uri", f"{error}; create it first") from None
    document = {"run": config.run.model_dump(by_alias=True), "spec": config.raw_spec}
    store.put("run.json", json.dumps(document, indent=2).encode())
    say("artifacts can be written", uri=store.uri)
