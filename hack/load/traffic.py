"""Users who ask a served model: an open loop of Poisson arrivals, so that a slow server is not asked less.

Speaks HTTP to the one address it is given, and to nothing else. Each user keeps one id, sent in the sticky header;
knows the right answer; and after a moment reports a wrong one by its response id to /v1/feedback, some with what it
should have been.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass

import aiohttp
from hack.load.answers import Answer
from hack.load.questions import Question

STICKY, ARM, ID = "x-user-id", "x-retune-arm", "x-retune-id"
AGAIN = 3
"""How often an override is sent again after a 404: a pod has a second to find the one that gave the answer."""

Objects = Callable[[Question, str, random.Random], bool]
"""Whether a user who asked this and got that text overrides the answer."""


def to_what_is_wrong(question: Question, text: str, rng: random.Random) -> bool:  # noqa: ARG001
    """Override whatever is not the right answer."""
    return not question.answered_by(text)


@dataclass(frozen=True)
class Plan:
    """Who asks whom for what.

    Attributes:
        url: where /v1/ is.
        model: its public name.
        questions: asked at random.
        users: how many there are. Of one user, few requests a minute count as evidence, so have many.
        objects: when a user overrides an answer.
        moment: seconds from an answer to its override, at least and at most.
        again: seconds from an override that found nobody who knows the answer until it is sent again.
        tokens: longest answer asked for.
        patience: seconds after which a user gives up.
        most: requests in flight; what would be more is counted as dropped, so that a dead server costs no memory.
        seed: of all that is random.
    """

    url: str
    model: str
    questions: Sequence[Question]
    users: int = 400
    objects: Objects = to_what_is_wrong
    moment: tuple[float, float] = (0.5, 2.0)
    again: float = 1.0
    tokens: int = 8
    patience: float = 30.0
    most: int = 64
    seed: int = 0


class Traffic:
    """Users at work. `answers`, `dropped` and `feedback` (overrides by their last HTTP status, 0: none) only grow.

    `questions` may be replaced at any time: from then on those are asked.
    """

    def __init__(self, plan: Plan, rate: float) -> None:
        self.plan = plan
        self.answers: list[Answer] = []
        self.dropped = 0
        self.feedback: Counter[int] = Counter()
        self.questions = plan.questions
        self._rate = rate
        self._changed = asyncio.Event()
        self._rng = random.Random(plan.seed)  # noqa: S311
        self._asking: set[asyncio.Task[None]] = set()
        self._objecting: set[asyncio.Task[None]] = set()

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self._rate

    def set_rate(self, rate: float) -> None:
        """Ask so many times a second from now on; 0: not at all. To be called in the loop's own thread."""
        self._rate = rate
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Ask until `stop` is set; then wait for the answers and the feedback that are still due."""
        timeout = aiohttp.ClientTimeout(total=self.plan.patience)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.plan.url, timeout=timeout, connector=connector) as session:
            ended = asyncio.create_task(stop.wait())
            while not stop.is_set():
                if await self._arrival(ended):
                    self._arrive(session)
            for tasks in (self._asking, self._objecting):
                await asyncio.gather(*tasks)

    async def _arrival(self, ended: asyncio.Task[bool]) -> bool:
        """Wait for the next arrival; False if the rate changed or the end came first.

        Gaps of a Poisson process are exponential and have no memory: after a change a new one is drawn.
        """
        gap = self._rng.expovariate(self._rate) if self._rate > 0 else None
        changed = asyncio.create_task(self._changed.wait())
        done, _ = await asyncio.wait({ended, changed}, timeout=gap, return_when=asyncio.FIRST_COMPLETED)
        changed.cancel()
        self._changed.clear()
        return not done

    def _arrive(self, session: aiohttp.ClientSession) -> None:
        if len(self._asking) >= self.plan.most:
            self.dropped += 1
            return
        user = f"user-{self._rng.randrange(self.plan.users):04d}"
        self._keep(self._asking, self._ask(session, user, self._rng.choice(self.questions)))

    async def _ask(self, session: aiohttp.ClientSession, user: str, question: Question) -> None:
        at, began = time.time(), time.monotonic()
        body = {
            "model": self.plan.model,
            "prompt": question.prompt,
            "max_tokens": self.plan.tokens,
            "temperature": 0,
        }
        arm, status, text, known = "", 0, "", ""
        right: bool | None = None
        try:
            async with session.post("/v1/completions", json=body, headers={STICKY: user}) as answer:
                arm, known = answer.headers.get(ARM, ""), answer.headers.get(ID, "")
                told = await answer.json(content_type=None)
                status = answer.status
            if status == 200:
                text = str(told["choices"][0]["text"])
                right = question.answered_by(text)
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, IndexError, TypeError):
            status, right = 0, None  # cut off, or not what was promised: for its user there was no answer
        self.answers.append(Answer(at, user, arm, status, time.monotonic() - began, text, right, question))
        if right is not None and self.plan.objects(question, text, self._rng):
            self._keep(self._objecting, self._object(session, user, known, question))

    async def _object(self, session: aiohttp.ClientSession, user: str, known: str, asked: Question) -> None:
        await asyncio.sleep(self._rng.uniform(*self.plan.moment))  # people need a moment to see it
        body = {"id": known, "override": True, **({"correction": asked.answer} if asked.taught else {})}
        status = await _told(session, user, body)
        for _ in range(AGAIN):
            if status != 404:
                break
            await asyncio.sleep(self.plan.again)
            status = await _told(session, user, body)
        self.feedback[status] += 1

    @staticmethod
    def _keep(tasks: set[asyncio.Task[None]], work: Coroutine[None, None, None]) -> None:
        """Start it, and hold on to it until it is done: the loop itself does not."""
        task = asyncio.get_running_loop().create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)


async def _told(session: aiohttp.ClientSession, user: str, body: dict[str, object]) -> int:
    """The status that an override has; 0: no answer came."""
    try:
        async with session.post("/v1/feedback", json=body, headers={STICKY: user}) as answer:
            return answer.status
    except (aiohttp.ClientError, TimeoutError):
        return 0
