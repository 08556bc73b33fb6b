"""What starts a run by itself, what holds it back, and that the status says so."""

from datetime import timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import make
from tests.unit.decide.triggers.place import DAILY, Place, firing, utc

from retune.api import DriftState, DriftStatus, JobPhase, RunPhase, TriggerKind
from retune.decide.conditions import find
from retune.decide.naming import HALT_ANNOTATION, PAUSE_ANNOTATION, RETRY_ANNOTATION
from retune.decide.triggers.calendar import after

DRIFT = {"drift": [{"name": "mix", "builtin": "PromptDrift", "threshold": 0.2, "for": "45m"}]}
QUERY = {"drift": [{"name": "slow", "query": "job:slow:ratio", "threshold": 0.1}]}
NEW = {"newExamples": {"count": 500, "checkEvery": "2h"}}
ALL = {**DAILY, **DRIFT, **NEW}


def detected(place: Place) -> tuple[str, str, str]:
    found = find(place.status.conditions, "DriftDetected")
    assert found is not None
    return found.status, found.reason, found.message


# ------------------------------------------------------------------------------------------------------------- calendar


def test_a_run_starts_when_its_time_comes_and_not_before() -> None:
    place = Place(DAILY).first()
    assert place.waits_for == (utc(2026, 3, 2, 2), "Schedule")
    place.now = utc(2026, 3, 2, 1, 59, 59)
    place.settle()
    assert place.kinds == ["Created"]
    place.now = utc(2026, 3, 2, 2)
    place.settle()
    assert place.kinds == ["Created", "Schedule"]
    assert place.runs[-1].spec.trigger.noticed_at == utc(2026, 3, 2, 2)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia"])
def test_a_year_of_looking_when_asked_to_has_a_run_for_each_time(zone: str) -> None:
    begin = utc(2011, 6, 1)
    place = Place({"schedule": {"cron": "30 2 * * *", "timeZone": zone}, "cooldown": "0s"}, now=begin).first()
    place.sleep_until(utc(2012, 6, 1))
    times, moment = [], begin
    while (moment := after("30 2 * * *", zone, moment) or moment) <= utc(
        2012, 6, 1
    ):  # test_calendar says these are right
        times.append(moment)
    assert place.starts[1:] == times
    walls = [time.astimezone(ZoneInfo(zone)).strftime("%H:%M") for time in times]
    assert walls.count("02:30") >= 363


@pytest.mark.parametrize("why", ["down", "suspended", "paused", "halted"])
def test_times_missed_make_one_run_and_not_many(why: str) -> None:
    place = Place(DAILY).first()
    spec = place.spec
    if why == "suspended":
        place.spec = spec.model_copy(update={"suspend": True})
    if why in ("paused", "halted"):
        place.annotations = {PAUSE_ANNOTATION if why == "paused" else HALT_ANNOTATION: ""}
    for _ in range(0 if why == "down" else 240):
        place.wait(hours=1).settle()
    assert len(place.runs) == 1
    if why != "down":
        at, reason = place.waits_for
        assert at is None
        assert reason.startswith("waits until")
    place.now, place.spec, place.annotations = make.NOW + timedelta(days=10), spec, {}
    place.settle()
    assert place.kinds == ["Created", "Schedule"]
    place.fly()
    assert len(place.runs) == 2
    assert place.waits_for[0] == utc(2026, 3, 12, 2)


def test_a_run_in_flight_over_a_scheduled_time_is_followed_by_one_run() -> None:
    place = Place(DAILY)
    place.settle()
    place.wait(days=4).settle()
    assert place.kinds == ["Created"]
    assert place.waits_for == (None, f"waits for the end of run {place.runs[0].meta.name}")
    place.end()
    place.fly()
    assert place.kinds == ["Created", "Schedule"]


def test_a_new_calendar_promises_nothing_of_the_past() -> None:
    place = Place({"cooldown": "0s"}).first()
    place.wait(days=400)
    place.spec = make.job_spec(triggers=DAILY)
    place.settle()
    assert len(place.runs) == 1
    other = {**DAILY, "schedule": {"cron": "0 4 * * *", "timeZone": "UTC"}}
    place.wait(days=3, hours=2).spec = make.job_spec(triggers=other)
    place.settle()
    assert len(place.runs) == 1, "what the old calendar had missed goes with it"
    place.spec = make.job_spec()
    place.settle()
    assert (place.status.calendar, place.status.next_run) == (None, None)


