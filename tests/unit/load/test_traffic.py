"""The load generator, against a small server that keeps the taps' contract (design/0012)."""

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from hack.load import answers, questions
from hack.load.answers import Answer
from hack.load.questions import Question
from hack.load.traffic import AGAIN, Plan, Traffic

ASKED = [Question("Where is my parcel?\nTeam:", " delivery"), Question("My card was charged twice\nTeam:", " billing")]


class Served:
    """Answers ` delivery` to everything, under a new id each time; `slow` requests wait until `go` is set.

    The first `lost` overrides of an answer find nobody who knows it.
    """

    def __init__(self, *, slow: bool = False, status: int = 200, lost: int = 0) -> None:
        self.asked: list[tuple[str, str]] = []
        self.overridden: list[str] = []
        self.taught: dict[str, str] = {}
        self.given: dict[str, str] = {}
        self.go = asyncio.Event()
        self.status = status
        self.lost = lost
        if not slow:
            self.go.set()
        self._ids = itertools.count(1)

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.asked.append((request.headers["x-user-id"], body["prompt"]))
        await self.go.wait()
        arm = "canary" if int(request.headers["x-user-id"][-1]) % 2 else "stable"
        known = f"cmpl-{next(self._ids)}"
        self.given[known] = body["prompt"]
        headers = {"x-retune-arm": arm, "x-retune-id": known}
        if self.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=self.status, headers=headers)
        return web.json_response({"id": known, "choices": [{"text": " delivery"}]}, headers=headers)

    async def feedback(self, request: web.Request) -> web.Response:
        body = await request.json()
        assert body["override"] is True
        self.overridden.append(body["id"])
        if "correction" in body:
            self.taught[body["id"]] = body["correction"]
        return web.Response(status=404 if self.overridden.count(body["id"]) <= self.lost else 202)


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not check():  # noqa: ASYNC110 — what is looked at tells nobody that it changed
            await asyncio.sleep(0.005)


@asynccontextmanager
async def listening(served: Served) -> AsyncIterator[str]:
    """The server's URL, as long as the block runs."""
    app = web.Application()
    app.router.add_post("/v1/completions", served.complete)
    app.router.add_post("/v1/feedback", served.feedback)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


async def work(served: Served, rate: float, until: int, **changes: object) -> Traffic:
    """Traffic that was stopped once the server had been asked `until` times."""
    changed = {"questions": ASKED, "users": 40, "moment": (0.0, 0.01), **changes}
    async with listening(served) as url:
        traffic, stop = Traffic(Plan(url, "triage", **changed), rate), asyncio.Event()  # type: ignore[arg-type]
        running = asyncio.create_task(traffic.run(stop))
        await eventually(lambda: len(served.asked) + traffic.dropped >= until)
        stop.set()
        served.go.set()
        await running
    return traffic


async def test_users_override_what_is_wrong_and_nothing_else() -> None:
    served = Served()
    traffic = await work(served, 400, 100)
    wrong = {known for known, prompt in served.given.items() if prompt == ASKED[1].prompt}
    assert set(served.overridden) == wrong
    assert len(served.overridden) == len(wrong)
    assert traffic.feedback == {202: len(wrong)}
    assert answers.summary(traffic.answers).right == len(served.given) - len(wrong)


@pytest.mark.parametrize(("lost", "sent", "status"), [(2, 3, 202), (9, AGAIN + 1, 404)])
async def test_an_override_that_found_nobody_is_sent_again_for_a_while_and_counts_once(
    lost: int, sent: int, status: int
) -> None:
    served = Served(lost=lost)
    traffic = await work(served, 400, 40, again=0.0)
    wrong = {known for known, prompt in served.given.items() if prompt == ASKED[1].prompt}
    assert Counter(served.overridden) == dict.fromkeys(wrong, sent)
    assert traffic.feedback == {status: len(wrong)}


async def test_a_slow_server_is_not_asked_less() -> None:
    served = Served(slow=True)
    traffic = await work(served, 400, 60)
    assert len(served.asked) >= 60, "all were in flight before the first answer"
    assert len(traffic.answers) == len(served.asked)


