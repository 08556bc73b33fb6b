"""The calendar against a clerk who looks at the wall clock every minute."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.api import Schedule
from retune.decide.triggers.calendar import after, newest, problem

MINUTE = timedelta(minutes=1)
# Zone and year: usual changes, half an hour, a whole day left out, at midnight, by three hours, and none at all.
YEARS = [
    ("Europe/Berlin", 2026),
    ("America/New_York", 2026),
    ("Australia/Lord_Howe", 2026),
    ("Pacific/Apia", 2011),
    ("America/Sao_Paulo", 2018),
    ("Africa/Casablanca", 2025),
    ("Antarctica/Troll", 2025),
    ("Asia/Kolkata", 2026),
    ("UTC", 2028),
]
LINES = ["30 2 * * *", "0 0 * * *", "15,45 1,2,3 * * *", "*/15 5 * * *", "20 * * * *", "*/40 */3 * * SUN", "0 9 1 * *"]


def fields(cron: str) -> list[set[int]]:
    """The numbers that each field of a simple line allows."""
    names = {"SUN": 0}
    allowed = []
    for text, (low, high) in zip(cron.split(), ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6)), strict=True):
        numbers: set[int] = set()
        for item in text.split(","):
            span, _, step = item.partition("/")
            if span == "*":
                numbers |= set(range(low, high + 1, int(step or 1)))
            else:
                numbers.add(names[span] if span in names else int(span))
        allowed.append(numbers)
    return allowed


def shows(allowed: list[set[int]], wall: datetime) -> bool:
    values = (wall.minute, wall.hour, wall.day, wall.month, wall.isoweekday() % 7)
    return all(value in field for value, field in zip(values, allowed, strict=True))


def clerk(cron: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    """All times of the calendar in (begin, end], by looking at the wall every minute."""
    place, allowed = ZoneInfo(zone), fields(cron)
    as_shown = cron.startswith("*") or cron.split()[1].startswith("*")
    found, moment = [], begin
    done = moment.astimezone(place).replace(tzinfo=None)  # all that the wall has shown, or jumped over
    while moment < end:
        moment += MINUTE
        wall = moment.astimezone(place).replace(tzinfo=None)
        if as_shown:
            due = shows(allowed, wall)
        else:
            due = False
            while done < wall:
                done += MINUTE
                due = due or shows(allowed, done)
        if due:
            found.append(moment)
    return found


def listed(cron: str, zone: str, begin: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    moment = after(cron, zone, begin)
    while moment is not None and moment <= end:
        found.append(moment)
        moment = after(cron, zone, moment)
    return found


@pytest.mark.parametrize(("zone", "year"), YEARS)
def test_in_a_whole_year_no_time_is_lost_and_none_comes_twice(zone: str, year: int) -> None:
    begin, end = datetime(year - 1, 12, 31, tzinfo=UTC), datetime(year + 1, 1, 2, tzinfo=UTC)
    place = ZoneInfo(zone)
    # The days on which the clock is moved, with their neighbours, and the turns of the year: the rest is like these.
    days = [begin + timedelta(days=n) for n in range((end - begin).days)]
    moved = [d for d in days if len({(d + timedelta(hours=h)).astimezone(place).utcoffset() for h in (0, 24)}) > 1]
    spans = [(d - timedelta(days=2), d + timedelta(days=3)) for d in (begin + timedelta(days=2), *moved)]
    for cron in LINES:
        for start, stop in spans:
            assert listed(cron, zone, start, stop) == clerk(cron, zone, start, stop), (cron, zone, start)
        every = listed(cron, zone, begin, end)
        assert every == sorted(set(every))
    daily = listed("30 2 * * *", zone, begin, end)
    nights = {d.astimezone(place).date() for d in daily}
    days_left_out = 1 if zone == "Pacific/Apia" else 0  # made good for on the next, which has a time of its own
    assert len(daily) - len(nights) == days_left_out, "once a day, also when 02:30 comes twice or not at all"


def test_a_night_without_half_past_two_has_its_run_when_the_clock_is_moved() -> None:
    assert after("30 2 * * *", "Europe/Berlin", datetime(2026, 3, 28, 12, tzinfo=UTC)) == datetime(
        2026, 3, 29, 1, tzinfo=UTC
    )


def test_a_night_with_two_half_past_twos_has_its_run_at_the_first() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert after("30 2 * * *", "Europe/Berlin", datetime(2026, 10, 24, 12, tzinfo=UTC)) == first
    for seen in (first, datetime(2026, 10, 25, 1, 10, tzinfo=UTC)):  # then; and at ten past two for the second time
        assert after("30 2 * * *", "Europe/Berlin", seen) == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


def test_a_day_that_an_island_left_out_is_made_good_for_at_once() -> None:
    """Apia had no 30 December 2011."""
    found = listed(
        "0 3 * * *", "Pacific/Apia", datetime(2011, 12, 29, 14, tzinfo=UTC), datetime(2012, 1, 1, tzinfo=UTC)
    )
    assert found == [
        datetime(2011, 12, 30, 10, tzinfo=UTC),
        datetime(2011, 12, 30, 13, tzinfo=UTC),
        datetime(2011, 12, 31, 13, tzinfo=UTC),
    ]


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    where=st.sampled_from(YEARS),
    cron=st.sampled_from(LINES),
    day=st.integers(0, 364),
    minute=st.integers(0, 1439),
    hours=st.integers(0, 24 * 40),
)
def test_the_newest_time_is_the_last_of_all(
    data: st.DataObject, where: tuple[str, int], cron: str, day: int, minute: int, hours: int
) -> None:
    zone, year = where
    since = datetime(year, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=minute)
    now = since + timedelta(hours=hours, seconds=data.draw(st.integers(0, 3599)))
    every = listed(cron, zone, since, now)
    assert newest(cron, zone, since, now) == (every[-1] if every else None)
    assert after(cron, zone, since) is not None
    assert all(since < one <= now for one in every)


@pytest.mark.parametrize(
    ("cron", "zone", "field", "value"),
    [
        ("0 3 * * 1", "Europe/Berlni", "timeZone", "Europe/Berlni"),
        ("0 3 * * 1", "Europe", "timeZone", "Europe"),
        ("0 0 31 2 *", "UTC", "cron", "0 0 31 2 *"),
        ("0 0 30 2 */7", "UTC", "cron", "0 0 30 2 */7"),
        ("0 0 31 4,6,9,11 *", "UTC", "cron", "31"),
        ("50-10 3 * * *", "UTC", "cron", "50-10"),
        ("0 3 * * FRI-MON", "UTC", "cron", "FRI-MON"),
    ],
)
def test_a_calendar_that_never_comes_is_named_with_its_cure(cron: str, zone: str, field: str, value: str) -> None:
    said = problem(Schedule(cron=cron, time_zone=zone))
    assert f"spec.triggers.schedule.{field}" in said
    assert value in said
    assert any(word in said for word in ("Write", "Use"))


@pytest.mark.parametrize(
    "cron", ["0 0 29 2 *", "0 0 31 2 MON", "0 22 * * FRI-SUN", "0 0 29 2 */7", "*/5 0-6/2 1,15 JAN 7"]
)
def test_a_calendar_that_comes_seldom_is_one(cron: str) -> None:
    assert problem(Schedule(cron=cron, time_zone="America/Argentina/Buenos_Aires")) == ""
    assert after(cron, "UTC", datetime(2096, 3, 1, tzinfo=UTC)) is not None


def test_a_range_of_days_may_end_on_sunday() -> None:
    found = listed("0 22 * * FRI-SUN", "UTC", datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC))
    assert [moment.isoweekday() for moment in found] == [5, 6, 7]


def test_time_zones_are_known_on_a_machine_that_has_none_of_its_own() -> None:
    zones = [zone for zone, _ in YEARS]
    code = f"from zoneinfo import ZoneInfo; [ZoneInfo(zone) for zone in {zones}]"
    environment = {**os.environ, "PYTHONTZPATH": ""}  # only what comes with the operator's own packages
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
