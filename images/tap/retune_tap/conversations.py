"""What users asked lately, so that a correction can be learned from: in memory only, bounded, for an hour at most."""

from __future__ import annotations

import sys
from collections import OrderedDict
from typing import Any, NamedTuple

# Bytes: of one conversation, and of all.
MOST_OF_ONE = 64 * 1024
MOST_OF_ALL = 32 * 1024 * 1024
MOST_TURNS = 100
KEPT = 3600.0
# The trainer's, whose chat format has these and no other.
_ROLES = frozenset({"system", "developer", "user", "assistant", "tool"})
_TEXTS = ("text", "input_text", "output_text")

Turns = tuple[tuple[str, str], ...]


class _Kept(NamedTuple):
    turns: Turns
    size: int
    at: float


class Conversations:
    """By response id, what had been asked. Each is given out once."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self.size = 0

    def keep(self, response: str, path: str, body: dict[str, Any], now: float) -> None:
        """Keep what was asked, if it is text; the oldest are forgotten when there is too much. `now` in seconds."""
        turns = turns_of(path, body)
        if turns is None or response in self._kept:
            return
        size = sum(sys.getsizeof(text) for _, text in turns)
        if size > MOST_OF_ONE:
            return
        self._kept[response] = _Kept(turns, size, now)
        self.size += size
        while self.size > MOST_OF_ALL:
            self._forget_oldest()

    def take(self, response: str) -> Turns | None:
        """What had been asked, and forget it."""
        kept = self._kept.pop(response, None)
        if kept is None:
            return None
        self.size -= kept.size
        return kept.turns

    def expire(self, now: float) -> None:
        """Forget what is older than an hour."""
        while self._kept and next(iter(self._kept.values())).at <= now - KEPT:
            self._forget_oldest()

    def _forget_oldest(self) -> None:
        _, oldest = self._kept.popitem(last=False)
        self.size -= oldest.size


def turns_of(path: str, body: dict[str, Any]) -> Turns | None:
    """A request as turns of role and text; None if some of it is no text, or it is too long to learn from."""
    if "prompt" in body:
        found: Any = [{"role": "user", "content": body["prompt"]}]
    else:
        asked = body.get("input") if path.endswith("/responses") else body.get("messages")
        found = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
        if not isinstance(found, list):
            return None
        # How /v1/responses and /v1/messages name the system's part.
        standing = next((body[name] for name in ("instructions", "system") if body.get(name)), None)
        found = [{"role": "system", "content": standing}, *found] if standing else found
    if not 0 < len(found) <= MOST_TURNS:
        return None
    turns = [_turn(message) for message in found]
    return tuple(turn for turn in turns if turn) if all(turns) else None


def _turn(message: object) -> tuple[str, str] | None:
    if not isinstance(message, dict) or message.get("tool_calls"):
        return None
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str) or role not in _ROLES:
        return None
    if isinstance(content, str):
        return role, content
    if not isinstance(content, list) or len(content) > MOST_TURNS:
        return None
    texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") in _TEXTS]
    if len(texts) < len(content) or not texts or not all(isinstance(text, str) for text in texts):
        return None
    return role, "\n".join(map(str, texts))
