"""What users got for an answer, and what that adds up to by arm. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hack.load.questions import Question

FAILED = 500
"""HTTP status from which an answer is the server's fault."""


@dataclass(frozen=True)
class Answer:
    """One answer as its user saw it.

    Attributes:
        at: when it was asked for, seconds since the epoch.
        user: the id that was sent in the sticky header.
        arm: what `x-retune-arm` said; "" if there was no answer.
        status: of HTTP; 0 if there was no answer.
        seconds: until the whole answer was there, or was given up.
        text: what the model said; "" with an error.
        right: whether it was the right answer; None with an error.
        asked: the question.
    """

    at: float
    user: str
    arm: str
    status: int
    seconds: float
    text: str = ""
    right: bool | None = None
    asked: Question | None = None

    @property
    def failed(self) -> bool:
        """Whether the server is to blame: no answer, or a 5xx."""
        return self.status == 0 or self.status >= FAILED

    @property
    def until(self) -> float:
        """When it was there, seconds since the epoch."""
        return self.at + self.seconds


@dataclass(frozen=True)
class Summary:
    """Answers added up. `p50`, `p95`: seconds, of those that came; None if none did."""

    requests: int
    errors: int
    right: int
    judged: int
    p50: float | None
    p95: float | None

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None if none could be judged."""
        return self.right / self.judged if self.judged else None


def summary(answers: Iterable[Answer]) -> Summary:
    """All of them together."""
    found = list(answers)
    judged = [answer for answer in found if answer.right is not None]
    came = sorted(answer.seconds for answer in found if not answer.failed)
    return Summary(
        requests=len(found),
        errors=sum(answer.failed for answer in found),
        right=sum(bool(answer.right) for answer in judged),
        judged=len(judged),
        p50=quantile(came, 0.5),
        p95=quantile(came, 0.95),
    )


def by_arm(answers: Iterable[Answer]) -> dict[str, Summary]:
    """By arm, those without an answer under "-"; stable first, then canary."""
    arms: dict[str, list[Answer]] = {}
    for answer in answers:
        arms.setdefault(answer.arm or "-", []).append(answer)
    order = {"stable": 0, "canary": 1}
    return {arm: summary(arms[arm]) for arm in sorted(arms, key=lambda arm: (order.get(arm, 2), arm))}


def since(answers: Sequence[Answer], begin: float, end: float = math.inf) -> list[Answer]:
    """Those asked for from `begin` until before `end`, seconds since the epoch."""
    return [answer for answer in answers if begin <= answer.at < end]


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of all do not exceed (nearest rank); None of nothing."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None