@pytest.mark.parametrize("hours", [1, 5, 24 * 365])
def test_a_clock_that_was_ahead_and_is_put_back_loses_no_time(hours: int) -> None:
    place = Place(DAILY).first()
    place.wait(hours=hours).fly()
    early = len(place.starts)
    place.wait(hours=-hours)
    end = place.now + timedelta(days=3)
    place.sleep_until(end)
    assert place.starts[early:] == [utc(2026, 3, day, 2) for day in (2, 3, 4)]


def test_a_job_at_rest_is_written_only_when_something_happens() -> None:
    place = Place({**ALL, "cooldown": "6h"}).first()
    place.count(10_000)
    place.drift(DriftStatus(name="mix", state=DriftState.OK, value=0.1))
    place.wait(hours=7).settle()
    writes = place.writes
    while place.now < utc(2026, 3, 2, 1, 59):
        place.wait(minutes=1).look()
    assert place.writes == writes


def test_a_clock_that_jumps_ahead_is_noticed_within_the_hour() -> None:
    place = Place(DAILY).first()
    requeue = place.settle().requeue_after
    assert requeue is not None
    assert requeue <= 3600


@pytest.mark.parametrize("behind", [2, 50])
def test_an_api_server_whose_clock_is_behind_gives_no_second_run(behind: int) -> None:
    place = Place(DAILY).first()
    place.behind = timedelta(seconds=behind)
    place.now = utc(2026, 3, 2, 2)
    place.fly()
    place.wait(seconds=1).fly()
    assert place.kinds == ["Created", "Schedule"]


def test_a_clock_put_back_a_little_gives_no_second_run() -> None:
    place = Place(DAILY).first()
    place.now = utc(2026, 3, 2, 2, 0, 1)
    place.fly()
    place.wait(minutes=-5).fly()
    place.sleep_until(utc(2026, 3, 2, 12))
    assert place.kinds == ["Created", "Schedule"]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_at_most_one_run_for_each_time_and_none_is_lost(data: st.DataObject) -> None:
    """However seldom somebody looks, however long runs take, whoever pauses the job: in the end all times are done."""
    cron = data.draw(st.sampled_from(["0 * * * *", "30 2 * * *", "*/20 5 * * *", "0 9 * * MON-FRI"]))
    zone = data.draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]))
    begin = data.draw(st.sampled_from([utc(2026, 3, 28, 12), utc(2026, 10, 24, 12), utc(2026, 4, 4), utc(2026, 11, 1)]))
    triggers = {"schedule": {"cron": cron, "timeZone": zone}, "cooldown": "0s"}
    place = Place(triggers, now=begin).first()
    steps = st.tuples(st.integers(0, 3600 * 9), st.sampled_from(["look", "look", "end", "pause", "go on"]))
    for seconds, what in data.draw(st.lists(steps, min_size=1, max_size=40)):
        place.wait(seconds=seconds)
        if what == "end" and place.runs[-1].status.phase is None:
            place.end()
        if what == "pause":
            place.annotations = {PAUSE_ANNOTATION: ""}
        if what == "go on":
            place.annotations = {}
        place.settle()
    place.annotations = {}
    place.fly()
    starts = place.starts
    for before, start in pairwise(starts):
        due = after(cron, zone, before)
        assert due is not None
        assert due <= start, "each run has a time of its own, that no run before it was there for"
    coming = after(cron, zone, starts[-1])
    assert coming is not None
    assert coming > place.now, "no time is left without a run that began after it"


# ----------------------------------------------------------------------------------------------- new examples and drift


def test_new_examples_start_a_run_once_there_are_enough() -> None:
    place = Place({**NEW, "cooldown": "0s"}).first()
    assert place.waits_for == (None, "waits for NewExamples 0 of 500")
    place.count(10_000)
    place.settle()
    place.wait(hours=2).count(10_450, 49)
    place.settle()
    assert place.kinds == ["Created"]
    assert place.waits_for == (None, "waits for NewExamples 499 of 500")
    place.wait(hours=2).count(10_450, 50)
    counted = place.now
    place.fly()
    assert place.kinds == ["Created", "NewExamples"]
    trigger = place.runs[-1].spec.trigger
    assert (trigger.value, trigger.threshold, trigger.samples) == (500, 500, 10_500)
    assert (trigger.window, trigger.noticed_at) == ("2h", counted)
    place.wait(hours=2).count(10_999)
    place.fly()
    assert len(place.runs) == 2


