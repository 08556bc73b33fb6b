"""A few bytes that tell how much of a later gold set is new: a bottom-64 sketch.

The 64 smallest hashes of a set are a uniform sample of it, and those of two sets show how much they share
(Beyer et al., On Synopses for Distinct-Value Estimation Under Multiset Operations, SIGMOD 2007).
"""

from __future__ import annotations

import base64

import numpy as np

from retune_trainer.measuring.text import Keys

SIZE = 64


def sketch(keys: Keys) -> str:
    """The 64 smallest different values of the keys' upper 32 bits, rising, each big-endian, in base64."""
    values = np.unique((keys >> np.uint64(32)).astype(np.uint32))
    return base64.b64encode(values[:SIZE].astype(">u4").tobytes()).decode()
