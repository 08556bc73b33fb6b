"""A small server that keeps vLLM's HTTP contract, with knobs to misbehave. `async with Upstream() as u: u.url`.

Statuses and bodies are those that were seen with vLLM 0.32: lists, loading and unloading of adapters, chat and
completions, streamed or not, errors. Each model's knobs are its `Behaviour`.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aiohttp import web

BASE = "base"
CONFIG = "adapter_config.json"
KNOBS = ("text", "tokens", "status", "fail", "pause")
"""What an adapter's configuration may ask for."""


@dataclass
class Behaviour:
    """How one model answers."""

    text: str = ""
    tokens: int = 4
    # Answer this status instead.
    status: int = 200
    # Break a stream after so many events: the connection is cut, or the server says an error.
    break_after: int | None = None
    says_error: bool = False
    # A request waits here before it is answered; a stream waits at `between` before each event after its first.
    before: asyncio.Event | None = None
    between: asyncio.Event | None = None
    # Share of its requests that are answered 500, evenly spread.
    fail: float = 0.0
    # Seconds that its adapter takes to load.
    pause: float = 0.0
    # A stream that goes on until the client leaves.
    endless: bool = False
    bulk: int = 0


@dataclass
class Upstream:
    """The server. Adapters are loaded at once unless `check_paths`, which looks for their config as vLLM does."""

    check_paths: bool = False
    adapters: dict[str, str] = field(default_factory=dict)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    default: Behaviour = field(default_factory=Behaviour)
    seen: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    bytes_sent: int = 0
    # Port on loopback; 0: any that is free.
    port: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self.arrived = asyncio.Event()
        self.cancelled = asyncio.Event()
        self._ids = itertools.count(1)
        self._due: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.add_routes(
            [
                web.get("/health", self._empty),
                web.get("/ping", self._empty),
                web.get("/v1/models", self._models),
                web.post("/v1/load_lora_adapter", self._load),
                web.post("/v1/unload_lora_adapter", self._unload),
                web.post("/v1/chat/completions", self._generate),
                web.post("/v1/completions", self._generate),
            ]
        )
        app.router.add_route("*", "/{path:.*}", self._nothing)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    def asked(self, model: str) -> list[dict[str, Any]]:
        """The bodies of the requests that named this model."""
        return [body for _, body, _ in self.seen if body.get("model") == model]

    async def _empty(self, _: web.Request) -> web.Response:
        return web.Response()

    async def _nothing(self, _: web.Request) -> web.Response:
        return web.json_response({"detail": "Not Found"}, status=404)

    async def _models(self, _: web.Request) -> web.Response:
        common = {"object": "model", "created": 1, "owned_by": "vllm"}
        base = {"id": BASE, **common, "root": "/models/base", "parent": None, "max_model_len": 512}
        adapters = [
            {"id": name, **common, "root": path, "parent": BASE, "max_model_len": None}
            for name, path in self.adapters.items()
        ]
        return web.json_response({"object": "list", "data": [base, *adapters]})

    async def _load(self, request: web.Request) -> web.Response:
        body = await request.json()
        name, path = body.get("lora_name"), body.get("lora_path")
        if not name or not path:
            return problem(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        if name == BASE or (name in self.adapters and not body.get("load_inplace")):
            return problem(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
        if self.check_paths and not (Path(path) / CONFIG).is_file():
            return problem(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        if self.behaviours.get(f"load:{name}", self.default).status == 500:
            return problem(500, "InternalServerError", "Call to add_lora method failed: corrupt")
        if self.check_paths and (found := told(Path(path))) is not None:
            self.behaviours[name] = found
            await asyncio.sleep(found.pause)
        self.adapters[name] = path
        return web.Response(body=f"Success: LoRA adapter '{name}' added successfully.".encode())

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json()).get("lora_name")
        if self.adapters.pop(name, None) is None:
            return problem(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        return web.Response(body=f"Success: LoRA adapter '{name}' removed successfully.".encode())

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        chat = request.path.endswith("/chat/completions")
        try:
            body = await request.json()
        except ValueError:
            return problem(400, "Bad Request", "JSON decode error", "body")
        self.seen.append((request.path, body, dict(request.headers)))
        needed = "messages" if chat else "prompt"
        if needed not in body:
            return problem(400, "Bad Request", "Field required", f"body.{needed}")
        if not isinstance(body.get("max_tokens", 1), int):
            return problem(400, "Bad Request", "Input should be a valid integer", "body.max_tokens")
        if body.get("temperature", 0) < 0:
            return problem(400, "BadRequestError", "temperature must be non-negative", "temperature")
        model = body.get("model", BASE)
        if model != BASE and model not in self.adapters:
            return problem(404, "NotFoundError", f"The model `{model}` does not exist.", "model")
        behaviour = self.behaviours.get(model, self.default)
        self.arrived.set()
        try:
            if behaviour.before:
                await behaviour.before.wait()
            if behaviour.status != 200 or self._fails(model, behaviour):
                status = behaviour.status if behaviour.status != 200 else 500
                return problem(status, "InternalServerError", "EngineCore encountered an issue.")
            head = {"id": f"{'chatcmpl' if chat else 'cmpl'}-{next(self._ids):016x}", "created": 1, "model": model}
            if body.get("stream"):
                return await self._stream(request, body, behaviour, head, chat=chat)
            return web.json_response(whole(head, behaviour, model, chat=chat), dumps=compact)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def _fails(self, model: str, behaviour: Behaviour) -> bool:
        """Whether this request is one of those that fail: after n requests, `fail` of n did, to within one."""
        before = self._due[model]
        self._due[model] += 1
        return int((before + 1) * behaviour.fail) > int(before * behaviour.fail)

    async def _stream(
        self, request: web.Request, body: dict[str, Any], behaviour: Behaviour, head: dict[str, Any], *, chat: bool
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number, event in enumerate(chunks(head, behaviour, body, chat=chat)):
            if number and behaviour.between:
                await behaviour.between.wait()
            if number == behaviour.break_after:
                if not behaviour.says_error:
                    if request.transport is not None:
                        request.transport.abort()
                    return response
                said = {"message": "engine died", "type": "InternalServerError", "param": None, "code": 500}
                await response.write(b"data: " + compact({"error": said}).encode() + b"\n\n")
                break
            data = b"data: " + compact(event).encode() + b"\n\n"
            await response.write(data)
            self.bytes_sent += len(data)
        await response.write(b"data: [DONE]\n\n")
        return response


def told(folder: Path) -> Behaviour | None:
    """What an adapter's own configuration asks for, `{"standin": {"fail": 0.5, "text": "…"}}`; None: nothing."""
    asked = json.loads((folder / CONFIG).read_text()).get("standin")
    return Behaviour(**{knob: asked[knob] for knob in KNOBS if knob in asked}) if asked is not None else None


def compact(value: object) -> str:
    """JSON as vLLM writes it."""
    return json.dumps(value, separators=(",", ":"))


def problem(status: int, kind: str, message: str, param: str | None = None) -> web.Response:
    """An error in vLLM's form."""
    said = {"message": message, "type": kind, "param": param, "code": status}
    return web.json_response({"error": said}, status=status)


def words(behaviour: Behaviour, model: str) -> str:
    """What a model says to everything."""
    return behaviour.text or f"answer of {model}"


def whole(head: dict[str, Any], behaviour: Behaviour, model: str, *, chat: bool) -> dict[str, Any]:
    """An answer in one piece."""
    text = words(behaviour, model)
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
    usage = {"prompt_tokens": 3, "total_tokens": 3 + behaviour.tokens, "completion_tokens": behaviour.tokens}
    kind = "chat.completion" if chat else "text_completion"
    return {**head, "object": kind, "choices": [{"index": 0, **said, "finish_reason": "stop"}], "usage": usage}


def chunks(head: dict[str, Any], behaviour: Behaviour, body: dict[str, Any], *, chat: bool) -> Iterator[Any]:
    """An answer's events, without the [DONE] that ends them."""
    head = {**head, "object": "chat.completion.chunk" if chat else "text_completion"}

    def chunk(text: str, **delta: str) -> dict[str, Any]:
        said = {"delta": {**delta, "content": text}} if chat else {"text": text}
        return {**head, "choices": [{"index": 0, **said, "logprobs": None, "finish_reason": None}]}

    if chat:
        yield chunk("", role="assistant")
    text = words(behaviour, head["model"])
    size = -(-len(text) // behaviour.tokens)
    parts: Iterable[str] = [text[at : at + size] for at in range(0, len(text), size)]
    if behaviour.endless:
        parts = itertools.repeat("x" * max(1, behaviour.bulk))
    for part in parts:
        yield chunk(part)
    options = body.get("stream_options") or {}
    if options.get("include_usage"):
        usage = {"prompt_tokens": 3, "total_tokens": 3 + behaviour.tokens, "completion_tokens": behaviour.tokens}
        yield {**head, "choices": [], "usage": usage}


async def main() -> None:
    """Serve until killed, for benchmarks: prints the address. `TOKENS` as the first argument."""
    default = Behaviour(text="word " * int(sys.argv[1]), tokens=int(sys.argv[1]))
    async with Upstream(default=default) as server:
        server.seen = Forgetful()
        server.adapters["triage-aaaaaaaaaaaa"] = "/models/adapters/aaaaaaaaaaaa"
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


class Forgetful(list[tuple[str, dict[str, Any], dict[str, str]]]):
    """For a server that runs for long: nobody asks what it has seen."""

    def append(self, _: tuple[str, dict[str, Any], dict[str, str]]) -> None:
        """Keep nothing."""


if __name__ == "__main__":
    asyncio.run(main())
