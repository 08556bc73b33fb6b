"""Texts as sets of overlapping pieces, and their MinHash signatures: 128 bytes a text, whatever its length.

A signature is 64 minima of 16 bits each (b-bit minwise hashing, Li and König, WWW 2010), laid out as 16 bands of 64
bits. The share of equal minima estimates the Jaccard index of the two texts' pieces, with a standard error of 0.05 at
0.8. MinHash itself is the rensa library's; the pieces are made here for a whole batch at once, because a Python object
for each would take ten times as long.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from retune_trainer.measuring.text import Keys, among, mixed, normal

# Five characters: about a word. One letter mistyped in a question of sixty characters leaves the index above 0.8.
PIECE = 5
PERMUTATIONS = 64
BANDS = 16
SEED = 20
# A longer text is compared by its beginning.
LONGEST = 200_000

_BASE = np.uint64(0x100000001B3)
_APART = re.compile(r"[\W_]+")

Signatures = npt.NDArray[np.uint64]


def words(text: str) -> str:
    """The letters and digits of a text with single spaces between words: punctuation makes no copy an original."""
    return _APART.sub(" ", normal(text[:LONGEST])).strip()


def pieces(texts: Sequence[str]) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Every text's pieces as 64-bit hashes in one flat array, and where each text's begin (and the last one's end).

    Texts are as `words` gives them. Every text has at least one piece.
    """
    padded = [text.ljust(PIECE) for text in texts]
    codes = np.frombuffer("".join(padded).encode("utf-32-le", "surrogatepass"), "<u4").astype(np.uint64)
    lengths = np.fromiter(map(len, padded), np.int64, len(padded))
    offsets = np.concatenate(([0], np.cumsum(lengths - (PIECE - 1))))
    if not len(codes):
        return codes, offsets
    last = len(codes) - (PIECE - 1)
    hashes = np.zeros(last, np.uint64)
    for place in range(PIECE):
        hashes = hashes * _BASE + codes[place : place + last]
    ends = np.repeat(np.cumsum(lengths), lengths)[:last]
    return mixed(hashes[np.arange(last) + PIECE <= ends]), offsets


def common(texts: Sequence[str], share: float = 0.2, fewest: int = 50) -> Keys:
    """The pieces that more than `share` of the texts have, sorted: a prompt's template, not its content.

    Fewer than `fewest` texts are too few to judge by: then there are none.
    """
    if len(texts) < fewest:
        return np.empty(0, np.uint64)
    found, offsets = pieces(texts)
    once = [np.unique(found[a:b]) for a, b in pairwise(offsets)]
    values, counts = np.unique(np.concatenate(once), return_counts=True)
    return values[counts > share * len(texts)]


def without(found: Keys, offsets: npt.NDArray[np.int64], left_out: Keys) -> tuple[Keys, npt.NDArray[np.int64]]:
    """Pieces less those of `left_out`, but for texts that would have none left: those stay whole."""
    if not len(left_out) or not len(found):
        return found, offsets
    kept = ~among(found, left_out)
    counts = np.add.reduceat(kept.astype(np.int64), offsets[:-1])
    sizes = np.diff(offsets)
    bare = counts == 0
    kept |= np.repeat(bare, sizes)
    return found[kept], np.concatenate(([0], np.cumsum(np.where(bare, sizes, counts))))


def signatures(texts: Sequence[str], left_out: Keys) -> Signatures:
    """One row of `BANDS` 64-bit bands for each text."""
    from rensa import RMinHash  # type: ignore[import-untyped]

    if not texts:
        return np.empty((0, BANDS), np.uint64)
    found, offsets = without(*pieces(texts), left_out)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(found, offsets.astype(np.uint64), PERMUTATIONS, SEED)
    minima = np.array(matrix.to_rows(), np.uint32)
    # The upper bits of a minimum are nearly always zero; the lower ones tell it from others.
    return np.ascontiguousarray((minima & 0xFFFF).astype("<u2")).view("<u8")


def similarity(a: Signatures, b: Signatures) -> npt.NDArray[np.float64]:
    """The estimated Jaccard index of each row of `a` with the same row of `b`, from 0 to 1."""
    equal = np.ascontiguousarray(a).view("<u2") == np.ascontiguousarray(b).view("<u2")
    result: npt.NDArray[np.float64] = equal.mean(axis=1)
    return result