def test_a_training_set_that_is_empty_for_a_moment_starts_nothing() -> None:
    place = Place({**NEW, "cooldown": "0s"}).first()
    for count in (10_000, 0, 10_000):
        place.wait(hours=1).count(count)
        place.fly()
    assert place.kinds == ["Created"]


def test_the_same_count_again_is_not_written() -> None:
    place = Place({**NEW, "cooldown": "0s"}).first()
    place.count(10_000)
    place.settle()
    writes = place.writes
    for _ in range(100):
        place.wait(hours=1).count(10_000)
        place.settle()
    assert place.writes == writes


@pytest.mark.parametrize(("triggers", "name", "query"), [(DRIFT, "mix", None), (QUERY, "slow", "job:slow:ratio")])
def test_a_run_for_drift_has_the_numbers_that_made_it(triggers: make.Raw, name: str, query: str | None) -> None:
    place = Place({**triggers, "cooldown": "0s"}).first()
    place.wait(hours=1).drift(firing(name))
    place.settle()
    trigger = place.runs[-1].spec.trigger
    assert (trigger.kind, trigger.name, trigger.query) == (TriggerKind.DRIFT, name, query)
    assert (trigger.value, trigger.samples, trigger.noticed_at) == (0.31, 3200, make.NOW)
    assert (trigger.threshold, trigger.window) == ((0.1, "30m") if query else (0.2, "45m"))


@pytest.mark.parametrize("state", [DriftState.OK, DriftState.BREACHED, DriftState.UNKNOWN])
def test_drift_that_does_not_fire_starts_nothing(state: DriftState) -> None:
    place = Place({**DRIFT, "cooldown": "0s"}).first()
    place.drift(firing(state=state))
    place.fly()
    assert place.kinds == ["Created"]


def test_of_two_that_fire_the_older_is_named() -> None:
    two = [{"name": name, "query": name, "threshold": 0.1} for name in ("b", "a")]
    place = Place({"drift": two, "cooldown": "0s"}).first()
    place.wait(hours=2).drift(firing("b", breached_since=make.at(60)), firing("a", breached_since=make.at(30)))
    place.settle()
    assert place.runs[-1].spec.trigger.name == "a"


def test_a_trigger_that_is_taken_away_fires_no_more() -> None:
    place = Place({**DRIFT, "cooldown": "1h"}).first()
    place.drift(firing())
    place.settle()
    assert detected(place)[0] == "True"
    place.spec = make.job_spec()
    place.wait(hours=2).settle()
    assert place.kinds == ["Created"]
    assert place.status.drift == ()
    assert find(place.status.conditions, "DriftDetected") is None


@pytest.mark.parametrize(
    ("told", "status", "words"),
    [
        ((), "Unknown", "mix: Unknown, not measured yet."),
        ((DriftStatus(name="mix", state=DriftState.UNKNOWN, message="420 of 500 samples"),), "Unknown", "420 of 500"),
        ((DriftStatus(name="mix", state=DriftState.OK, value=0.05),), "False", "mix: Ok 0.05, threshold 0.2"),
        ((firing(state=DriftState.BREACHED),), "False", "since 2026-03-01T12:00:00Z"),
        ((firing(),), "True", "mix: Firing 0.31, threshold 0.2, 3200 samples"),
    ],
)
def test_the_condition_says_where_drift_stands(told: tuple[DriftStatus, ...], status: str, words: str) -> None:
    place = Place(DRIFT).first()
    place.drift(*told)
    place.settle()
    assert detected(place)[0] == status
    assert words in detected(place)[2]


def test_sixteen_triggers_with_much_to_say_fit_into_the_status() -> None:
    names = [f"{n:02d}" + "x" * 61 for n in range(16)]
    place = Place({"drift": [{"name": name, "query": "up", "threshold": 1} for name in names]}).first()
    place.drift(
        firing(names[0], message="y" * 1024),
        *(DriftStatus(name=name, state=DriftState.UNKNOWN, message="y" * 1024) for name in names[1:]),
    )
    place.settle()
    assert "Retraining at 2026-03-02T12:00:00Z" in detected(place)[2], "what holds it back is not what is cut off"


def test_that_one_of_two_cannot_be_measured_is_said_and_hides_nothing() -> None:
    two = [*DRIFT["drift"], *QUERY["drift"]]
    place = Place({"drift": two}).first()
    down = DriftStatus(name="slow", state=DriftState.UNKNOWN, message="Prometheus does not answer")
    place.drift(DriftStatus(name="mix", state=DriftState.OK, value=0.01), down)
    place.settle()
    assert detected(place)[0] == "False"
    assert "Prometheus does not answer" in detected(place)[2]
    place.drift(firing(), down)
    place.settle()
    assert detected(place)[0] == "True"


