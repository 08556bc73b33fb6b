"""How often a gold set has been looked at, and how sure the next look must be. Pure.

Whoever looks at the same examples again and again is fooled by one of the looks: 50 runs on 240 examples accept falsely
in 46 % of cases (design 3-evidence, "Evaluation before shipping"). So look j gets
alpha_j = (1 - confidence) / (j (j + 1)), which adds up to 1 - confidence over all looks; a gold set of which half is
new starts over.
"""

import base64
import binascii
import struct

from retune.api import FineTuneRunStatus, GoldLooks, Look

SKETCH = 64  # smallest hashes kept
SPACE = 2**32  # of the hashes


def next_look(known: GoldLooks | None, status: FineTuneRunStatus, confidence: float) -> Look:
    """The look that this run takes at its gold set.

    Args:
        known: the job's record of looks so far.
        status: the run's; its gold set is resolved.
        confidence: `evaluation.acceptance.confidence`.
    """
    gold = status.resolved.gold if status.resolved is not None else None
    number = 1
    if known is not None and gold is not None:
        same = known.digest == gold.digest or new_share(known.sketch, gold.sketch) < 0.5
        number = known.looks + 1 if same else 1
    return Look(number=number, alpha=(1 - confidence) / (number * (number + 1)))


def new_share(old: str | None, new: str | None) -> float:
    """The share of `new`'s examples that `old` does not hold, from their sketches; 0 if either cannot be read.

    By the k smallest hashes of the union (Bar-Yossef et al., 2002; Beyer et al., 2007): the share of those that lie in
    both estimates the Jaccard index, the k-th of them the size. Sets of fewer than 64 examples are compared exactly.
    """
    a, b = _hashes(old), _hashes(new)
    if not a or not b:
        return 0.0  # unknown is never good news: it counts as the same gold set
    union = sorted(set(a) | set(b))
    if len(a) < SKETCH and len(b) < SKETCH:
        return 1 - len(set(a) & set(b)) / len(set(b))
    k = min(SKETCH, len(union))
    smallest = set(union[:k])
    both = len(smallest & set(a) & set(b)) / k
    shared = both * _size(union[:k])
    return min(1.0, max(0.0, 1 - shared / _size(b)))


def _size(hashes: list[int]) -> float:
    """How many examples a sketch stands for."""
    ordered = sorted(set(hashes))
    if len(ordered) < SKETCH:
        return float(len(ordered))
    return (len(ordered) - 1) * SPACE / (ordered[-1] + 1)


def _hashes(sketch: str | None) -> list[int]:
    try:
        raw = base64.b64decode(sketch or "", validate=True)
        return list(struct.unpack(f">{len(raw) // 4}I", raw))
    except (binascii.Error, struct.error, ValueError):
        return []
