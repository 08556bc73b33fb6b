"""What the person at the terminal sees: one line per step, with its time; a sign of life while it runs."""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

START = time.monotonic()
QUIET = 2.0
"""Seconds a step may take before it says that it is running."""


def say(text: str) -> None:
    """Prints one line, after the seconds since the start of the command. Standard output stays free for results."""
    print(f"{time.monotonic() - START:7.1f} s  {text}", file=sys.stderr, flush=True)


@contextmanager
def step(what: str, about: float | None = None) -> Iterator[None]:
    """Shows that `what` is going on; `about` is how many seconds it usually takes on two cores."""
    begin = time.monotonic()
    done = threading.Event()
    usual = f" of about {about:.0f} s" if about else ""

    def alive() -> None:
        tty = sys.stderr.isatty()
        if done.wait(QUIET):
            return
        say(f"{what} …" + (f" (about {about:.0f} s)" if about else ""))
        while not done.wait(1.0 if tty else 30.0):
            passed = time.monotonic() - begin
            if tty:
                print(f"\r           {what}: {passed:.0f} s{usual} ", end="", file=sys.stderr, flush=True)
            else:
                say(f"… {what}: {passed:.0f} s{usual}")
        if tty:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=alive, daemon=True)
    thread.start()
    ended = "failed"
    try:
        yield
        ended = "done"
    except KeyboardInterrupt:
        ended = "interrupted"
        raise
    finally:
        done.set()
        thread.join()
        say(f"{what}: {ended} in {time.monotonic() - begin:.1f} s")
