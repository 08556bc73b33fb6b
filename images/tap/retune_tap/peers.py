"""Feedback on an answer of another pod: asks the taps behind the job's headless Service, all at once, and briefly.

A peer is asked on its cluster's port and never asks on. Users can send ids that nobody gave, so what that costs is
bounded: so many questions at a time, one look-up of the name in some seconds.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Self

import aiohttp

from retune_tap.feedback import Feedback
from retune_tap.settings import Settings

MOST_PEERS = 32
_SECONDS = 1.0
_AT_A_TIME = 8
# Pods come and go; a tap that is not known yet has given few answers.
_KNOWN = 5.0


class Peers:
    """The taps of the job's other pods. `async with` closes the connections."""

    def __init__(self, settings: Settings) -> None:
        """To be made within the event loop; nothing is asked yet."""
        self._names = [_split(name, settings.cluster_port) for name in settings.peers.split(",") if name]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=MOST_PEERS * _AT_A_TIME), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._turn = asyncio.Semaphore(_AT_A_TIME)
        self._looking: asyncio.Task[list[tuple[str, int]]] | None = None
        self._looked = 0.0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        if self._looking:
            self._looking.cancel()
        await self._session.close()

    async def take(self, feedback: Feedback) -> bool:
        """Whether one of them took it within a second."""
        if not self._names:
            return False
        tasks: list[asyncio.Task[bool]] = []
        try:
            async with asyncio.timeout(_SECONDS), self._turn:
                tasks = [asyncio.create_task(self._ask(*at, feedback)) for at in await self._addresses()]
                for answer in asyncio.as_completed(tasks):
                    if await answer:
                        return True
        except TimeoutError:
            return False
        finally:
            for task in tasks:
                task.cancel()
        return False

    async def _ask(self, host: str, port: int, feedback: Feedback) -> bool:
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1/feedback"
        try:
            async with self._session.post(url, json=feedback.told(), allow_redirects=False) as reply:
                return reply.status == 202
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _addresses(self) -> list[tuple[str, int]]:
        now = asyncio.get_running_loop().time()
        if self._looking is None or (self._looking.done() and now - self._looked > _KNOWN):
            self._looking, self._looked = asyncio.create_task(self._look()), now
        # Another feedback may wait for the same look, so that one which gives up must not end it.
        return await asyncio.shield(self._looking)

    async def _look(self) -> list[tuple[str, int]]:
        loop, found = asyncio.get_running_loop(), []
        for name, port in self._names:
            try:
                found += await loop.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            except OSError:
                continue
        return list(dict.fromkeys((str(entry[4][0]), int(entry[4][1])) for entry in found))[:MOST_PEERS]


def _split(name: str, port: int) -> tuple[str, int]:
    host, colon, number = name.strip().rpartition(":")
    return (host, int(number)) if colon and number.isdigit() else (name.strip(), port)
