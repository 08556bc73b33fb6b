"""The second pod of a run: trains, evaluates and publishes, or goes on where an earlier attempt was stopped."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from retune_stores.credentials import Credentials, Role
from retune_trainer import cpus, inputs, publish, reading
from retune_trainer.attempts import Attempts
from retune_trainer.checkpoints import Checkpoints
from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.evaluation import asking, document, judging
from retune_trainer.evaluation.asking import Answers, QuestionSet
from retune_trainer.inputs import Sources
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
        PodError: every end that the contract has an exit code for.
    """
    publish.supported(config)
    sources = Sources(config, credentials)
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
    found = reading.read(config, credentials, sources, base, work)
    model.download(base_store, work / "model")
    stop.check()
    learner = make_learner(config, work / "model", found.examples, work / "checkpoints", cpus.available())
    checkpoints = Checkpoints(config, store, attempts)
    restored = checkpoints.restore(work / "restored")
    say("loaded", seconds=round(time.monotonic() - began, 1))

    steps, rate = _train(learner, restored, checkpoints, progress, stop)
    stop.check()

    progress.enter(Stage.EVALUATING)
    # Not "model": there the base lies.
    candidate = work / "candidate"
    learner.save(candidate)
    if found.serving is not None:
        learner.load_stable(found.serving)
    answers = _ask(learner, found.sets, progress, stop)
    judgement = judging.judge(config, answers)
    say("evaluated", **judgement["scores"])

    progress.enter(Stage.PUBLISHING)
    stop.check()
    return publish.publish(
        config,
        store,
        attempts,
        folder=candidate,
        kind=learner.kind,
        evaluation=document.build(config, judgement, answers[0], learner, found.notes),
        resolved=found.resolved,
        outcome={
            "steps": steps,
            "resumedFrom": restored[0] if restored else None,
            "tokensPerSecond": round(rate, 1),
            **{name: value for name, value in judgement.items() if name not in ("alpha", "bound")},
        },
    )


def _train(
    learner: Learner,
    restored: tuple[int, Path] | None,
    checkpoints: Checkpoints,
    progress: Progress,
    stop: Stop,
) -> tuple[int, float]:
    """Train to the end and return the step that was reached and the tokens per second.

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
        reached = learner.train(restored[1] if restored else None, hooks)
    return reached, latest


def _ask(learner: Learner, sets: Sequence[QuestionSet], progress: Progress, stop: Stop) -> list[Answers]:
    began = time.monotonic()
    total = sum(each.questions for each in sets)
    done = 0

    def on_answers(count: int) -> None:
        nonlocal done
        stop.check()
        done += count
        progress.evaluated.inc(count)
        if done:
            progress.update(etaSeconds=round((time.monotonic() - began) / done * (total - done)))

    return asking.ask(learner, sets, on_answers)
