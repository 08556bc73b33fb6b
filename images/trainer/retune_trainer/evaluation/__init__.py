"""From a trained model to evaluation.json: what is asked, how answers are judged, and what is written of it."""

from retune_trainer.evaluation.choosing import acceptance_metric, choose, continuation, metrics_of

__all__ = ["acceptance_metric", "choose", "continuation", "metrics_of"]
