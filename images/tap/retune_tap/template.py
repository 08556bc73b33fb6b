"""Puts the user's prompt into the template of the model that serves today. Touches nothing else."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

# A template may frame a prompt and repeat it, not multiply it.
_COPIES = 4
_FRAME = 4096


class TemplateError(Exception):
    """The template can't be filled; the text holds nothing of the prompt."""


@lru_cache(maxsize=16)
def _compiled(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    return environment.from_string(source)


def _render(source: str, prompt: str) -> str:
    limit = _FRAME + len(source) + _COPIES * len(prompt)
    parts, size = [], 0
    try:
        for part in _compiled(source).generate(prompt=prompt):
            parts.append(part)
            size += len(part)
            if size > limit:
                break
    except Exception as error:  # noqa: BLE001 - templates can raise anything, and its text may quote the prompt
        raise TemplateError(f"the template fails: {type(error).__name__}") from None
    if size > limit:
        raise TemplateError(f"the template makes a text of more than {limit} characters")
    return "".join(parts)


def filled(source: str, body: dict[str, Any]) -> dict[str, Any]:
    """The body with the template around the last user message, or a completion's prompt; no template changes nothing.

    Raises:
        TemplateError: it can't be filled.
    """
    if not source:
        return body
    if isinstance(prompt := body.get("prompt"), str):
        return {**body, "prompt": _render(source, prompt)}
    messages = body.get("messages")
    if not isinstance(messages, list):
        return body
    for at in range(len(messages) - 1, -1, -1):
        message = messages[at]
        if isinstance(message, dict) and message.get("role") == "user":
            content = _content(source, message.get("content"))
            return {**body, "messages": [*messages[:at], {**message, "content": content}, *messages[at + 1 :]]}
    return body


def _content(source: str, content: object) -> object:
    if isinstance(content, str):
        return _render(source, content)
    if isinstance(content, list):
        for at in range(len(content) - 1, -1, -1):
            part = content[at]
            if isinstance(part, dict) and isinstance(text := part.get("text"), str):
                return [*content[:at], {**part, "text": _render(source, text)}, *content[at + 1 :]]
    return content
