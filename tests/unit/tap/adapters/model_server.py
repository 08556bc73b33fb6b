"""What the tap's loader asks of a model server, on loopback: adapters by folder, and logprobs that follow the weights.

Like vLLM it answers 200 for an adapter of another base, which then changes nothing. The whole contract is held against
vLLM itself in tests/e2e/test_server.py.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

from aiohttp import web


class ModelServer:
    """A base and the adapters loaded on it.

    `hidden` adapters are not listed; `noise` moves each answer by another part of it.
    """

    def __init__(self) -> None:
        self.adapters: dict[str, str] = {}
        self.asked: list[tuple[str, str]] = []
        self.loads: list[dict] = []
        self.hidden = False
        self.refuses: tuple[int, str] | None = None
        self.noise = 0.0

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/load_lora_adapter", self.load)
        app.router.add_post("/v1/completions", self.complete)
        return app

    async def models(self, _: web.Request) -> web.Response:
        listed = {} if self.hidden else self.adapters
        data = [{"id": "base", "root": "/models/base", "parent": None}]
        data += [{"id": name, "root": root, "parent": "base"} for name, root in listed.items()]
        return web.json_response({"object": "list", "data": data})

    async def load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.loads.append(asked)
        name = asked["lora_name"]
        if self.refuses:
            return self.error(*self.refuses)
        if name in self.adapters:
            return self.error(400, f"The lora adapter '{name}' has already been loaded.")
        if not (Path(asked["lora_path"]) / "adapter_config.json").exists():
            return self.error(404, "No adapter found")
        self.adapters[name] = asked["lora_path"]
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def complete(self, request: web.Request) -> web.Response:
        asked = await request.json()
        model = asked["model"]
        self.asked.append((model, asked["prompt"]))
        if model != "base" and model not in self.adapters:
            return self.error(404, f"The model `{model}` does not exist.")
        moved = self.noise * (len(self.asked) * 7919 % 10) / 10
        if model != "base":
            moved += effect(Path(self.adapters[model]))
        # A token's value depends on the prompt, as a model's would.
        value = -1.0 - zlib.crc32(asked["prompt"].encode()) % 7 + moved
        likely = {" yes": value, " no": value - 1.0}
        choice = {"index": 0, "text": " yes", "logprobs": {"top_logprobs": [likely]}}
        return web.json_response({"choices": [choice]})

    @staticmethod
    def error(status: int, message: str) -> web.Response:
        error = {"message": message, "type": "Error", "param": None, "code": status}
        return web.json_response({"error": error}, status=status)


def effect(folder: Path) -> float:
    """An adapter made for another base fits none of the modules, and does nothing."""
    config = json.loads((folder / "adapter_config.json").read_text())
    return 0.0 if config["base_model_name_or_path"] == "another" else 0.25
