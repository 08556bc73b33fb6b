"""The privacy gate: which kinds of personal data a run looks for, and how often each is found; never what was found.

How it is found and replaced is `retune_stores.privacy`, which the tap shares.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

from retune_stores.errors import InputError
from retune_stores.privacy import KNOWN, USUAL, Finder, Found, finder
from retune_trainer.config import RunConfig

__all__ = ["KNOWN", "USUAL", "Finder", "Found", "Tally", "finder", "kinds", "scrubber"]

FIELD = "spec.gates.privacy.entities"


def kinds(config: RunConfig) -> tuple[str, ...]:
    """The kinds that a run looks for.

    Raises:
        InputError: one is asked for that is not known.
    """
    wanted = config.spec.gates.privacy.entities
    unknown = [kind for kind in wanted if kind not in KNOWN]
    if unknown:
        message = f"{', '.join(map(repr, unknown))} cannot be found by this trainer; use any of {', '.join(KNOWN)}"
        raise InputError("EntityNotKnown", FIELD, message)
    return tuple(dict.fromkeys(wanted)) or USUAL


def scrubber(config: RunConfig) -> Callable[[str], str]:
    """What replaces personal data of the run's kinds by `<KIND>` in a text, whether or not the run redacts.

    Raises:
        InputError: a kind is asked for that is not known.
    """
    return finder(kinds(config)).scrub


class Tally:
    """Counts what is found, by kind; knows rows, and no text."""

    def __init__(self) -> None:
        """Nothing is found yet."""
        self.occurrences: Counter[str] = Counter()
        self.rows: Counter[str] = Counter()
        self.any = 0

    def add(self, found: Sequence[str]) -> None:
        """One row's kinds, one for each occurrence."""
        if found:
            self.any += 1
            self.occurrences.update(found)
            self.rows.update(set(found))

    def numbers(self, *, redacted: bool) -> dict[str, float]:
        """The gate's numbers. Of more than 30 kinds those found most often."""
        return {**dict(self.occurrences.most_common(30)), "rows": self.any, "redacted": int(redacted)}

    def details(self) -> dict[str, dict[str, int]]:
        """`details.privacy`."""
        return {
            kind: {"occurrences": self.occurrences[kind], "rows": self.rows[kind]} for kind in sorted(self.occurrences)
        }
