"""Which of the newest rows are kept out of training, to become fresh gold.

Pure: times and keys in, a mask out. The newest row sets the clock, so that the same data always gives the same split.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from retune_stores.errors import InputError
from retune_trainer.config import HoldOut
from retune_trainer.data import Origin
from retune_trainer.measuring.text import Keys, mixed

FIELD = "spec.dataset.timeField"
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_NUMBER = re.compile(r"-?\d{9,}(\.\d+)?|-?\d+\.\d+")
# The year 5138: a larger number counts milliseconds, or is no time.
_LATEST = 1e11


def seconds(duration: str) -> int:
    """The length of a duration such as `1d12h`, in seconds."""
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"(\d+)([dhms])", duration))


def moment(value: object, column: str, line: int, origin: Origin, unit: str = "line") -> float:
    """A row's time in seconds since 1970: ISO 8601 (UTC where it names no zone) or epoch seconds.

    Raises:
        InputError: it is neither; the message names line, value and cure.
    """
    try:
        found = _seconds_of(value)
    except (ValueError, OverflowError, OSError):
        found = math.nan
    if not math.isfinite(found) or abs(found) > _LATEST:
        cure = "write ISO 8601, such as 2024-05-31T12:00:00Z, or seconds since 1970"
        message = f"{origin.uri}, {unit} {line}: {column!r} is {repr(value)[:40]}; {cure}"
        raise InputError("DatasetMalformed", FIELD, message)
    return found


def _seconds_of(value: object) -> float:
    if isinstance(value, bool):
        return math.nan
    if isinstance(value, int | float):
        return float(value)
    if isinstance(value, str):
        text = value.strip()
        if _NUMBER.fullmatch(text):
            return float(text)
        value = datetime.fromisoformat(text)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()
    return math.nan


def choose(asked: Keys, times: npt.NDArray[np.float64], rule: HoldOut) -> npt.NDArray[np.bool_]:
    """The rows to hold out.

    Of the questions of which every copy lies within `newest` of the newest row, `fraction` (rounded) are taken, in the
    order of a hash of the question: the choice depends on nothing else, and copies always stay together. A question
    that was asked earlier, too, is no test of tomorrow and stays in training.
    """
    held = np.zeros(len(asked), bool)
    if not len(asked):
        return held
    within = times >= times.max() - seconds(rule.newest)
    questions, inverse = np.unique(asked, return_inverse=True)
    inverse = inverse.reshape(-1)
    eligible = np.ones(len(questions), bool)
    np.logical_and.at(eligible, inverse, within)
    candidates = np.flatnonzero(eligible)
    count = round(rule.fraction * len(candidates))
    chosen = candidates[np.argsort(mixed(questions[candidates]), kind="stable")[:count]]
    picked = np.zeros(len(questions), bool)
    picked[chosen] = True
    result: npt.NDArray[np.bool_] = picked[inverse]
    return result