def test_drift_that_goes_on_gives_a_new_model_the_time_of_its_for_to_make_good() -> None:
    place = Place({**DRIFT, "cooldown": "0s"}).first()
    place.drift(firing(breached_since=make.at(600)))
    place.wait(hours=1).settle()
    assert place.kinds == ["Created", "Drift"]
    place.end()
    promoted = place.now
    requeue = place.settle().requeue_after
    assert len(place.runs) == 2
    assert requeue is not None
    assert requeue <= 45 * 60
    place.wait(minutes=45).settle()
    assert place.kinds == ["Created", "Drift", "Drift"]
    assert place.runs[-1].spec.trigger.noticed_at == promoted


def test_a_model_that_was_not_promoted_does_not_silence_drift() -> None:
    place = Place({**DRIFT, "cooldown": "2h"}).first()
    place.drift(firing())
    place.wait(hours=3).settle()
    place.end(RunPhase.REJECTED)
    place.settle()
    assert place.waits_for[0] == make.at(5 * 3600)
    place.wait(hours=2).settle()
    assert place.kinds == ["Created", "Drift", "Drift"]
    assert place.runs[-1].spec.trigger.noticed_at == make.NOW


# --------------------------------------------------------------------------------------------------------- holding back


def test_of_all_that_is_due_one_run_starts_in_the_order_of_what_matters() -> None:
    place = Place(ALL).first()
    place.count(10_000)
    place.settle()
    place.wait(days=1).count(11_000)
    place.drift(firing())
    place.annotations = {RETRY_ANNOTATION: "now"}
    place.spec = make.job_spec(triggers=ALL, training=make.training(seed=99))
    place.settle()
    place.drift(DriftStatus(name="mix", state=DriftState.OK))  # a new model, a new reference
    place.fly()
    assert place.kinds == ["Created", "Retry"]


@pytest.mark.parametrize(
    ("seed", "drift", "count", "kind"),
    [
        (99, True, 11_000, "SpecChanged"),
        (None, True, 11_000, "Drift"),
        (None, False, 11_000, "NewExamples"),
        (None, False, 10_000, "Schedule"),
    ],
)
def test_each_goes_before_the_next(seed: int | None, drift: bool, count: int, kind: str) -> None:
    place = Place(ALL).first()
    place.count(10_000)
    place.settle()
    place.wait(days=1).count(count)
    if drift:
        place.drift(firing())
    if seed:
        place.spec = make.job_spec(triggers=ALL, training=make.training(seed=seed))
    place.settle()
    place.drift()
    place.fly()
    assert place.kinds == ["Created", kind]


@pytest.mark.parametrize("what", ["drift", "examples", "schedule"])
def test_the_cooldown_holds_back_what_is_automatic_to_the_second(what: str) -> None:
    place = Place({**ALL, "cooldown": "36h"}).first()
    place.count(10_000)
    place.settle()
    if what == "drift":
        place.drift(firing())
    if what == "examples":
        place.count(10_500)
    if what == "schedule":
        place.now = utc(2026, 3, 2, 3)
    place.settle()
    at, reason = place.waits_for
    assert at == make.NOW + timedelta(hours=36)
    assert "spec.triggers.cooldown 36h" in reason
    if what == "drift":
        assert "2026-03-03T00:00:00Z" in detected(place)[2]
        assert "spec.triggers.cooldown" in detected(place)[2]
    place.now = at - timedelta(seconds=1)
    requeue = place.settle().requeue_after
    assert len(place.runs) == 1
    assert requeue == 1.0
    place.wait(seconds=1).settle()
    assert len(place.runs) == 2


def test_a_person_does_not_wait_for_the_cooldown_and_starts_it_anew() -> None:
    place = Place({**ALL, "maxRunsPerMonth": 1}).first()
    place.wait(hours=1).annotations = {RETRY_ANNOTATION: "now"}
    place.fly()
    place.wait(hours=1).spec = make.job_spec(triggers={**ALL, "cooldown": "24h"}, training=make.training(seed=3))
    place.fly()
    assert place.kinds == ["Created", "Retry", "SpecChanged"]
    place.drift(firing())
    place.settle()
    assert place.waits_for[0] == make.NOW + timedelta(hours=26)


