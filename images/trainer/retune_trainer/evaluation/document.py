"""`evaluation.json`: all that was measured, for the report and later tools; the termination message is its short form.

The same inputs give the same bytes: nothing in it tells when, where or how fast it was made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from retune_trainer.config import RunConfig
from retune_trainer.evaluation.asking import Answers
from retune_trainer.learning.interface import Learner, Which
from retune_trainer.metrics import top1

SHOWN = 50
CLASSES = 40
# What a person can read of one text; an example may be a whole book.
LONGEST = 8000
OTHER = "(other)"

Scrub = Callable[[str], str]


def build(
    config: RunConfig, judgement: dict[str, Any], gold: Answers, learner: Learner, notes: Sequence[str]
) -> dict[str, Any]:
    """The whole document."""
    scrub = scrubber(config)
    return {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "Evaluation",
        "run": config.run.model_dump(by_alias=True),
        **judgement,
        "confusion": confusion(gold, scrub),
        "examples": worst(gold, scrub),
        "training": {"settings": learner.settings, "curve": learner.curve},
        "notes": list(notes),
    }


def scrubber(config: RunConfig) -> Scrub:
    """What takes personal data out of a text, if the run asks for it."""
    if not config.spec.gates.privacy.redact:
        return lambda text: text
    from retune_trainer.measuring import privacy

    return privacy.scrubber(config)


def _text(text: str, scrub: Scrub) -> str:
    # Scrubbed before it is cut, so that the cut leaves no half of anything, but not a book at a time.
    scrubbed = scrub(text[: 2 * LONGEST])
    return scrubbed if len(text) <= LONGEST else f"{scrubbed[:LONGEST]}…"


def worst(gold: Answers, scrub: Scrub) -> list[dict[str, Any]]:
    """The answers that cost most by the deciding metric; of equals, first those that were better before."""
    asked = gold.asked
    metric = asked.metrics[asked.deciding]
    reference = Which.STABLE if Which.STABLE in asked.models else Which.BASE
    lost = [metric.loss(each) for each in gold.contributions(Which.CANDIDATE, asked.deciding)]
    before = [metric.loss(each) for each in gold.contributions(reference, asked.deciding)]

    def order(row: int) -> tuple[float, float, int]:
        # Among the answers that cost nothing, what training mended comes before what was right all along.
        return -lost[row], before[row] if lost[row] > 0 else -before[row], row

    given = {which: gold.plain(which) for which in asked.models}
    shown = []
    for row in sorted(range(len(lost)), key=order)[:SHOWN]:
        example = asked.examples[row]
        texts = {which.value: given[which][row].texts for which in asked.models}
        shown.append(
            {
                "prompt": _text(example.prompt, scrub),
                "reference": _text(example.completion, scrub),
                **{name: _text(each[0], scrub) if each else None for name, each in texts.items()},
                "segment": None if example.segment is None else scrub(example.segment),
                "weight": example.weight,
            }
        )
    return shown


def confusion(gold: Answers, scrub: Scrub) -> dict[str, Any]:
    """How often which class was taken for which, by base and candidate.

    None for each where answers are no classes: above `CLASSES` of them, or if hardly any occurs twice.
    """
    models = (Which.BASE, Which.CANDIDATE)
    wanted = [top1.label(example.completion) for example in gold.asked.examples]
    classes = sorted(set(wanted))
    if len(classes) > min(CLASSES, len(wanted) // 2) or not all(each.texts for each in gold.plain(Which.CANDIDATE)):
        return {which.value: None for which in models}
    names = [_text(name, scrub) for name in classes]
    found = {}
    for which in models:
        given = [top1.label(each.texts[0]) if each.texts else OTHER for each in gold.plain(which)]
        pairs = Counter((row, column if column in classes else None) for row, column in zip(wanted, given, strict=True))
        found[which.value] = {
            "classes": names,
            "counts": [[pairs[row, column] for column in (*classes, None)] for row in classes],
        }
    return found