async def test_what_would_be_too_much_in_flight_is_counted_as_dropped() -> None:
    served = Served(slow=True)
    traffic = await work(served, 400, 40, most=10)
    assert len(traffic.answers) == 10
    assert traffic.dropped >= 30


async def test_a_user_keeps_the_arm_that_the_server_gave_and_counts_there() -> None:
    traffic = await work(Served(), 400, 100)
    arms = defaultdict(set)
    for answer in traffic.answers:
        arms[answer.user].add(answer.arm)
    assert all(len(found) == 1 for found in arms.values())
    by_arm = answers.by_arm(traffic.answers)
    assert list(by_arm) == ["stable", "canary"]
    assert sum(found.requests for found in by_arm.values()) == len(traffic.answers)


async def test_errors_are_counted_against_their_arm_and_nobody_overrides_them() -> None:
    served = Served(status=503)
    traffic = await work(served, 400, 50)
    assert all(
        found.errors == found.requests and found.accuracy is None for found in answers.by_arm(traffic.answers).values()
    )
    assert not served.overridden


async def test_no_answer_at_all_is_an_error_of_no_arm() -> None:
    plan = Plan("http://127.0.0.1:9", "triage", ASKED, patience=1.0)
    traffic, stop = Traffic(plan, 200), asyncio.Event()
    running = asyncio.create_task(traffic.run(stop))
    await eventually(lambda: bool(traffic.answers))
    stop.set()
    await running
    assert answers.by_arm(traffic.answers)["-"].errors == len(traffic.answers)


async def test_rate_zero_asks_nothing_and_a_new_rate_holds_at_once() -> None:
    served = Served()
    async with listening(served) as url:
        traffic, stop = Traffic(Plan(url, "triage", ASKED), 0), asyncio.Event()
        running = asyncio.create_task(traffic.run(stop))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not served.asked
        traffic.set_rate(500)
        await eventually(lambda: bool(served.asked))
        stop.set()
        await running


def test_quantiles_are_values_that_were_measured() -> None:
    values = sorted(random.Random(3).random() for _ in range(200))
    for share in (0.5, 0.95):
        found = answers.quantile(values, share)
        assert found in values
        assert sum(value <= found for value in values) >= share * len(values) > sum(value < found for value in values)
    assert answers.quantile([], 0.5) is None
    assert answers.quantile([2.0], 0.95) == 2.0


def test_only_answers_that_came_have_a_latency() -> None:
    found = answers.summary([Answer(0, "u", "stable", 200, 0.2, "x", True), Answer(1, "u", "", 0, 30.0)])
    assert (found.p95, found.errors, found.accuracy) == (0.2, 1, 1.0)


def test_questions_say_which_line_is_none() -> None:
    with pytest.raises(ValueError, match="line 2"):
        questions.read(['{"prompt": "a", "completion": " b"}', '{"prompt": "a"}'])
    with pytest.raises(ValueError, match="no question"):
        questions.read(["", " "])


def test_an_answer_is_right_only_as_a_whole() -> None:
    assert ASKED[0].answered_by("delivery\n")
    assert not ASKED[0].answered_by(" delivery and more")


async def test_who_knows_what_would_be_right_says_so() -> None:
    served = Served()
    known = Question("The sole came off\nTeam:", " repair", taught=True)
    await work(served, 400, 100, questions=[*ASKED, known])
    assert served.taught
    assert {served.given[answer] for answer in served.taught} == {known.prompt}
    assert set(served.taught.values()) == {" repair"}
    assert len(served.overridden) > len(served.taught), "others only object"


async def test_what_is_asked_can_change_at_any_time() -> None:
    served = Served()
    async with listening(served) as url:
        plan = Plan(url, "triage", ASKED, most=1, moment=(0.0, 0.01))  # one after the other
        traffic, stop = Traffic(plan, 200), asyncio.Event()
        running = asyncio.create_task(traffic.run(stop))
        await eventually(lambda: len(served.asked) > 20)
        traffic.questions = [Question("The sole came off\nTeam:", " repair")]
        await eventually(lambda: any(prompt.startswith("The sole") for _, prompt in served.asked))
        began = len(served.asked)
        await eventually(lambda: len(served.asked) > began + 20)
        stop.set()
        await running
    assert {prompt for _, prompt in served.asked[began:]} == {"The sole came off\nTeam:"}