def test_no_more_automatic_runs_than_the_month_allows() -> None:
    place = Place({**DAILY, "maxRunsPerMonth": 4}).first()
    place.sleep_until(make.NOW + timedelta(days=95))
    for first, fifth in zip(place.starts, place.starts[4:], strict=False):
        assert fifth - first >= timedelta(days=30)
    # The job's first and three by the calendar; then one for each that is thirty days old.
    assert len(place.starts) == 4 * 4
    assert "maxRunsPerMonth 4" in place.waits_for[1]


def test_deleted_runs_count_in_their_month() -> None:
    place = Place({**DAILY, "maxRunsPerMonth": 1}).first()
    place.runs = []
    place.wait(days=3).settle()
    assert place.runs == []
    assert place.waits_for[0] == make.NOW + timedelta(days=30)


@pytest.mark.parametrize("cooldown", ["0s", "90d", "99999999d"])
def test_any_cooldown_is_one(cooldown: str) -> None:
    place = Place({**DAILY, "cooldown": cooldown}).first()
    place.wait(days=60).settle()
    assert len(place.runs) == (2 if cooldown == "0s" else 1)


def test_the_times_of_starts_are_few_and_not_old() -> None:
    place = Place({"schedule": {"cron": "0 */6 * * *"}, "cooldown": "0s"}).first()
    for _ in range(150):
        place.wait(hours=6)
        place.settle()
        place.runs = place.runs[-1:]
        place.end()
    assert len(place.starts) == 151
    assert place.status.started == tuple(at for at in place.starts if at > place.now - timedelta(days=31))


def test_a_run_without_money_waits_for_it_and_says_so() -> None:
    place = Place({**DAILY, **DRIFT}).first()
    place.spec = make.job_spec(triggers={**DAILY, **DRIFT}, budget={"total": 1})
    place.wait(days=1).drift(firing())
    place.settle()
    assert place.status.phase is JobPhase.HALTED
    assert place.waits_for == (None, "waits for money: BudgetExhausted")
    assert "BudgetExhausted" in detected(place)[2]


def test_too_many_fruitless_runs_end_the_automatic_ones() -> None:
    place = Place({**DAILY, "haltAfterFruitlessRuns": 1}).first()
    place.wait(days=1).settle()
    trained = make.attempt(started_at=place.now)
    run = place.runs[-1]
    place.end(RunPhase.REJECTED)
    status = place.runs[-1].status.model_copy(update={"attempts": (trained,)})
    place.runs[-1] = make.run_facts(status, spec=run.spec, now=place.now)
    place.wait(days=1).settle()
    assert place.status.phase is JobPhase.HALTED
    assert len(place.runs) == 2
    assert place.waits_for == (None, "waits until a person resumes the job: FruitlessRuns")


@pytest.mark.parametrize("schedule", [{"cron": "0 3 * * *", "timeZone": "Mars/Olympus"}, {"cron": "0 0 31 2 *"}])
def test_a_calendar_that_never_comes_makes_the_job_invalid(schedule: dict[str, str]) -> None:
    place = Place({"schedule": schedule})
    place.settle()
    valid = find(place.status.conditions, "Valid")
    assert valid is not None
    assert valid.status == "False"
    assert "spec.triggers.schedule" in valid.message
    assert place.runs == []
    assert place.waits_for == (None, "waits until the spec is mended")


# ------------------------------------------------------------------------------------------------------------- recovery


def test_recovery_is_measured_from_drift_to_promotion_with_all_that_it_cost() -> None:
    place = Place({**DRIFT, "cooldown": "1h"}).first()
    place.drift(firing(breached_since=make.at(3600)))
    place.now = make.at(7200)
    for phase, cost in ((RunPhase.REJECTED, "3.50"), (RunPhase.PROMOTED, "4.25")):
        place.settle()
        paid = place.runs[-1].status.model_copy(update={"cost": make.read_status({"cost": {"amount": cost}}).cost})
        place.runs[-1] = make.run_facts(paid, spec=place.runs[-1].spec, meta=place.runs[-1].meta)
        place.wait(hours=2).end(phase)
    place.drift(DriftStatus(name="mix", state=DriftState.UNKNOWN))
    place.settle()
    found = place.status.recovery
    assert found is not None
    assert (found.run, found.seconds, found.cost) == (place.runs[-1].meta.name, 5 * 3600, "7.75")
    assert (found.noticed_at, found.promoted_at) == (make.at(3600), make.at(3600 * 6))
    place.annotations = {RETRY_ANNOTATION: "now"}
    place.wait(hours=1).fly()
    assert place.status.recovery == found, "a run that a person asked for is no recovery"
    place.runs = place.runs[-1:]
    place.settle()
    assert place.status.recovery == found
