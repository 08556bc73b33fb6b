"""What people think of answers: counted once at the end of the window, if they said anything; at rest as well."""

from __future__ import annotations

import pytest

RATED = {"name": "drift:rated", "builtin": "Rated", "window": 600.0}
OVERRIDES = {"name": "drift:overrides", "builtin": "Overrides", "window": 600.0}


async def say(running, **said: object) -> int:
    async with running.http.post(f"{running.users}/v1/feedback", json=said) as reply:
        return reply.status


async def asked(running, user: str) -> str:
    return (await running.ask(user)).headers["x-retune-id"]


@pytest.mark.parametrize(
    ("said", "bad"),
    [
        ([{"thumbs": "down"}], 1),
        ([{"thumbs": "up"}], 0),
        ([{"score": 0.49}], 1),
        ([{"score": 0.5}], 0),
        ([{"override": True}], 1),
        ([{"correction": "operations"}], 1),
        ([{"thumbs": "up"}, {"thumbs": "down"}], 1),
        ([{"thumbs": "down"}, {"thumbs": "up"}], 1),
    ],
)
async def test_a_rated_answer_counts_once_at_the_end_of_its_window(running, said, bad):
    await running.serve(weight=100, edges=[RATED])
    answer = await asked(running, "ann")
    await asked(running, "bob")
    for each in said:
        assert await say(running, id=answer, **each) == 202
    running.later(599)
    assert await running.counts("drift:rated") == {}
    running.later(2)
    assert await running.counts("drift:rated") == {"canary": (bad, 1)}
    assert await say(running, id=answer, thumbs="down") == 202
    running.later(601)
    assert await running.counts("drift:rated") == {"canary": (bad, 1)}


@pytest.mark.parametrize("said", [{"frustration": True}, {"override": False}])
async def test_an_answer_that_nobody_rated_is_not_counted(running, said):
    await running.serve(weight=100, edges=[RATED])
    assert await say(running, id=await asked(running, "ann"), **said) == 202
    running.later(601)
    assert await running.counts("drift:rated") == {}


async def test_at_rest_both_are_counted_in_the_stratum_of_rest(running):
    await running.serve(candidate=None, stage="Idle", stratum="-", weight=0, edges=[RATED, OVERRIDES])
    answers = [await asked(running, f"user-{number}") for number in range(4)]
    assert await say(running, id=answers[0], thumbs="up") == 202
    assert await say(running, id=answers[1], override=True) == 202
    running.later(601)
    counters = (await running.state())["counters"]
    assert {name: list(arms["stable"]) for name, arms in counters.items()} == {
        "drift:rated": ["-"],
        "drift:overrides": ["-"],
    }
    assert await running.counts("drift:rated") == {"stable": (1, 2)}
    assert await running.counts("drift:overrides") == {"stable": (1, 4)}


@pytest.mark.parametrize("window", [-1, "600", None, 86_400])
async def test_a_window_that_cannot_be_is_refused(running, window):
    from tests.unit.tap.running import envelope, payload

    assert await running.push(envelope(payload(edges=[{**RATED, "window": window}]))) == 400
