"""Traffic in a thread of its own, beside a program that waits for other things."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Self

from hack.load.questions import Question
from hack.load.traffic import Plan, Traffic


class Background:
    """Users at work from `__enter__` to `__exit__`; `traffic` may be read at any time, from any thread."""

    def __init__(self, plan: Plan, rate: float) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self.traffic = Traffic(plan, rate)
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def set_rate(self, rate: float) -> None:
        """Ask so many times a second from now on."""
        self._loop.call_soon_threadsafe(self.traffic.set_rate, rate)

    def ask(self, questions: Sequence[Question]) -> None:
        """Ask these from now on."""
        self.traffic.questions = questions

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self.traffic.run(self._stop))
        finally:
            self._loop.close()
