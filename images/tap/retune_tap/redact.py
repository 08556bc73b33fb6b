"""Takes personal data out of rows, in a process of its own; `python -m retune_tap redact KIND,KIND` is that process.

Its rules come with libraries that take a second and a hundred megabytes, and an expression that meets a hostile text
holds Python's lock for long: neither may happen beside users' answers. The process lives for one batch, at the lowest
priority. It fails as a whole: what is not clean is not written.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Sequence

SECONDS = 60.0


async def redacted(rows: Sequence[bytes], entities: Sequence[str]) -> list[bytes] | None:
    """Rows (one JSON object each, with `messages`) without personal data of these kinds; None if that failed."""
    # Nothing of the tap's environment is its business.
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "PATH": os.environ.get("PATH", "")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "retune_tap", "redact", ",".join(entities)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # An error's text could quote what it was given.
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    try:
        async with asyncio.timeout(SECONDS):
            found, _ = await process.communicate(b"\n".join(rows))
    except TimeoutError:
        return None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    lines = found.splitlines()
    return lines if process.returncode == 0 and len(lines) == len(rows) else None


def main(entities: str) -> int:
    """Clean the rows of standard input; `entities` are kinds with commas between them, or empty for the usual."""
    from retune_stores.privacy import KNOWN, USUAL, finder

    os.nice(19)
    kinds = tuple(entities.split(",")) if entities else USUAL
    if not set(kinds) <= set(KNOWN):
        return 64
    scrub = finder(kinds).scrub
    for line in sys.stdin.buffer:
        row = json.loads(line)
        for message in row["messages"]:
            message["content"] = scrub(message["content"])
        sys.stdout.write(json.dumps(row, separators=(",", ":")) + "\n")
    return 0
