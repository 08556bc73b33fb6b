"""The times of a cron line in a time zone, as moments: across changes of the clock, and however long nobody looked.

Pure, but for the time zone database, which is a constant. The library cronsim finds the times on the wall; what they
mean when the wall clock is moved is decided here, as Debian's cron does (cron(8), "Notes"):

- a line with a star as minute or hour speaks of every such time that the wall shows: none in an hour that is left out,
  each of both in an hour that comes twice;
- any other line is meant once a day: a time that is left out becomes the moment in which the clock is moved, and of a
  time that comes twice the first counts.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from retune.api import Schedule

_SECOND, _DAY = timedelta(seconds=1), timedelta(days=1)
# How far back a newest time is looked for, before all there are: a line may have one a minute, or one a leap year.
_BACK = (timedelta(hours=1), _DAY, timedelta(days=32))


def problem(schedule: Schedule) -> str:
    """Why no run can ever start by `schedule`: field, value and cure; "" if it can."""
    try:
        ZoneInfo(schedule.time_zone)
    except (KeyError, ValueError, OSError):  # not there, not a name, a folder of zones
        return (
            f"spec.triggers.schedule.timeZone is {schedule.time_zone}, which the time zone database does not have. "
            "Write a name such as Europe/Berlin or UTC."
        )
    try:
        next(_wall(schedule.cron, datetime(2000, 1, 1)))  # noqa: DTZ001 - a time on the wall has no zone
    except CronSimError as error:
        return (
            f"spec.triggers.schedule.cron is {schedule.cron}, which is no time that ever comes ({error}). Use days "
            "that its months have, and ranges that rise, such as 0 3 * * 1-5."
        )
    except StopIteration:
        return f"spec.triggers.schedule.cron is {schedule.cron}, which never comes. Use days that its months have."
    return ""


@lru_cache(maxsize=4096)
def after(cron: str, zone: str, moment: datetime) -> datetime | None:
    """The first time of the calendar after `moment`, in UTC; None if there is none in fifty years.

    Raises:
        CronSimError: `problem` would have named it.
    """
    place, moment = ZoneInfo(zone), moment.astimezone(UTC).replace(microsecond=0)
    minute, hour = cron.split()[:2]
    if minute.startswith("*") or hour.startswith("*"):
        return _as_shown(cron, place, moment)
    return _once(cron, place, moment)


def newest(cron: str, zone: str, since: datetime, now: datetime) -> datetime | None:
    """The last time of the calendar in (since, now], in UTC; None if there is none."""
    first = after(cron, zone, since)
    if first is None or first > now:
        return None
    for back in (*_BACK, now - since):
        start = max(since, now - back)
        last = None
        while (coming := after.__wrapped__(cron, zone, last or start)) is not None and coming <= now:
            last = coming
        if last is not None:
            return last
    return first


def _wall(cron: str, start: datetime) -> Iterator[datetime]:
    """Times on the wall after `start`, none of them in a zone."""
    # A range that ends on Sunday: cronsim has it as day 0 only, so that FRI-SUN would fall.
    return CronSim(cron.replace("-SUN", "-7"), start)


def _as_shown(cron: str, place: ZoneInfo, moment: datetime) -> datetime | None:
    """Every time that the wall shows. As long as the clock is not moved, wall and UTC differ by a constant."""
    last, here, ahead = moment, moment, _ahead(place, moment)
    while True:
        on_wall = next(_wall(cron, (last + ahead).replace(tzinfo=None)), None)
        if on_wall is None:
            return None
        found = on_wall.replace(tzinfo=UTC) - ahead
        moved = _moved(place, here, found)
        if moved is None:
            return found
        last, here, ahead = moved - _SECOND, moved, _ahead(place, moved)  # a time in the moment of the change counts


def _once(cron: str, place: ZoneInfo, moment: datetime) -> datetime | None:
    """Once for each time of the calendar."""
    for on_wall in _wall(cron, moment.astimezone(place).replace(tzinfo=None)):
        here = on_wall.replace(tzinfo=place)
        found = here.astimezone(UTC)
        if found.astimezone(place).replace(tzinfo=None) != on_wall:  # the clock leaves it out
            found = _change(place, here.replace(fold=1).astimezone(UTC), found)
        if found > moment:
            return found
    return None


def _ahead(place: ZoneInfo, moment: datetime) -> timedelta:
    """How far the wall clock is ahead of UTC."""
    return moment.astimezone(place).utcoffset() or timedelta()


def _moved(place: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """When the clock is first moved in (start, end]; that happens on some days only, and once on a day."""
    ahead = _ahead(place, start)
    while start < end:
        day = min(start + _DAY, end)
        if _ahead(place, day) != ahead:
            return _change(place, start, day)
        start = day
    return None


def _change(place: ZoneInfo, before: datetime, later: datetime) -> datetime:
    """The first whole second of (before, later] with the wall clock of `later`; it is moved once in between."""
    ahead = _ahead(place, later)
    seconds = int((later - before).total_seconds())
    low, high = 0, seconds
    while high - low > 1:
        middle = (low + high) // 2
        if _ahead(place, later - timedelta(seconds=seconds - middle)) == ahead:
            high = middle
        else:
            low = middle
    return later - timedelta(seconds=seconds - high)
