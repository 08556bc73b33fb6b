"""Keeps the server's adapters as the document names them, and knows which arms can be served here.

Talks to the server through `Adapters`, and to unload. A server that restarted has lost its adapters: each pass looks.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from retune_tap.arms import AdapterError, Adapters, Arm, Kind

_LOG = logging.getLogger(__name__)
_FIRST_RETRY, _LAST_RETRY = 5.0, 60.0
# A busy server that misses one look must not take its pod out of the Service.
_MISSES = 3


class State(StrEnum):
    """Whether an arm can be served here."""

    READY = "Ready"
    LOADING = "Loading"
    FAILED = "Failed"


@dataclass
class Standing:
    """One arm's state here; `retry` and `delay` in seconds."""

    state: State = State.LOADING
    message: str = ""
    retry: float = 0.0
    delay: float = _FIRST_RETRY


class Loading:
    """Ensures what is wanted, one task an arm, so that a slow download keeps nothing else from being looked after."""

    def __init__(
        self, adapters: Adapters, unload: Callable[[str], Awaitable[None]], clock: Callable[[], float]
    ) -> None:
        self._adapters = adapters
        self._unload = unload
        self._clock = clock
        self._wanted: dict[str, Arm] = {}
        self._standing: dict[str, Standing] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._ours = re.compile(r"(?!)")
        self._unnamed: set[str] = set()
        self._misses = 0
        self._wake = asyncio.Event()

    def want(self, arms: list[Arm], models: list[str]) -> None:
        """A document came into force; adapters that are not named after its public `models` are not ours to unload."""
        self._wanted = {arm.name: arm for arm in arms if arm.kind is not Kind.ENDPOINT}
        for name in [name for name in self._standing if name not in self._wanted]:
            del self._standing[name]
            if name in self._tasks:
                self._tasks[name].cancel()
        for name in self._wanted:
            self._standing.setdefault(name, Standing())
        self._ours = re.compile(rf"(?:{'|'.join(map(re.escape, models))})-[0-9a-f]{{12}}")
        self.nudge()

    def nudge(self) -> None:
        """Look now, not at the next pass."""
        self._wake.set()

    def ready(self, arm: Arm) -> bool:
        """Whether this arm can be given requests."""
        return arm.kind is Kind.ENDPOINT or self.standing(arm).state is State.READY

    def standing(self, arm: Arm) -> Standing:
        """Its state and, if it failed, why."""
        if arm.kind is Kind.ENDPOINT:
            return Standing(State.READY)
        return self._standing.get(arm.name, Standing())

    async def watch(self, every: float) -> None:
        """Make a pass every so many seconds, and whenever it is nudged; until cancelled."""
        while True:
            self._wake.clear()
            await self.look()
            try:
                await asyncio.wait_for(self._wake.wait(), every)
            except TimeoutError:
                continue

    async def look(self) -> None:
        """One pass: what is lost is loaded again, what is not named any more is unloaded."""
        # What is loaded while the server makes its list is not in it.
        before = {name for name, standing in self._standing.items() if standing.state is State.READY}
        try:
            names = await self._adapters.loaded()
        except Exception as error:  # noqa: BLE001 - whatever it is, the server cannot be read now
            _LOG.warning("the model server's list of models cannot be read: %s", type(error).__name__)
            names = frozenset()
        self._misses = 0 if names else self._misses + 1
        if not names and self._misses < _MISSES:
            return
        now = self._clock()
        for name, arm in self._wanted.items():
            standing = self._standing[name]
            if standing.state is State.READY and name in before and name not in names:
                self._standing[name] = standing = Standing(message="the model server does not have it any more")
            if arm.kind is Kind.BASE and name in names:
                standing.state, standing.message = State.READY, ""
            elif arm.kind is Kind.ADAPTER and standing.state is not State.READY and names:
                self._start(arm, standing, now)
        await self._unload_others(names)

    def _start(self, arm: Arm, standing: Standing, now: float) -> None:
        if arm.name not in self._tasks and now >= standing.retry:
            task = asyncio.create_task(self._ensure(arm), name=f"load {arm.name}")
            self._tasks[arm.name] = task
            task.add_done_callback(lambda _: self._tasks.pop(arm.name, None))

    async def _ensure(self, arm: Arm) -> None:
        problem = ""
        try:
            await self._adapters.ensure(arm)
        except AdapterError as error:
            problem = str(error)[:1000]
        except Exception as error:  # noqa: BLE001 - whatever it is, this arm can't be served
            _LOG.exception("loading %s failed", arm.name)
            problem = f"loading failed: {type(error).__name__}"
        standing = self._standing.get(arm.name)
        if standing is None or self._wanted.get(arm.name) != arm:
            return
        if problem:
            standing.state, standing.message = State.FAILED, problem
            standing.retry = self._clock() + standing.delay
            standing.delay = min(_LAST_RETRY, 2 * standing.delay)
        else:
            self._standing[arm.name] = Standing(State.READY)

    async def _unload_others(self, names: frozenset[str]) -> None:
        """Unload what two passes in a row found unnamed: requests routed by the last document are on their way."""
        unnamed = {name for name in names if self._ours.fullmatch(name) and name not in self._wanted}
        unnamed -= self._tasks.keys()
        for name in unnamed & self._unnamed:
            if name not in self._wanted:
                await self._unload(name)
        self._unnamed = unnamed

    async def settled(self) -> None:
        """Wait until nothing is being loaded."""
        while self._tasks:
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """Give up what is being loaded."""
        for task in list(self._tasks.values()):
            task.cancel()
        await self.settled()
