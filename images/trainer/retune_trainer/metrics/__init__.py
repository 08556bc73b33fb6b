"""How answers are measured. A new metric is one new small file and one line here."""

from __future__ import annotations

from collections.abc import Callable

from retune_trainer.metrics import exact_match, token_f1, top1

# A score takes the model's answer and the reference, and is better the higher it is.
Score = Callable[[str, str], float]

METRICS: dict[str, Score] = {
    "ExactMatch": exact_match.score,
    "TokenF1": token_f1.score,
    "Top1": top1.score,
}

# Known to the API and not measured yet; the operator names them in a condition.
NOT_YET = ("JsonValid", "Top3", "Perplexity")
