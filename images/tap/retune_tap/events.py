"""What is read out of an answer on its way, as cheaply as can be: whole JSON bodies, and single events of a stream."""

from __future__ import annotations

import json
from typing import Any

# Longer texts are not looked at: nobody's answer is that long, and a stream's text has to be held.
MOST_TEXT = 1 << 20


def model_forms(name: str) -> tuple[bytes, bytes]:
    """How the model's name is written in JSON, without and with a space."""
    quoted = json.dumps(name).encode()
    return b'"model":' + quoted, b'"model": ' + quoted


class Rewriter:
    """Puts the public name where the server named its own.

    Works on bytes: within a JSON string quotes are escaped, so that a text can't hold the pattern.
    """

    def __init__(self, served: str, public: str) -> None:
        self._from = model_forms(served)
        self._to = model_forms(public)

    def __call__(self, body: bytes) -> bytes:
        """The body with the first name of the model replaced."""
        for old, new in zip(self._from, self._to, strict=True):
            if old in body:
                return body.replace(old, new, 1)
        return body


def object_of(body: bytes) -> dict[str, Any]:
    """A body as a JSON object; {} if it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def text_of(answer: dict[str, Any]) -> str | None:
    """The text of the first choice; None if it is not text (a call of a tool)."""
    choice = _first(answer)
    message = choice.get("message")
    if isinstance(message, dict) and message.get("tool_calls"):
        return None
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    return text if isinstance(text, str) and len(text) <= MOST_TEXT else None


def tokens_of(answer: dict[str, Any]) -> int | None:
    """How many tokens were generated, if the answer says so."""
    usage = answer.get("usage")
    tokens = usage.get("completion_tokens", usage.get("output_tokens")) if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) else None


def _first(answer: dict[str, Any]) -> dict[str, Any]:
    choices = answer.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}


def data_of(event: bytes) -> bytes:
    """An event's data, without the field's name; b"" if it has none."""
    if event.startswith(b"data: "):
        return event[6:].strip()
    for line in event.splitlines():
        if line.startswith(b"data:"):
            return line[5:].strip()
    return b""


def says_error(event: bytes) -> bool:
    """Whether the server says in an event that it failed; as chat and completions do, or /v1/responses."""
    if b'"error"' not in event:
        return False
    answer = object_of(data_of(event))
    return answer.get("error") is not None or answer.get("type") in ("error", "response.failed")


class Stream:
    """What is known of a stream of events so far."""

    def __init__(self, *, wants_text: bool, hides_usage: bool) -> None:
        """`hides_usage`: the tap asked for the usage, not the user, who must not get its event."""
        self._wants_text, self._hides_usage = wants_text, hides_usage
        self._text: list[str] | None = [] if wants_text else None
        self._size = 0
        self._said = False
        self._chunks = 0
        self._usage: int | None = None
        self.done = False
        self.broken = False

    @property
    def tokens(self) -> int:
        """As the server says, else the number of events with content."""
        return self._chunks if self._usage is None else self._usage

    @property
    def text(self) -> str | None:
        """The first choice's text so far; None if it is not wanted, not text, or too long."""
        return "".join(self._text) if self._said and self._text is not None else None

    def saw(self, event: bytes) -> bool:
        """Note an event; whether the user is to get it."""
        if b"[DONE]" in event and data_of(event) == b"[DONE]":
            self.done = True
            return True
        if b'"usage":' in event and b'"completion_tokens"' in event:
            answer = object_of(data_of(event))
            tokens = tokens_of(answer)
            if tokens is not None:
                self._usage = tokens
                if answer.get("choices") == []:
                    return not self._hides_usage
        if says_error(event):
            self.broken = True
            return True
        self._chunks += b'"content":' in event or b'"text":' in event
        if self._text is not None:
            self._take_text(event)
        return True

    def _take_text(self, event: bytes) -> None:
        choice = _first(object_of(data_of(event)))
        delta = choice.get("delta")
        part = delta.get("content") if isinstance(delta, dict) else choice.get("text")
        if isinstance(delta, dict) and delta.get("tool_calls"):
            self._text = None
        elif isinstance(part, str) and choice.get("index", 0) == 0 and self._text is not None:
            self._said = True
            self._size += len(part)
            if self._size > MOST_TEXT:
                self._text = None
            else:
                self._text.append(part)
