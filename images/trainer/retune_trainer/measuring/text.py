"""When two texts count as the same: the one normal form that duplicates, conflicts, leakage and hold-out go by.

Pure functions on strings; no file and no library but Python's own and numpy.
"""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import numpy.typing as npt

Keys = npt.NDArray[np.uint64]

_FIRST, _SECOND, _STEP = (np.uint64(n) for n in (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15))


def normal(text: str) -> str:
    """`text` in one Unicode form (NFKC), without case, and with single spaces for every run of white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def key(text: str) -> int:
    """64 bits that are the same for texts of the same normal form.

    Of a million different texts, two share a key with a chance of 3 in 10^8.
    """
    # A lone surrogate can come in by an escape in JSON and has no UTF-8 of its own.
    content = normal(text).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def mixed(values: Keys) -> Keys:
    """The values scattered over 64 bits (the last step of SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
    values = values + _STEP
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    result: Keys = values ^ (values >> np.uint64(31))
    return result


def among(keys: Keys, known: Keys) -> npt.NDArray[np.bool_]:
    """Which of the keys are among those of `known`, which are sorted."""
    if not len(known):
        return np.zeros(len(keys), bool)
    result: npt.NDArray[np.bool_] = known[np.minimum(np.searchsorted(known, keys), len(known) - 1)] == keys
    return result


def joined(asked: Keys, answer: Keys) -> Keys:
    """One key for question and answer together, in this order."""
    return mixed(mixed(asked) + answer)
