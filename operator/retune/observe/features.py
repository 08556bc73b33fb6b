"""Asks the taps of a job what requests look like: rows of numbers, for drift. Bounded in time, size and rows.

A tap runs in a tenant's namespace: what it says is held against the contract (design/0015) before it is believed.
"""

import asyncio
import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import aiohttp

from retune.decide.drift.evidence import WIDTH, Row
from retune.decide.readings import ServingPod
from retune.observe.taps import PORT, TIMEOUT

LARGEST = 2**18  # bytes of an answer; 512 rows are 60 kB or so
MOST_ROWS = 512  # of an answer, by contract
MOST_TOGETHER = 8192  # rows of all taps at one look
LAST = 2**53  # numbers of rows, and times, as JSON holds them exactly


class Received(Protocol):
    """Counts rows; the metrics of `main` implement it."""

    def feature_rows(self, count: int) -> None:
        """So many rows came."""


@dataclass(frozen=True)
class Prompts:
    """What the taps told. `version`: of the features, the newest told; None: no tap answered."""

    rows: tuple[Row, ...] = ()
    version: int | None = None


class Features:
    """Asks for rows.

    Args:
        session: for the requests; not the one that others wait on.
        counted: told of the rows that came.
    """

    def __init__(self, session: aiohttp.ClientSession, counted: Received, port: int = PORT) -> None:
        self._session, self._counted, self._port = session, counted, port

    async def read(self, model: str, pods: tuple[ServingPod, ...], cursors: Mapping[str, int]) -> Prompts:
        """What has come at the ready ones among `pods`, within a second and a half.

        A tap that does not answer is left out, and asked for the same again at the next look.

        Args:
            model: the public model name.
            pods: of the job.
            cursors: by pod uid, the last row known.
        """
        asked = [pod for pod in pods if pod.ready and pod.ip and not pod.over]
        if not asked:
            return Prompts()
        each = max(1, min(MOST_ROWS, MOST_TOGETHER // len(asked)))
        said = await asyncio.gather(*(self._one(pod, model, cursors.get(pod.uid, -1) + 1, each) for pod in asked))
        told = [prompts for prompts in said if prompts.version is not None]
        version = max((prompts.version for prompts in told if prompts.version is not None), default=None)
        rows = tuple(row for prompts in told if prompts.version == version for row in prompts.rows)
        self._counted.feature_rows(len(rows))
        return Prompts(rows, version)

    async def _one(self, pod: ServingPod, model: str, since: int, most: int) -> Prompts:
        """The oldest `most` rows that a tap has from number `since` on; nothing where it makes no sense."""
        try:
            return read_features(await self._get(pod.ip, model, since), pod.uid, since, most)
        except (TimeoutError, ValueError, aiohttp.ClientError, OSError):  # that taps are silent, their state tells
            return Prompts()

    async def _get(self, ip: str, model: str, since: int) -> bytes:
        host = f"[{ip}]" if ":" in ip else ip
        async with self._session.get(
            f"http://{host}:{self._port}/v1/features",
            params={"model": model, "since": str(since)},
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


def read_features(text: bytes, pod: str, since: int, most: int) -> Prompts:
    """The oldest `most` rows in an answer of the pod with the uid `pod`, who was asked for those from `since` on.

    Raises:
        ValueError: it is not what the contract says; the message names the place.
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError("its answer is no JSON") from error
    if not isinstance(told, dict) or told.get("podUid") != pod:
        raise ValueError("podUid: another pod answered")
    version, rows = told.get("version"), told.get("rows")
    if type(version) is not int or not 1 <= version <= LAST:
        raise ValueError("version: no whole number from 1 on")
    if not isinstance(rows, list) or len(rows) > MOST_ROWS:
        raise ValueError(f"rows: no list of at most {MOST_ROWS}")
    found = [_row(row, pod) for row in rows]
    if any(later.seq <= earlier.seq for earlier, later in pairwise(found)):
        raise ValueError("rows: their numbers do not rise")
    return Prompts(tuple(row for row in found if row.seq >= since)[:most], version)


def _row(told: Any, pod: str) -> Row:  # noqa: ANN401 - JSON as it came
    if not isinstance(told, list) or len(told) != 3:
        raise ValueError("rows: a row is [number, time, numbers]")
    seq, at, vector = told
    if type(seq) is not int or not 0 <= seq <= LAST:
        raise ValueError("rows: a number is none")
    if type(at) not in (int, float) or not 0 <= at <= LAST:  # NaN is neither
        raise ValueError("rows: a time is none")
    if not isinstance(vector, str) or len(vector) > 2 * WIDTH:
        raise ValueError("rows: no base64")
    try:
        numbers = base64.b64decode(vector, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("rows: no base64") from error
    if len(numbers) != WIDTH:
        raise ValueError(f"rows: no {WIDTH} numbers")
    return Row(pod, seq, float(at), numbers)
