"""What the operator asks while it watches: a tap for each job, and a Prometheus that counts who asks it what.

Read from standard input once: `{"port": P, "prometheus": URL or "", "taps": [{"ip", "pod", "uid", "model"}, …]}`. Taps
listen on their pod's address, port 9090, and keep the contract of 0012 and 0015: the state with its windows and
counters, the rows of features, the arms document by push. Requests come to each at the same pace, with the same share
of overrides and ratings: nothing drifts. Queries go on to the Prometheus of that URL, or are answered here.
"""

import asyncio
import base64
import itertools
import json
import random
import sys
import time
from typing import Any

import aiohttp
from aiohttp import web

PORT = 9090
WINDOW = 15  # s
KEPT, MOST, HOURS = 2048, 512, 7200
PER_WINDOW, RATED = 15, 3  # answers, and those that people rated: 60 requests a minute
TABLE = 4096
BUCKETS = 32
Raw = dict[str, Any]


def vectors() -> list[str]:
    """Rows of numbers as taps tell them, drawn as the benchmark's own reference is."""
    draw = random.Random(5)  # noqa: S311 - numbers to be watched, no secret
    rows = (bytes(round(max(-127, min(127, draw.gauss(0, 16)))) & 255 for _ in range(64)) for _ in range(TABLE))
    return [base64.b64encode(row).decode() for row in rows]


class FakeTap:
    """The tap of one pod, at rest. `began`: seconds since the epoch; `number`: where in the table its rows begin."""

    def __init__(self, told: Raw, began: float, number: int, table: list[str]) -> None:
        self._told, self._began, self._offset, self._table = told, began, number * 37, table
        self._document: Raw = {"generation": 0, "models": {}}

    def take(self, envelope: bytes) -> int:
        """The generation of a document that was pushed."""
        self._document = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        return int(self._document["generation"])

    def state(self, since: float) -> Raw:
        """`GET /v1/state`."""
        now = time.time()
        models = {name: self._model(split, since, now) for name, split in self._document["models"].items()}
        return {**self._identity(now), "generation": self._document["generation"], "shared": False, "models": models}

    def features(self, since: int) -> Raw:
        """`GET /v1/features`: one row a request, one request a second."""
        now, first = time.time(), int(self._began * 1000)
        newest = first + int(now - self._began)
        begin = max(since, newest - KEPT, first)
        numbers = range(begin, min(newest, begin + MOST))
        rows = [[n, self._began + (n - first), self._table[(n + self._offset) % TABLE]] for n in numbers]
        following = rows[-1][0] + 1 if rows else newest
        return {**self._identity(now), "version": 1, "next": following, "seen": newest - first, "rows": rows}

    def _identity(self, now: float) -> Raw:
        return {"pod": self._told["pod"], "podUid": self._told["uid"], "startedAt": self._began, "now": now}

    def _model(self, split: Raw, since: float, now: float) -> Raw:
        arm, edges = split["stable"], [edge["name"] for edge in split["edges"]]
        # It has served for two hours already, as far as windows go.
        oldest = max(since, self._began - HOURS, now - HOURS)
        starts = range((int(oldest) // WINDOW + 1) * WINDOW, int(now) - WINDOW, WINDOW)
        count = int(now - self._began)
        return {
            "stage": "Idle",
            "stratum": "-",
            "weight": 0,
            "held": None,
            "arms": {"stable": {**{k: arm[k] for k in ("name", "digest")}, "state": "Ready", "message": ""}},
            "counters": {name: {"stable": {"-": _counters(count)}} for name in edges},
            "routed": {"-": {"stable": count, "canary": 0}},
            "fallbacks": 0,
            "heaviest": 0.02,
            "quota": {"requests": 0, "bad": 0},
            "shadow": dict.fromkeys(("sent", "dropped", "failed", "agreed", "compared"), 0),
            "latency": {"firstToken": {"p50": 0.1, "p95": 0.4}, "response": {"p50": 0.6, "p95": 1.9}},
            "windows": {name: [_window(name, start) for start in starts] for name in edges},
        }


def _counters(count: int) -> Raw:
    each, more = divmod(count, BUCKETS)
    total = [each + (bucket < more) for bucket in range(BUCKETS)]
    return {"bad": [n // 50 for n in total], "total": total}


def _window(edge: str, start: int) -> list[int]:
    """One answer in fifty is bad; of those that are rated, one in ten."""
    number = start // WINDOW
    if edge == "drift:rated":
        return [start, int(number * RATED % 10 < RATED), RATED]
    return [start, int(number * PER_WINDOW % 50 < PER_WINDOW), PER_WINDOW]


class Fakes:
    """All of it, in one process."""

    def __init__(self, told: Raw) -> None:
        began, table = time.time(), vectors()
        self._taps = {tap["ip"]: FakeTap(tap, began, n, table) for n, tap in enumerate(told["taps"])}
        self._told = told
        self._asked: dict[str, int] = dict.fromkeys(("state", "features", "arms", "queries", "at once"), 0)
        self._under_way = 0
        self._session: aiohttp.ClientSession | None = None

    async def run(self) -> None:
        """Serve until standard input ends."""
        taps, prometheus = web.Application(), web.Application()
        taps.add_routes(
            [
                web.get("/v1/state", self._state),
                web.get("/v1/features", self._features),
                web.post("/v1/arms", self._arms),
            ]
        )
        prometheus.add_routes([web.post("/api/v1/query", self._query), web.get("/asked", self._counts)])
        async with aiohttp.ClientSession() as self._session:
            for app, places in (
                (taps, [(ip, PORT) for ip in self._taps]),
                (prometheus, [("127.0.0.1", self._told["port"])]),
            ):
                runner = web.AppRunner(app, access_log=None)
                await runner.setup()
                for place in places:
                    await web.TCPSite(runner, *place).start()
            await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

    def _tap(self, request: web.Request, what: str) -> FakeTap:
        assert request.transport is not None
        self._asked[what] += 1
        return self._taps[request.transport.get_extra_info("sockname")[0]]

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(self._tap(request, "state").state(float(request.query.get("windows", "9e9"))))

    async def _features(self, request: web.Request) -> web.Response:
        return web.json_response(self._tap(request, "features").features(int(request.query.get("since", "0"))))

    async def _arms(self, request: web.Request) -> web.Response:
        return web.json_response({"generation": self._tap(request, "arms").take(await request.read())})

    async def _query(self, request: web.Request) -> web.Response:
        form = await request.post()
        self._asked["queries"] += 1
        self._under_way += 1
        self._asked["at once"] = max(self._asked["at once"], self._under_way)
        try:
            if not self._told["prometheus"]:
                result = [{"metric": {}, "value": [time.time(), "0.02"]}]
                return web.json_response({"status": "success", "data": {"resultType": "vector", "result": result}})
            assert self._session is not None
            url = f"{self._told['prometheus']}/api/v1/query"
            async with self._session.post(url, data={k: str(v) for k, v in form.items()}) as answer:
                return web.Response(body=await answer.read(), status=answer.status, content_type="application/json")
        finally:
            self._under_way -= 1

    async def _counts(self, _request: web.Request) -> web.Response:
        """How often each was asked since the last time somebody wanted to know."""
        counted, self._asked = self._asked, dict.fromkeys(self._asked, 0)
        return web.json_response(counted)


if __name__ == "__main__":
    asyncio.run(Fakes(json.loads(next(itertools.islice(sys.stdin, 1)))).run())
