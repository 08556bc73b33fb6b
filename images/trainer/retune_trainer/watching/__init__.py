"""A look at the world of a job that rests: how many examples there are by now, and does the serving model still answer.

Reads the training set, the gold set and the corrections, asks the job's own Service; writes nothing. No torch.
"""

from __future__ import annotations

from retune_trainer.watching.look import run

__all__ = ["run"]
