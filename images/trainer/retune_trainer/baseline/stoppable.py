"""Runs a coroutine so that SIGTERM ends it in good order. Knows nothing of what is run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")


def run(work: Coroutine[None, None, T]) -> T:
    """Run `work` in an event loop; SIGTERM cancels it and is then delivered to whoever handled it before.

    That handler raises. Were it called at once, it would interrupt whatever line of the loop or of a library runs, and
    some of them log what they do not know and go on. To be called in the main thread.
    """
    before = signal.getsignal(signal.SIGTERM)
    ordered = False

    async def cancellable() -> T:
        task = asyncio.current_task()

        def on_order() -> None:
            nonlocal ordered
            ordered = True
            if task is not None:
                task.cancel()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, on_order)
        return await work

    try:
        return asyncio.run(cancellable())
    finally:
        signal.signal(signal.SIGTERM, before)
        if ordered:
            signal.raise_signal(signal.SIGTERM)
