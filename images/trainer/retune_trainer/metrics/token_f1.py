"""TokenF1: the harmonic mean of precision and recall over words, as SQuAD's evaluation defines it.

Unlike there, no articles are left out: those are English only.
"""

import re
from collections import Counter

_WORD = re.compile(r"\w+", re.UNICODE)


def words(text: str) -> list[str]:
    """The words of a text, whatever their case."""
    return _WORD.findall(text.casefold())


def score(answer: str, reference: str) -> float:
    """Between 0 and 1; two texts without words are equal."""
    given, wanted = Counter(words(answer)), Counter(words(reference))
    if not given or not wanted:
        return float(given == wanted)
    common = sum((given & wanted).values())
    return 2 * common / (sum(given.values()) + sum(wanted.values()))
