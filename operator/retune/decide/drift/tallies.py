"""Counts of the last hours, from windows that taps tell again and again. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from retune.decide.drift.evidence import Counted

WINDOW = 15.0  # s, of a tap
FIVE = 300.0  # s
BACK = 300.0  # s that a tap's windows must have gone back for its clock to have been put back
FORGOTTEN = 86_400.0  # s after which a tap that says nothing is forgotten
SLACK = 60.0  # s that a tap's clock may differ before it is not believed


@dataclass(frozen=True)
class Tally:
    """Counts by piece of time.

    Attributes:
        width: of a piece, seconds.
        length: how many are kept.
        pieces: by number, (bad, total).
        taken: by pod, the newest window counted and when it was heard from.
    """

    width: float
    length: int
    pieces: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    taken: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def within(self, seconds: float, now: float) -> list[tuple[int, int]]:
        """The pieces of the last `seconds`, oldest first."""
        first = (now - seconds) // self.width + 1
        return [counts for piece, counts in sorted(self.pieces.items()) if piece >= first]


def by_five(tally: Tally) -> list[tuple[int, int]]:
    """All that is kept, in pieces of five minutes, oldest first."""
    found: dict[int, tuple[int, int]] = {}
    for piece, (bad, total) in sorted(tally.pieces.items()):
        some = found.get(five := int(piece * tally.width // FIVE), (0, 0))
        found[five] = (some[0] + bad, some[1] + total)
    return list(found.values())


def placed(at: float, now: float, last: float | None) -> float:
    """When something happened that a tap tells: by its own clock, unless that cannot be.

    What a tap that was heard at the last look tells now happened since then, whatever its clock says.
    """
    return min(now, at if last is None else max(at, last - SLACK))


def fresh(tally: Tally, windows: Iterable[Counted], *, now: float, last: float | None) -> tuple[Tally, list[Counted]]:
    """The windows not counted before, at the times they are believed to have been, and the tally that knows of them."""
    taken = dict(tally.taken)
    found: list[Counted] = []
    by_pod: dict[str, dict[float, Counted]] = {}
    for window in windows:
        by_pod.setdefault(window.pod, {})[window.start] = window
    for pod, own in sorted(by_pod.items()):
        newest = max(own)
        before = taken[pod][0] if pod in taken else float("-inf")
        if newest < before - BACK:
            before = float("-inf")
        new = [own[start] for start in sorted(own) if start > before]
        heard = last if pod in taken else None
        found += [replace(each, start=placed(each.start + WINDOW, now, heard)) for each in new]
        taken[pod] = (newest if new else before, now)
    kept = {pod: told for pod, told in taken.items() if now - told[1] < FORGOTTEN}
    return replace(tally, taken=kept), found


def count(tally: Tally, windows: Iterable[Counted], now: float) -> Tally:
    """With more windows (of `fresh`), and without what is too old."""
    pieces = dict(tally.pieces)
    for window in windows:
        piece = int(window.start // tally.width)
        bad, total = pieces.get(piece, (0, 0))
        pieces[piece] = (bad + window.bad, total + window.total)
    first = now // tally.width - tally.length
    return replace(tally, pieces={piece: counts for piece, counts in pieces.items() if piece > first})
