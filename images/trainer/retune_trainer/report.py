"""`report.json`: all that was measured, for people and later tools; the termination message is its short form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from retune_trainer.evaluation import Answer

SHOWN = 50


def build(judgement: dict[str, Any], answers: Sequence[Answer], training: dict[str, Any]) -> dict[str, Any]:
    """The report. Of the answers, those where the two models differ from the reference most tellingly come first."""

    def interest(answer: Answer) -> int:
        reference = answer.example.completion.strip()
        base, candidate = answer.base.strip() == reference, answer.candidate.strip() == reference
        # What training broke, what is still wrong, what it mended, what was right all along.
        return {(True, False): 0, (False, False): 1, (False, True): 2, (True, True): 3}[base, candidate]

    shown = sorted(answers, key=interest)[:SHOWN]
    return {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "Report",
        **judgement,
        "training": training,
        "examples": [
            {
                "prompt": answer.example.prompt,
                "reference": answer.example.completion,
                "base": answer.base,
                "candidate": answer.candidate,
                "segment": answer.example.segment,
            }
            for answer in shown
        ],
    }
