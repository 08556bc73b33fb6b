"""Raw counters of taps: nothing is counted twice, nothing that is in doubt, and nothing of another run."""

import pytest
from tests.unit.decide.evidence.readings import START, series, tap

from retune.decide.evidence.counting import read_query, read_taps
from retune.decide.readings import QueryReading


def read(*polls, since=START - 60, run_number=3):
    """(stable, canary) totals and bads handed out at each poll."""
    cursors, out = {}, []
    for index, taps in enumerate(polls):
        cursors, found = read_taps(cursors, taps, run_number=run_number, since=since, at=START + 5 * index)
        out.append([(*counts(each.stable), *counts(each.canary)) for each in found.get("errors", [])])
    return out


def counts(count):
    return int(count.bad.sum()), int(count.total.sum())


def both(stable_bad, stable, bad, canary, *, step="3:0", **how):
    return tap(series("stable", step, stable_bad, stable), series("canary", step, bad, canary), **how)


def test_increments_between_two_looks() -> None:
    assert read([both(5, 90, 1, 10)], [both(6, 100, 3, 14)]) == [[], [(1, 10, 2, 4)]]


def test_what_an_old_tap_counted_before_it_was_first_seen_is_not_evidence() -> None:
    assert read([both(5, 90, 1, 10)]) == [[]]


def test_a_tap_younger_than_the_rollout_is_counted_from_its_first_request() -> None:
    assert read([both(5, 90, 1, 10, started=START - 30)]) == [[(5, 90, 1, 10)]]


def test_a_tap_with_another_clock_is_as_old_as_it_says() -> None:
    assert read([both(5, 90, 1, 10, started=START + 9000, now=START + 9030)]) == [[(5, 90, 1, 10)]]
    assert read([both(5, 90, 1, 10, started=START - 9000, now=START - 8000)]) == [[]]


def test_the_same_answer_twice_counts_once() -> None:
    assert read([both(0, 0, 0, 0)], [both(1, 9, 0, 1)], [both(1, 9, 0, 1)])[1:] == [[(1, 9, 0, 1)], []]


def test_a_missed_look_loses_nothing() -> None:
    assert read([both(0, 0, 0, 0)], [], [both(3, 30, 1, 4)])[2] == [(3, 30, 1, 4)]


def test_an_answer_overtaken_by_a_later_one_is_dropped() -> None:
    late = both(1, 9, 0, 1, now=START - 1)
    assert read([both(0, 0, 0, 0)], [both(3, 30, 1, 4, now=START + 5)], [late], [both(4, 40, 1, 5, now=START + 9)])[
        1:
    ] == [[(3, 30, 1, 4)], [], [(1, 10, 0, 1)]]


def test_a_restarted_tap_begins_at_nothing() -> None:
    assert read([both(5, 90, 1, 10)], [both(1, 8, 0, 2, started=START)]) == [[], [(1, 8, 0, 2)]]


def test_a_decrease_makes_all_of_the_pods_series_begin_again() -> None:
    old = [series("stable", "3:0", 5, 90), series("canary", "3:0", 1, 10)]
    new = [series("stable", "3:1", 5, 90), series("canary", "3:1", 1, 10)]
    fewer = [series("stable", "3:0", 5, 80), series("canary", "3:0", 1, 30)]
    more = [series("stable", "3:1", 9, 190), series("canary", "3:1", 4, 40)]
    assert read([tap(*old, *new)], [tap(*fewer, *more)]) == [[], []]


def test_other_pods_go_on_when_one_begins_again() -> None:
    found = read([both(5, 90, 1, 10), both(0, 0, 0, 0, uid="b")], [both(0, 1, 0, 1), both(1, 10, 1, 2, uid="b")])
    assert found[1] == [(1, 10, 1, 2)]


def test_a_new_step_of_a_known_tap_counts_from_nothing() -> None:
    assert read([tap()], [both(1, 9, 1, 2, step="3:1")]) == [[], [(1, 9, 1, 2)]]


@pytest.mark.parametrize("step", ["2:0", "33:0", "-", "13:1"])
def test_other_runs_and_rest_are_not_evidence(step) -> None:
    assert read([both(0, 0, 0, 0, step=step)], [both(9, 90, 9, 10, step=step)]) == [[], []]


def test_what_one_arm_counts_alone_waits_for_the_other() -> None:
    found = read([both(0, 0, 0, 0)], [both(1, 9, 0, 0)], [both(1, 12, 0, 0)], [both(1, 14, 1, 1)])
    assert found[1:] == [[], [], [(1, 14, 1, 1)]]


def query(arm, bad, total, at):
    return QueryReading("mine", arm, bad, total, at)


def users(*polls):
    cursor, out = None, []
    for at, stable, canary in polls:
        cursor, found = read_query(cursor, query("stable", *stable, at), query("canary", *canary, at), label="3:0")
        out.append(None if found is None else (*counts(found.stable), *counts(found.canary)))
    return out


def test_users_counters_count_from_the_first_sample() -> None:
    assert users((1, (5, 50), (1, 5)), (16, (6, 80), (3, 9))) == [None, (1, 30, 2, 4)]


def test_samples_from_a_server_that_lags_behind_are_dropped() -> None:
    found = users((1, (5, 50), (1, 5)), (16, (6, 80), (3, 9)), (11, (6, 70), (2, 8)), (31, (6, 90), (3, 10)))
    assert found == [None, (1, 30, 2, 4), None, (0, 10, 0, 1)]


def test_a_users_counter_that_falls_moves_the_cursor() -> None:
    found = users((1, (5, 50), (1, 5)), (16, (0, 80), (3, 9)), (31, (1, 90), (3, 10)))
    assert found == [None, None, (1, 10, 0, 1)]


def test_a_candidate_without_a_bad_answer_yet_has_none() -> None:
    assert users((1, (5, 50), (None, 5)), (16, (6, 80), (None, 9)), (31, (6, 90), (1, 12))) == [
        None,
        (1, 30, 0, 4),
        (0, 10, 1, 3),
    ]


def one(arm: str, bad: int, total: int, **how):
    return tap(series(arm, "3:0", bad, total), uid=arm, **how)


def pooled(*polls):
    cursors, out = {}, []
    for index, taps in enumerate(polls):
        at = START + 5 * index
        cursors, found = read_taps(cursors, taps, run_number=3, since=START - 60, at=at, pooled=True)
        out.append([(*counts(each.stable), *counts(each.canary)) for each in found.get("errors", [])])
    return out


def test_pods_of_one_arm_each_make_one_stratum() -> None:
    first = [one("stable", 5, 90), one("canary", 0, 0)]
    assert pooled(first, [one("stable", 6, 100), one("canary", 3, 4)]) == [[], [(1, 10, 3, 4)]]


def test_what_one_arm_counted_while_the_other_was_silent_is_kept_and_counted_once() -> None:
    polls = pooled(
        [one("stable", 0, 0), one("canary", 0, 0)],
        [one("stable", 1, 10)],
        [one("stable", 2, 20), one("canary", 1, 5)],
        [one("canary", 1, 6)],
        [one("stable", 3, 30), one("canary", 1, 7)],
    )
    assert polls == [[], [], [(2, 20, 1, 5)], [], [(1, 10, 0, 2)]]
