"""The door to the API server: answers that are no JSON, the fence, and what counts as done."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from tests.unit.make import virtually

from retune.kube.bucket import TokenBucket
from retune.kube.client import ApiError, Client, NotLeader

GONE = {"kind": "Status", "reason": "NotFound", "message": "no such thing"}


class Server:
    """Stands for the library's client: gives the answers it was told, and remembers what was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), []
        self.configuration = SimpleNamespace(host="https://api")

    async def update_params_for_auth(self, *_: Any) -> None:
        pass

    async def call_api(self, method: str, url: str, headers: Any, body: Any, **_: Any) -> Any:
        self.asked.append((method, url, body))
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, text, headers = (*answer, {})[:3]
        data = text if isinstance(text, bytes) else json.dumps(text).encode()

        async def read() -> bytes:
            return data

        return SimpleNamespace(status=status, headers=headers, read=read)


class Counted(list[tuple[str, str]]):
    def api_write(self, verb: str, resource: str) -> None:
        self.append((verb, resource))


def client(server: Server, *, leads: bool = True, writes: Counted | None = None) -> Client:
    bucket = TokenBucket(50, 100, asyncio.get_running_loop().time)
    return Client(server, bucket, lambda: leads, writes if writes is not None else Counted())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "text", "after"),
    [
        (429, b"Too many requests, please try again later.\n", 1.0),
        (503, b"<html>upstream connect error</html>", None),
        (502, b"\xff\xfe", None),
    ],
)
def test_plain_text_errors_are_errors_of_the_api(status: int, text: bytes, after: float | None) -> None:
    """The API server's own overload answer is plain text, and so is whatever stands before it."""

    async def scenario() -> None:
        server = Server((status, text, {"Retry-After": "1"} if after else {}))
        with pytest.raises(ApiError) as caught:
            await client(server).get("jobs", "ns", "x")
        assert (caught.value.code, caught.value.retry_after) == (status, after)

    virtually(scenario())


def test_a_good_answer_that_is_no_json_is_no_answer() -> None:
    async def scenario() -> None:
        with pytest.raises(ApiError) as caught:
            await client(Server((200, b"<html>"))).get("jobs", "ns", "x")
        assert caught.value.code == 0

    virtually(scenario())


@pytest.mark.parametrize("error", [aiohttp.ClientConnectionError("refused"), TimeoutError()])
def test_silence_is_unreachable(error: Exception) -> None:
    async def scenario() -> None:
        with pytest.raises(ApiError) as caught:
            await client(Server(error)).get("jobs", "ns", "x")
        assert (caught.value.code, caught.value.reason) == (0, "Unreachable")

    virtually(scenario())


def test_what_does_not_exist_is_none() -> None:
    assert virtually(_get(Server((404, GONE)))) is None


async def _get(server: Server) -> Any:
    return await client(server).get("jobs", "ns", "x")


def test_creating_what_is_there_already_is_done() -> None:
    async def scenario() -> Any:
        return await client(Server((409, {"reason": "AlreadyExists"}))).create("jobs", "ns", {})

    assert virtually(scenario()) is None


@pytest.mark.parametrize("answer", [(200, {}), (404, GONE), (409, {"reason": "Conflict"})])
def test_deleting_what_is_gone_or_a_namesake_is_done_and_names_the_uid(answer: Any) -> None:
    async def scenario() -> None:
        server = Server(answer)
        await client(server).delete("jobs", "ns", "x", "the-uid", foreground=True)
        ((method, url, body),) = server.asked
        assert (method, url) == ("DELETE", "https://api/apis/batch/v1/namespaces/ns/jobs/x")
        assert (body["preconditions"], body["propagationPolicy"]) == ({"uid": "the-uid"}, "Foreground")

    virtually(scenario())


def test_a_follower_writes_nothing_and_may_read() -> None:
    async def scenario() -> None:
        server, writes = Server((200, {})), Counted()
        follower = client(server, leads=False, writes=writes)
        body = {"metadata": {"name": "x"}}
        for write in (
            follower.create("jobs", "ns", body),
            follower.apply("jobs", "ns", body),
            follower.merge("jobs", "ns", "x", body),
            follower.delete("jobs", "ns", "x", "uid"),
        ):
            with pytest.raises(NotLeader):
                await write
        assert (server.asked, writes) == ([], [])
        await follower.get("jobs", "ns", "x")

    virtually(scenario())


def test_the_fence_is_asked_after_the_wait_for_a_token() -> None:
    async def scenario() -> None:
        loop, server = asyncio.get_running_loop(), Server((200, {}), (200, {}))
        bucket = TokenBucket(1, 1, loop.time)
        slow = Client(server, bucket, lambda: loop.time() < 0.5, Counted())  # type: ignore[arg-type]
        await slow.create("jobs", "ns", {})
        with pytest.raises(NotLeader):
            await slow.create("jobs", "ns", {})
        assert len(server.asked) == 1

    virtually(scenario())


def test_names_are_data_in_a_path() -> None:
    async def scenario() -> str:
        server = Server((200, {}))
        await client(server).get("jobs", "ns", "../../x?y")
        return server.asked[0][1]

    assert virtually(scenario()).endswith("/namespaces/ns/jobs/..%2F..%2Fx%3Fy")
