"""What the tap itself answers, in the form that the model server's clients know."""

from __future__ import annotations

from typing import Any

from aiohttp import web


def json_reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:  # noqa: ANN401
    """A JSON answer."""
    return web.json_response(body, status=status, headers=headers)


def error(
    status: int, kind: str, message: str, param: str | None = None, headers: dict[str, str] | None = None
) -> web.Response:
    """An error as vLLM writes it."""
    said = {"message": message, "type": kind, "param": param, "code": status}
    return json_reply({"error": said}, status, headers)
