"""One at a time: two `up` (or two image builds) at once would tread on each other."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hack.cluster import cache
from hack.cluster.progress import say
from hack.cluster.settings import CACHE


@contextmanager
def only_one(what: str) -> Iterator[None]:
    """Holds the lock called `what`, after waiting for whoever holds it now. The kernel drops it if we die."""
    path = CACHE / f"{what}.lock"
    while True:
        cache.make()
        with path.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"another command is at work on the {what}: waiting for it")
                fcntl.flock(file, fcntl.LOCK_EX)
            # `clean` may have removed the file while we waited: then the lock we got is nobody's.
            if not path.exists() or os.fstat(file.fileno()).st_ino != path.stat().st_ino:
                continue
            yield
            return
