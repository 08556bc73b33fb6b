"""What is worth telling of a rollout, read off what taps and users saw. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from hack.demo.taps import TapLook
from hack.load.answers import Answer

CANARY = "canary"


@dataclass(frozen=True)
class TakenBack:
    """How a bad candidate ended. Times: seconds since the epoch, None while it has not happened.

    Attributes:
        wrong_at: when the first user had a wrong answer from it.
        counted_at: when its first bad answer was in the taps' counters.
        zero_at: when every tap gave it nothing any more.
        wrong, answers: what it gave to users in all.
    """

    wrong_at: float | None
    counted_at: float | None
    zero_at: float | None
    wrong: int
    answers: int

    @property
    def after_wrong(self) -> float | None:
        """Seconds from its first wrong answer to weight 0 everywhere."""
        return _between(self.wrong_at, self.zero_at)

    @property
    def after_counted(self) -> float | None:
        """Seconds from the fault's being visible in the counters to weight 0 everywhere."""
        return _between(self.counted_at, self.zero_at)


def taken_back(number: int, looks: Sequence[TapLook], answers: Sequence[Answer]) -> TakenBack:
    """How the candidate of run `number` ended, from what taps and users saw of its rollout, both in order of time."""
    given = [answer for answer in answers if answer.arm == CANARY and answer.right is not None]
    wrong = [answer for answer in given if not answer.right]
    counted = next((look.at for look in looks if look.faults(number)), None)
    return TakenBack(
        wrong_at=min((answer.until for answer in wrong), default=None),
        counted_at=counted,
        zero_at=_zero(number, looks),
        wrong=len(wrong),
        answers=len(given),
    )


def weights(number: int, looks: Sequence[TapLook]) -> list[tuple[float, int]]:
    """When run `number`'s share became what: (seconds since the epoch, percent), with each change and its end."""
    found: list[tuple[float, int]] = []
    for look in looks:
        weight = look.weight
        if weight is None or (not look.of_run(number) and not found):
            continue
        if weight == 0 and look.silent:  # a tap that does not answer may still give
            continue
        if (found and found[-1][1] != weight) or (not found and weight > 0):
            found.append((look.at, weight))
    return found


def _zero(number: int, looks: Sequence[TapLook]) -> float | None:
    """When all taps that there are gave nothing any more, and stayed so."""
    last = max((n for n, look in enumerate(looks) if look.weight and look.of_run(number)), default=None)
    if last is None:
        return None
    return next((look.at for look in looks[last + 1 :] if look.weight == 0 and not look.silent), None)


def _between(begin: float | None, end: float | None) -> float | None:
    return None if begin is None or end is None else max(0.0, end - begin)
