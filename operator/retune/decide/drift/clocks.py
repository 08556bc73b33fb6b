"""How long a trigger has been beyond its threshold, and what becomes of that when data is missing. Pure."""

from dataclasses import dataclass, replace

from retune.api.job import DriftState

GAP = 300.0  # s without data after which nothing is known any more


@dataclass(frozen=True)
class Reading:
    """What one look at a trigger said.

    Attributes:
        beyond: its threshold; None: not known, `message` says why.
        value: of the measure, if there is one.
        samples: behind it.
        e_value: of the betting detector.
        message: one line.
        anew: nothing of what was known holds any more.
    """

    beyond: bool | None
    value: float | None = None
    samples: int | None = None
    e_value: float | None = None
    message: str = ""
    anew: bool = False


@dataclass(frozen=True)
class Clock:
    """Where a trigger stands. `since`: beyond, `seen`: something was known; seconds since the epoch.

    `last` is what was known then.
    """

    state: DriftState = DriftState.UNKNOWN
    since: float | None = None
    seen: float | None = None
    last: Reading = Reading(None)


def advance(clock: Clock, reading: Reading, lasting: float, now: float) -> Clock:
    """The clock after a look.

    Args:
        clock: before.
        reading: of this look.
        lasting: how long it must stay beyond the threshold, seconds.
        now: seconds since the epoch.
    """
    lost = clock.seen is None or now - clock.seen > GAP
    if reading.anew:
        return Clock()
    if reading.beyond is None:
        # Missing data makes nothing better or worse for a while, and starts and ends no clock.
        return Clock(seen=clock.seen) if lost else clock
    if not reading.beyond:
        return Clock(DriftState.OK, None, now, reading)
    since = now if lost or clock.since is None else clock.since
    state = DriftState.FIRING if now - since >= lasting else DriftState.BREACHED
    return replace(clock, state=state, since=since, seen=now, last=reading)
