"""Preflight's measuring of the data: is there enough, is it clean, is the gold set in it, are people in it.

Numbers only; the operator judges them. Each file is read twice, row by row: once for keys, times and lengths (`scan`),
and once, when it is known which rows are trained on, for all that needs the texts (`reading`).
"""

from __future__ import annotations

from retune_trainer.measuring.measure import Measurement, measure

__all__ = ["Measurement", "measure"]
