"""All that a training pod reads besides the base model: what is learned, what is asked, and what serves today."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError
from retune_trainer import data, evaluation, inputs, stable
from retune_trainer.config import RunConfig
from retune_trainer.data import Example, Format
from retune_trainer.evaluation import judging
from retune_trainer.evaluation.asking import QuestionSet
from retune_trainer.inputs import DataFile, Sources
from retune_trainer.learning.interface import Which
from retune_trainer.metrics import configured


@dataclass(frozen=True)
class Material:
    """Everything that was read: what is learned, what is asked, and what the manifest says of it."""

    examples: list[Example]
    sets: list[QuestionSet]
    resolved: dict[str, Any]
    # The folder of the model that serves today, if the candidate is compared with it.
    serving: Path | None
    notes: list[str]


def read(config: RunConfig, credentials: dict[Role, Credentials], sources: Sources, base: str, work: Path) -> Material:
    """Fetch and read every set, and the serving model's files, before anything costs GPU time.

    Raises:
        InputError: one of them is wrong, or not what it was when the run was checked.
    """
    spec, expected = config.spec, config.expected
    form, train, train_digest = _train_set(config, sources, work)
    gold = sources.fetch(Role.GOLD, work)
    inputs.compare(config, base=base, train=train_digest, gold=gold.digest)
    acceptance = evaluation.acceptance_metric(config, form)
    metrics = evaluation.metrics_of(config, acceptance)
    deciding = {acceptance: metrics[acceptance]}
    notes: list[str] = []

    serving = stable.fetch(config, credentials, base, work / "stable")
    if spec.stable is not None and serving is None:
        notes.append(stable.OTHER_BASE)
    reference = Which.STABLE if serving is not None else Which.BASE
    models = (Which.BASE, Which.CANDIDATE) if serving is None else (Which.BASE, Which.STABLE, Which.CANDIDATE)

    opened = data.examples(
        gold.path, gold.origin, spec.dataset.format, spec.dataset.segment_field, spec.dataset.weight_field
    )
    questions = _questions(config, judging.GOLD, gold, opened, notes)
    sets = [QuestionSet(judging.GOLD, questions, metrics, models)]
    resolved: dict[str, Any] = {
        "baseModel": {"uri": spec.base_model.uri, "digest": base},
        "train": {"digest": train_digest, "examples": len(train), "format": form.value},
        "gold": {"digest": gold.digest, "examples": len(questions), "format": form.value},
    }
    if expected.train is not None and expected.train.corrections is not None:
        resolved["train"]["corrections"] = expected.train.corrections
    if expected.gold is not None and expected.gold.sketch is not None:
        resolved["gold"]["sketch"] = expected.gold.sketch
    if expected.prepared is not None:
        resolved["prepared"] = expected.prepared.model_dump(by_alias=True)
        if expected.prepared.fresh is not None:
            fresh = sources.prepared(expected.prepared.fresh, work)
            # Its columns are the training set's, where not every column of the gold set need be.
            weight = spec.dataset.weight_field
            opened = data.examples(fresh.path, fresh.origin, spec.dataset.format, weight_field=weight, weighted=False)
            asked = _questions(config, judging.FRESH, fresh, opened, notes)
            sets.append(QuestionSet(judging.FRESH, asked, deciding, (reference, Which.CANDIDATE)))
    if spec.evaluation.guard is not None:
        guard = sources.fetch(Role.GUARD, work)
        opened = data.examples(guard.path, guard.origin)
        asked = _questions(config, judging.GUARD, guard, opened, notes)
        name = spec.evaluation.guard.metric
        sets.append(QuestionSet(judging.GUARD, asked, {name: configured(name)}, (Which.BASE, Which.CANDIDATE)))
        resolved["guard"] = {"digest": guard.digest, "examples": len(asked), "format": opened[0].value}
    return Material(train, sets, resolved, serving, notes)


def _train_set(config: RunConfig, sources: Sources, work: Path) -> tuple[Format, list[Example], str]:
    """What is learned, and the digest of where it came from: what preflight prepared, if it did, else the source."""
    prepared, expected = config.expected.prepared, config.expected.train
    if prepared is not None and expected is not None:
        file, digest = sources.prepared(prepared.train, work), expected.digest
    else:
        file = sources.fetch(Role.TRAIN, work)
        digest = file.digest
    form, rows = data.examples(file.path, file.origin, config.spec.dataset.format)
    return form, list(rows), digest


def _questions(
    config: RunConfig, name: str, file: DataFile, opened: tuple[Format, Iterator[Example]], notes: list[str]
) -> list[Example]:
    """The examples of a set that are asked.

    Raises:
        InputError: every row of it is empty.
    """
    form, examples = opened
    rows = list(examples)
    if not rows:
        raise InputError("DatasetEmpty", file.origin.field, f"{file.origin.uri} holds no example: every row is empty")
    chosen = evaluation.choose(rows, config.spec.evaluation.max_examples)
    if len(chosen) < len(rows):
        notes.append(f"{name}: {len(chosen)} of {len(rows)} examples, as spec.evaluation.maxExamples says.")
    return [evaluation.continuation(example) for example in chosen] if form is Format.TEXT else chosen
