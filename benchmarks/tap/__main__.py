"""What does the tap cost? Added latency at 500 requests/s, requests/s per core, and streaming per token.

    uv run python benchmarks/tap

The upstream (the tests' server that keeps vLLM's contract, answering at once), the tap and the load generator are
processes of their own. Direct requests and requests through the tap take turns within one run.
"""

import asyncio
import contextlib
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp

ROOT = Path(__file__).parents[2]
for folder in ("images/tap", "images/stores", "."):
    sys.path.insert(0, str(ROOT / folder))

from hack.images.standin.upstream import Upstream
from tests.unit.tap.running import STABLE, InMemory, envelope, payload, settings

from retune_tap.serve import keeping, listen
from retune_tap.tap import Tap

RATES, SECONDS, ROUNDS = (500, 50), 3, 2
CLOSED, AT_ONCE = 4000, 32
TOKENS, STREAMS = 500, 12
EDGES = [
    {"name": "errors", "builtin": "Errors"},
    {"name": "slow", "builtin": "Slow", "seconds": 2.0, "of": "FirstToken"},
    {"name": "wordy", "builtin": "Long", "tokens": 800},
    {"name": "overrides", "builtin": "Overrides", "window": 60.0},
]


async def tap_process(upstream: str) -> None:
    """A tap that takes its document and serves until it is killed."""

    class Loaded(InMemory):
        async def loaded(self) -> frozenset[str]:
            return frozenset({"base", STABLE})

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "arms.json"
        file.write_bytes(envelope(payload(weight=0, edges=EDGES)))
        adapters = Loaded(Upstream(adapters={STABLE: "there"}))
        config = settings(upstream, file)
        tap = Tap(config, adapters, clock=time.monotonic, wall=time.time, chance=random.Random(1))  # noqa: S311
        tap.read_file()
        await tap.loading.look()
        ports = await listen(tap)
        print(f"http://127.0.0.1:{ports.users}", flush=True)
        async with keeping(tap):
            await asyncio.Event().wait()


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[tuple[int, str]]:
    """A process, with the address that it prints."""
    path = os.pathsep.join(str(ROOT / part) for part in ("images/tap", "images/stores", "."))
    environment = {**os.environ, "PYTHONPATH": path}
    with subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process.pid, process.stdout.readline().strip()
        finally:
            process.kill()


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def question(model: str, *, stream: bool = False) -> dict[str, object]:
    messages = [{"role": "user", "content": "Which team should handle this request? " * 10}]
    return {"model": model, "messages": messages, "stream": stream}


async def timed(http: aiohttp.ClientSession, url: str, model: str, user: int) -> float:
    start = time.perf_counter()
    headers = {"x-user-id": f"user-{user}"}
    async with http.post(f"{url}/v1/chat/completions", json=question(model), headers=headers) as reply:
        await reply.read()
        assert reply.status == 200, reply.status
    return time.perf_counter() - start


async def steady(http: aiohttp.ClientSession, url: str, model: str, rate: int) -> list[float]:
    """Latencies at a fixed rate: requests come when they come, however long the last one takes."""
    tasks, start = [], time.perf_counter()
    for number in range(rate * SECONDS):
        await asyncio.sleep(max(0.0, start + number / rate - time.perf_counter()))
        tasks.append(asyncio.create_task(timed(http, url, model, number)))
    return await asyncio.gather(*tasks)


async def flat_out(http: aiohttp.ClientSession, url: str, model: str) -> None:
    numbers = iter(range(CLOSED))

    async def worker() -> None:
        for number in numbers:
            await timed(http, url, model, number)

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


async def stream(http: aiohttp.ClientSession, url: str, model: str) -> float:
    start = time.perf_counter()
    async with http.post(f"{url}/v1/chat/completions", json=question(model, stream=True)) as reply:
        async for _ in reply.content.iter_any():
            pass
    return time.perf_counter() - start


def quantile(values: list[float], fraction: float) -> float:
    return sorted(values)[int(fraction * (len(values) - 1))] * 1000


async def main() -> None:
    rows: list[tuple[str, str]] = []
    with contextlib.ExitStack() as stack:
        _, short = stack.enter_context(program("-m", "hack.images.standin.upstream", "16"))
        _, long = stack.enter_context(program("-m", "hack.images.standin.upstream", str(TOKENS)))
        pid, tap = stack.enter_context(program(__file__, "tap", short))
        streaming_pid, streaming = stack.enter_context(program(__file__, "tap", long))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
            arms = {"direct": (short, STABLE), "tap": (tap, "triage")}
            for arm in arms.values():
                await asyncio.gather(*(timed(http, *arm, number) for number in range(64)))
            for rate in RATES:
                found: dict[str, list[float]] = {"direct": [], "tap": []}
                for _ in range(ROUNDS):
                    for name, arm in arms.items():
                        found[name] += await steady(http, *arm, rate)
                for fraction, label in ((0.5, "p50"), (0.99, "p99")):
                    direct, through = (quantile(found[name], fraction) for name in ("direct", "tap"))
                    text = f"{direct:.2f} → {through:.2f} ms, added {through - direct:.2f} ms"
                    rows.append((f"latency {label} at {rate}/s", text))
            before, wall = cpu(pid), time.perf_counter()
            await flat_out(http, tap, "triage")
            used, wall = cpu(pid) - before, time.perf_counter() - wall
            rows.append(("requests per second of the tap's CPU", f"{CLOSED / used:.0f}"))
            rows.append(
                (f"requests/s, {AT_ONCE} at once", f"{CLOSED / wall:.0f} (load, tap and upstream share the cores)")
            )
            times: dict[str, list[float]] = {"direct": [], "tap": []}
            before = cpu(streaming_pid)
            for _ in range(STREAMS):
                times["direct"].append(await stream(http, long, STABLE))
                times["tap"].append(await stream(http, streaming, "triage"))
            used = cpu(streaming_pid) - before
            added = statistics.median(times["tap"]) - statistics.median(times["direct"])
            text = f"added {added / TOKENS * 1e6:.1f} µs, CPU {used / STREAMS / TOKENS * 1e6:.1f} µs"
            rows.append((f"streaming, per token of {TOKENS}", text))
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}")
    for name, value in rows:
        print(f"{name:40} {value}")


if __name__ == "__main__":
    asyncio.run(tap_process(sys.argv[2]) if sys.argv[1:2] == ["tap"] else main())
