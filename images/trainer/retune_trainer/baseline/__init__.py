"""The baseline gate's measuring: how good is the prompted model that serves today, on the same gold examples.

Speaks to one endpoint that the spec names, with that role's key; writes nothing. The operator decides what follows.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, StoreError
from retune_trainer import evaluation
from retune_trainer.baseline import outbound, prompt, stoppable
from retune_trainer.baseline.ask import Patience, ask
from retune_trainer.baseline.endpoint import endpoint_of
from retune_trainer.baseline.reply import Failure, Reply
from retune_trainer.config import RunConfig
from retune_trainer.data import Example
from retune_trainer.learning.interface import Answered
from retune_trainer.log import say
from retune_trainer.metrics import METRICS, Metric

__all__ = ["Measured", "Patience", "measure"]

MAX_NOTE = 300


@dataclass(frozen=True)
class Measured:
    """The gate's numbers, by the names that its status has, and what a number cannot say (at most 300 characters)."""

    numbers: dict[str, float] = field(default_factory=dict)
    note: str = ""


def measure(
    config: RunConfig,
    credentials: dict[Role, Credentials],
    examples: Sequence[Example],
    work: Path,
    *,
    metric: str,
    patience: Patience = Patience(),  # noqa: B008 - frozen
    resolve: outbound.Resolve = outbound.look_up,
) -> Measured:
    """Ask the prompted model each of `examples` once and score its answers by `metric`.

    Numbers: `score` (mean over the answers), `n` (answers), `failed` (questions without one), `promptTokens` and
    `completionTokens` (if the endpoint counts them), `seconds` (of the whole), and `cost` of `n` requests if
    `spec.gates.payback` prices them. There are none, and a note instead, where the metric cannot be had from a prompted
    model, no endpoint is named, or the gate only warns and the endpoint could not be asked.

    Raises:
        InputError: `EndpointInvalid`, `CredentialsRejected` or `TemplateInvalid`, unless the gate only warns.
        StoreError: the endpoint did not answer more than 5 % of the questions, unless the gate only warns.
        InterruptedByOrderError: SIGTERM came, whatever the gate's mode.
    """
    del work
    if metric == "Perplexity" or metric not in METRICS:
        return Measured(note=f"A prompted model has no {metric}; choose another spec.evaluation.acceptance.metric.")
    # A plain text has no question of its own; the candidate is asked by the same half of it.
    asked = [e if e.prompt or e.messages else evaluation.continuation(e) for e in examples]
    bound = prompt.longest_answer(asked)
    try:
        endpoint = endpoint_of(config, credentials)
        if endpoint is None:
            return Measured(note="spec.gates.baseline.endpoint is not set: there is no prompted model to ask.")
        conversations = prompt.conversations(asked, endpoint.template)
        say("asking the prompted model", url=endpoint.shown, model=endpoint.model, questions=len(asked))
        began = time.monotonic()
        found = stoppable.run(ask(endpoint, conversations, bound, patience, resolve))
        seconds = time.monotonic() - began
    except (InputError, StoreError) as error:
        if config.spec.gates.baseline.mode != "Warn":
            raise
        say("the prompted model was not measured", reason=error.reason, field=error.field, detail=error.message)
        return Measured(note=f"Not measured: {error.message}."[:MAX_NOTE])
    # As the candidate will be scored: by the spec's schema, and by what a mistake costs.
    scored_by = METRICS["Top1"] if metric == "Top3" else evaluation.metrics_of(config, metric)[metric]
    numbers = {**_scored(asked, found, scored_by), "seconds": round(seconds, 3)}
    payback = config.spec.gates.payback
    if payback is not None and payback.baseline_cost_per_1k is not None:
        numbers["cost"] = float(payback.baseline_cost_per_1k * int(numbers["n"]) / 1000)
    say("the prompted model was measured", **numbers)
    cut = sum(isinstance(each, Reply) and each.cut for each in found)
    return Measured(numbers, _note(metric, numbers, cut, bound))


def _scored(asked: Sequence[Example], found: Sequence[Reply | Failure], metric: Metric) -> dict[str, float]:
    answered = [(example, each) for example, each in zip(asked, found, strict=True) if isinstance(each, Reply)]
    contributions = [metric.contribution(example, Answered((reply.text,))) for example, reply in answered]
    return {
        "score": round(metric.aggregate(contributions) or 0.0, 6),
        "n": len(answered),
        "failed": len(asked) - len(answered),
        **_tokens([reply for _, reply in answered]),
    }


def _tokens(replies: Sequence[Reply]) -> dict[str, float]:
    """Sums over all answers, or nothing where one was not counted: part of a sum would look like a cheap model."""
    prompts = [reply.prompt_tokens for reply in replies if reply.prompt_tokens is not None]
    completions = [reply.completion_tokens for reply in replies if reply.completion_tokens is not None]
    if len(prompts) < len(replies) or len(completions) < len(replies):
        return {}
    return {"promptTokens": sum(prompts), "completionTokens": sum(completions)}


def _note(metric: str, numbers: dict[str, float], cut: int, bound: int) -> str:
    notes = []
    if metric == "Top3":
        notes.append("A prompted model gives one answer; Top3 counts that one only.")
    if numbers["failed"]:
        notes.append(f"{numbers['failed']:g} questions had no answer and are not in the score.")
    if cut:
        notes.append(f"{cut} answers were cut at {bound} tokens, more than the longest gold answer is taken to have.")
    if "promptTokens" not in numbers:
        notes.append("The endpoint did not count tokens.")
    return " ".join(notes)
