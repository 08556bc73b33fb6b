"""The model server as the tap sees it: what it has loaded, loading more, and what it answers to a probe. HTTP only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from retune_tap.arms import AdapterError

BASE = "base"
# Seconds. Reading an adapter of some hundred megabytes from a slow disk.
LOADING = 120.0
# The first request for logprobs may take 16 s, while a server compiles what it needs for it.
ASKING = 60.0


@dataclass(frozen=True)
class Loaded:
    """A model the server lists: where its files lie, and the model it stands on (None: it is a base itself)."""

    root: str
    parent: str | None


class Server:
    """A vLLM with runtime loading of adapters switched on."""

    def __init__(self, address: str) -> None:
        """`address` is such as http://127.0.0.1:8001; nothing is asked yet."""
        self._address = address.rstrip("/")
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def models(self) -> dict[str, Loaded]:
        """What it lists, by name.

        Raises:
            AdapterError: it does not answer, or not as vLLM does.
        """
        status, body = await self._call("GET", "/v1/models", None, ASKING)
        try:
            return {
                str(entry["id"]): Loaded(str(entry.get("root") or ""), entry.get("parent")) for entry in body["data"]
            }
        except (KeyError, TypeError, AttributeError):
            raise AdapterError(f"the model server answered {status} to GET /v1/models, which is no list") from None

    async def load(self, name: str, folder: Path) -> None:
        """Load an adapter; that it is loaded already is no error.

        Raises:
            AdapterError: the server refuses it; the text holds the server's own words.
        """
        asked = {"lora_name": name, "lora_path": str(folder)}
        status, body = await self._call("POST", "/v1/load_lora_adapter", asked, LOADING)
        if status == 200 or (status == 400 and "already been loaded" in _message(body)):
            return
        raise AdapterError(f"the model server refused it with {status}: {_message(body)}")

    async def likely(self, model: str, prompt: str) -> dict[str, float]:
        """The likeliest next tokens after a prompt, with their logarithmic probabilities.

        Raises:
            AdapterError: the server cannot say.
        """
        asked = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 5}
        status, body = await self._call("POST", "/v1/completions", asked, ASKING)
        if status != 200:
            cure = "spec.serving.args must leave it logprobs"
            raise AdapterError(f"the model server answered {status} to a probe of {model}: {_message(body)} ({cure})")
        try:
            found = body["choices"][0]["logprobs"]["top_logprobs"][0]
            return {str(token): float(value) for token, value in found.items()}
        except (KeyError, IndexError, TypeError, ValueError, AttributeError):
            raise AdapterError(f"the model server's answer to a probe of {model} holds no logprobs") from None

    async def _call(self, method: str, path: str, asked: dict[str, Any] | None, limit: float) -> tuple[int, Any]:
        """Status, and the body as JSON or, where it is none, as text."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
        try:
            timeout = aiohttp.ClientTimeout(total=limit)
            async with self._session.request(method, self._address + path, json=asked, timeout=timeout) as answer:
                if answer.content_type == "application/json":
                    return answer.status, await answer.json()
                return answer.status, await answer.text()
        except TimeoutError:
            raise AdapterError(f"the model server did not answer {method} {path} in {limit:.0f} s") from None
        except (aiohttp.ClientError, ValueError, OSError) as error:
            raise AdapterError(f"the model server does not answer {method} {path}: {type(error).__name__}") from None


def _message(body: object) -> str:
    """What an error's body says, in one line."""
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"].get("message", "")
    return " ".join(str(body).split())[:500]
