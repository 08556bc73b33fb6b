"""Asks the taps of a job for their counters: all at once, bounded in time and size, once for all who want to know."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import aiohttp

from retune.decide.readings import ServingPod, TapReading
from retune.observe.tap_state import read_state

PORT = 9090
TIMEOUT = 1.5  # s
LARGEST = 4 * 2**20  # bytes of an answer
SHARED = 1.0  # s for which the run's and the job's reconcile use the same answers
OVERLAP = 180.0  # s of windows that are asked for again, should what was decided on them have been lost


class Polled(Protocol):
    """Counts polls; the metrics of `main` implement it."""

    def poll(self, *, ok: bool) -> None:
        """One tap that was asked."""


@dataclass(frozen=True)
class Heard:
    """What the taps of a job said: readings, and why others said nothing, by the pod's uid."""

    taps: Mapping[str, TapReading]
    silent: Mapping[str, str]


NOTHING = Heard({}, {})


@dataclass(frozen=True)
class _Shared:
    """One poll: what was asked for, when, and its answers."""

    pods: frozenset[str]
    generation: int
    windows: bool
    at: float
    answers: "asyncio.Task[Heard]"


class Taps:
    """Polls taps.

    Args:
        session: for the requests; not the one that others wait on.
        counted: told of each tap that was asked.
    """

    def __init__(self, session: aiohttp.ClientSession, counted: Polled, port: int = PORT) -> None:
        self._session, self._counted, self._port = session, counted, port
        self._shared: dict[str, _Shared] = {}
        self._seen: dict[str, float] = {}  # by pod uid: the tap's clock when its windows were last read

    async def read(
        self, job: str, model: str, pods: tuple[ServingPod, ...], generation: int, *, windows: str = "none"
    ) -> Heard:
        """What the taps of the ready ones among `pods` say, within a second and a half.

        Args:
            job: whose they are (the `place` of its `Meta`).
            model: the public model name.
            pods: of the job.
            generation: of the arms document as last written: answers from before it are not shared.
            windows: "all" of two hours, the "new" ones since the last time (with an overlap), or "none".
        """
        asked = tuple(pod for pod in pods if pod.ready and pod.ip and not pod.over)
        if not asked:
            return NOTHING
        now, wanted = asyncio.get_running_loop().time(), frozenset(pod.uid for pod in asked)
        last = self._shared.get(job)
        if (
            last is not None
            and now - last.at < SHARED
            and (last.pods, last.generation) == (wanted, generation)
            and (windows == "none" or (last.windows and windows == "new"))
        ):
            return await asyncio.shield(last.answers)
        answers = asyncio.create_task(self._all(asked, model, windows))
        self._shared[job] = _Shared(wanted, generation, windows != "none", now, answers)
        answers.add_done_callback(lambda _: self._later(job, answers))
        return await asyncio.shield(answers)

    def _later(self, job: str, answers: "asyncio.Task[Heard]") -> None:
        """Forget the answers when nobody may share them any more."""

        def forget() -> None:
            last = self._shared.get(job)
            if last is not None and last.answers is answers:
                del self._shared[job]

        answers.get_loop().call_later(SHARED, forget)

    async def _all(self, pods: tuple[ServingPod, ...], model: str, windows: str) -> Heard:
        said = await asyncio.gather(*(self._one(pod, model, windows) for pod in pods))
        taps = {pod.uid: s for pod, s in zip(pods, said, strict=True) if isinstance(s, TapReading)}
        silent = {pod.uid: s for pod, s in zip(pods, said, strict=True) if isinstance(s, str)}
        if windows != "none":
            self._seen.update({uid: tap.now for uid, tap in taps.items()})
            if len(self._seen) > 10_000:  # pods come and go: start over, which costs one full answer each
                self._seen = {uid: tap.now for uid, tap in taps.items()}
        return Heard(taps, silent)

    async def _one(self, pod: ServingPod, model: str, windows: str) -> TapReading | str:
        """The reading, or why there is none."""
        since = {"all": 0.0, "new": self._seen.get(pod.uid, 0.0) - OVERLAP, "none": time.time()}[windows]
        said: TapReading | str
        try:
            said = read_state(await self._get(pod.ip, max(since, 0.0)), pod, model)
        except TimeoutError:
            said = f"no answer within {TIMEOUT:g} s"
        except ValueError as error:
            said = f"it makes no sense: {error}"
        except (aiohttp.ClientError, OSError) as error:
            said = type(error).__name__
        self._counted.poll(ok=not isinstance(said, str))
        return said

    async def _get(self, ip: str, since: float) -> bytes:
        host = f"[{ip}]" if ":" in ip else ip
        async with self._session.get(
            f"http://{host}:{self._port}/v1/state",
            params={"windows": f"{since:.3f}"},
            timeout=aiohttp.ClientTimeout(total=TIMEOUT),
            allow_redirects=False,  # a pod must not send the operator anywhere
        ) as response:
            if response.status != 200:
                raise ValueError(f"status {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_chunked(2**16):
                body += chunk
                if len(body) > LARGEST:
                    raise ValueError(f"more than {LARGEST} bytes")
            return bytes(body)
