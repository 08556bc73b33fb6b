"""The second pod of a run: trains, evaluates and publishes, or goes on where an earlier attempt was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from retune_trainer import cpus, data, evaluation, inputs, publish, report
from retune_trainer.attempts import Attempts
from retune_trainer.checkpoints import Checkpoints
from retune_trainer.config import RunConfig
from retune_trainer.credentials import Credentials, Role
from retune_trainer.data import Example, Format
from retune_trainer.learning.interface import Hooks, Learner, Step
from retune_trainer.log import say
from retune_trainer.progress import Progress, Rate, Stage
from retune_trainer.result import Result
from retune_trainer.stop import Stop

MakeLearner = Callable[[RunConfig, Path, list[Example], Path, int], Learner]


def _sft(config: RunConfig, folder: Path, examples: list[Example], work: Path, threads: int) -> Learner:
    from retune_trainer.learning.sft import SftLearner

    return SftLearner(config, folder, examples, work, threads)


def run(
    config: RunConfig,
    credentials: dict[Role, Credentials],
    work: Path,
    progress: Progress,
    stop: Stop,
    *,
    make_learner: MakeLearner = _sft,
) -> Result:
    """Do the whole of it and return what to report.

    Raises:
        TrainerError: every end that the contract has an exit code for.
    """
    publish.supported(config)
    sources = inputs.Sources(config, credentials)
    store = sources.artifacts()
    attempts = Attempts(config, store)
    done = attempts.finished()
    if done is not None:
        say("this run was published already; answering with its result")
        return done
    attempts.claim()

    from retune_trainer.learning import model

    began = time.monotonic()
    base_store = sources.base_model()
    base = inputs.identify(config, base_store)
    train, gold = sources.fetch(Role.TRAIN, work), sources.fetch(Role.GOLD, work)
    inputs.compare(config, base=base, train=train.digest, gold=gold.digest)
    dataset = config.spec.dataset
    form, rows = data.examples(train.path, train.origin, dataset.format)
    examples = list(rows)
    _, gold_rows = data.examples(gold.path, gold.origin, dataset.format, dataset.segment_field)
    questions = evaluation.choose(list(gold_rows), config.spec.evaluation.max_examples)
    acceptance = evaluation.acceptance_metric(config, form)
    model.download(base_store, work / "model")
    stop.check()
    learner = make_learner(config, work / "model", examples, work / "checkpoints", cpus.available())
    checkpoints = Checkpoints(config, store, attempts)
    restored = checkpoints.restore(work / "restored")
    say("loaded", seconds=round(time.monotonic() - began, 1))

    rate = _train(learner, restored, checkpoints, progress, stop)
    stop.check()

    progress.enter(Stage.EVALUATING)
    adapter = work / "adapter"
    learner.save(adapter)
    if form is Format.TEXT:
        questions = [evaluation.continuation(example) for example in questions]
    answers = _evaluate(learner, questions, progress, stop)
    judgement = evaluation.judge(answers, evaluation.measured(config, acceptance), acceptance)
    say("evaluated", **judgement["scores"])

    progress.enter(Stage.PUBLISHING)
    stop.check()
    resolved = {
        "baseModel": {"uri": config.spec.base_model.uri, "digest": base},
        "train": {"digest": train.digest, "examples": len(examples), "format": form.value},
        "gold": {"digest": gold.digest, "examples": len(questions), "format": form.value},
    }
    return publish.publish(
        config,
        store,
        attempts,
        adapter=adapter,
        report=report.build(judgement, answers, learner.settings),
        resolved=resolved,
        outcome={
            "steps": learner.steps,
            "resumedFrom": restored[0] if restored else None,
            "tokensPerSecond": round(rate, 1),
            **judgement,
        },
    )


def _train(
    learner: Learner,
    restored: tuple[int, Path] | None,
    checkpoints: Checkpoints,
    progress: Progress,
    stop: Stop,
) -> float:
    """Train to the end and return the tokens per second.

    Raises:
        InterruptedByOrderError: SIGTERM came; a checkpoint was written.
    """
    progress.enter(Stage.TRAINING)
    start = restored[0] if restored else 0
    progress.update(step=start, steps=learner.steps)
    rate = Rate()
    began = time.monotonic()
    last_said = 0.0
    latest = 0.0

    def on_step(step: Step) -> None:
        nonlocal last_said, latest
        known: dict[str, Any] = {"step": step.number, "steps": step.of}
        if step.tokens:
            progress.tokens.inc(step.tokens)
            latest = rate.add(step.tokens)
            each = (time.monotonic() - began) / max(1, step.number - start)
            known |= {"tokensPerSecond": round(latest, 1), "etaSeconds": round(each * (step.of - step.number))}
        if step.loss is not None:
            known["loss"] = round(step.loss, 6)
            if time.monotonic() - last_said > 10 or step.number == step.of:
                last_said = time.monotonic()
                say("step", step=step.number, of=step.of, loss=known["loss"], tokensPerSecond=round(latest, 1))
        progress.update(**known)

    def on_checkpoint(step: int, folder: Path) -> None:
        seconds = checkpoints.save(step, folder)
        progress.checkpoints.inc()
        progress.checkpoint_seconds.inc(seconds)
        say("checkpoint", step=step, seconds=round(seconds, 2))

    with stop.patience():
        hooks = Hooks(on_step, on_checkpoint, lambda: stop.requested)
        learner.train(restored[1] if restored else None, hooks)
    return latest


def _evaluate(learner: Learner, questions: list[Example], progress: Progress, stop: Stop) -> list[evaluation.Answer]:
    began = time.monotonic()
    done = 0

    def on_answers(count: int) -> None:
        nonlocal done
        stop.check()
        done += count
        progress.evaluated.inc(count)
        left = (time.monotonic() - began) / done * (2 * len(questions) - done)
        progress.update(etaSeconds=round(left))

    # The base first: merging the adapter cannot be undone.
    base = learner.answer_as_base(questions, on_answers)
    candidate = learner.answer_as_candidate(questions, on_answers)
    return [evaluation.Answer(*each) for each in zip(questions, base, candidate, strict=True)]
