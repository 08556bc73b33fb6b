"""A tap with real ports before an upstream, a clock that is moved by hand, and documents signed by a test's key."""

from __future__ import annotations

import base64
import json
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hack.images.standin.upstream import Upstream

from retune_tap.arms import AdapterError, Arm
from retune_tap.serve import Ports, drain, listen
from retune_tap.settings import Settings
from retune_tap.tap import Tap

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw()
STABLE = "triage-aaaaaaaaaaaa"
CANDIDATE = "triage-bbbbbbbbbbbb"
ERRORS = {"name": "errors", "builtin": "Errors"}


def adapter(name: str) -> dict[str, Any]:
    digest = name.rpartition("-")[2] + "0" * 52
    return {"kind": "Adapter", "name": name, "run": "triage-1", "digest": digest, "uri": f"s3://models/{name}"}


def model(**changes: Any) -> dict[str, Any]:
    """A canary at 50 % that counts errors."""
    return {
        "stable": adapter(STABLE),
        "candidate": adapter(CANDIDATE),
        "keep": [],
        "stage": "Canary",
        "stratum": "3:1",
        "weight": 50,
        "salt": "run-uid",
        "shadow": None,
        "pilot": None,
        "stickyHeader": "x-user-id",
        "optOutHeader": "x-retune-stable",
        "edges": [ERRORS],
        "quota": {"requests": None, "bad": None},
        "patience": None,
        **changes,
    }


def payload(generation: int = 1, uid: str = "uid-1", **changes: Any) -> dict[str, Any]:
    return {
        "namespace": "support",
        "job": "triage",
        "uid": uid,
        "generation": generation,
        "models": {"triage": model(**changes)},
    }


def envelope(of: dict[str, Any] | bytes, key: Ed25519PrivateKey = KEY) -> bytes:
    data = of if isinstance(of, bytes) else json.dumps(of).encode()
    return json.dumps(
        {"payload": base64.b64encode(data).decode(), "signature": base64.b64encode(key.sign(data)).decode()}
    ).encode()


@dataclass
class Clock:
    """Time that tests move: monotonic and Unix time together."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class InMemory:
    """Adapters that are loaded by naming them to the upstream."""

    upstream: Upstream
    broken: dict[str, str] = field(default_factory=dict)
    ensured: list[str] = field(default_factory=list)

    async def ensure(self, arm: Arm) -> None:
        self.ensured.append(arm.name)
        if arm.name in self.broken:
            raise AdapterError(self.broken[arm.name])
        self.upstream.adapters.setdefault(arm.name, f"/models/adapters/{arm.digest[:12]}")

    async def loaded(self) -> frozenset[str]:
        return frozenset({"base", *self.upstream.adapters})


def settings(upstream: str, file: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {
        "namespace": "support",
        "job": "triage",
        "job_uid": "uid-1",
        "model": "triage",
        "pod": "triage-0",
        "pod_uid": "pod-uid",
        "arms_key": PUBLIC,
        "arms_file": file,
        "upstream": upstream,
        "models": file.parent,
        "user_host": "127.0.0.1",
        "user_port": 0,
        "cluster_port": 0,
        "endpoint_on_loopback": True,
    }
    return Settings(**values | changes)


class Running:
    """The whole of it. `ask` speaks to the users' port."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.file = folder / "arms.json"
        self._changes = changes
        self.clock = Clock()

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        self.upstream = await self._stack.enter_async_context(Upstream())
        self.adapters = InMemory(self.upstream)
        self.tap = Tap(
            settings(self.upstream.url, self.file, **self._changes),
            self.adapters,
            clock=self.clock,
            wall=self.clock,
            chance=random.Random(7),
        )
        self._stack.push_async_callback(self.tap.close)
        self.ports: Ports = await listen(self.tap)
        self._stack.push_async_callback(drain, self.tap, self.ports)
        self.users = f"http://127.0.0.1:{self.ports.users}"
        self.cluster = f"http://127.0.0.1:{self.ports.cluster}"
        connector = aiohttp.TCPConnector(limit=0)
        self.http = await self._stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def push(self, document: bytes) -> int:
        async with self.http.post(f"{self.cluster}/v1/arms", data=document) as reply:
            return reply.status

    async def serve(self, generation: int = 1, **changes: Any) -> None:
        """Have a document taken, and all that it names loaded."""
        assert await self.push(envelope(payload(generation, **changes))) == 200
        await self.look()

    async def look(self) -> None:
        await self.tap.loading.look()
        await self.tap.loading.settled()

    def later(self, seconds: float) -> None:
        self.clock.now += seconds
        self.tap.tick()

    async def ask(self, user: str | None = None, *, stream: bool = False, **more: Any) -> aiohttp.ClientResponse:
        headers = {**({"x-user-id": user} if user else {}), **more.pop("headers", {})}
        body = {"model": "triage", "messages": [{"role": "user", "content": "hello"}], "stream": stream, **more}
        reply = await self.http.post(f"{self.users}/v1/chat/completions", json=body, headers=headers)
        if not stream:
            await reply.read()
        return reply

    async def state(self, query: str = "") -> dict[str, Any]:
        async with self.http.get(f"{self.cluster}/v1/state{query}") as reply:
            assert reply.status == 200
            return (await reply.json())["models"]["triage"]

    async def counts(self, metric: str = "errors") -> dict[str, tuple[int, int]]:
        """Bad and total of each arm, over strata and buckets."""
        found = (await self.state())["counters"].get(metric, {})
        return {
            arm: (sum(sum(s["bad"]) for s in strata.values()), sum(sum(s["total"]) for s in strata.values()))
            for arm, strata in found.items()
        }

    def user_of(self, arm: str) -> str:
        """An id that the current weight sends to this arm."""
        from retune_tap.splitting import to_candidate

        served = self.tap.models["triage"]
        for number in range(10_000):
            place = served._splitter.place(f"user-{number}")
            if to_candidate(place.position, served.plan.share) == (arm == "canary"):
                return f"user-{number}"
        raise AssertionError(arm)
