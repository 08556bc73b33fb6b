"""Foreign text made safe to store and to look at: cut with a note, and nothing in it invisible. Pure.

Escaping for HTML is the templates' business; this is about what escaping leaves: characters that reorder or hide.
"""

from __future__ import annotations

import unicodedata

LONGEST = 10_000
DEEPEST = 40
# Joiners and direction marks belong to ordinary Persian, Arabic, Hebrew and Hindi text and to emoji.
_ORDINARY = frozenset("\n\t\u200c\u200d\u200e\u200f\u061c")
_HIDING = frozenset({"Cc", "Cf", "Cs", "Co"})


def cut(text: str, limit: int) -> str:
    """`text`, or its first `limit` characters and a note that says how many are missing."""
    if len(text) <= limit:
        return text
    return f"{text[:limit]}… [{len(text) - limit:,} more characters]"


def storable(value: object, depth: int = 0) -> object:
    """A JSON-like value whose texts are at most `LONGEST` characters and are UTF-8; what lies too deep becomes None."""
    if isinstance(value, str):
        # A lone surrogate can come out of JSON, but cannot be written.
        return cut(value, LONGEST).encode("utf-8", "replace").decode("utf-8")
    if depth >= DEEPEST:
        return None
    if isinstance(value, dict):
        return {storable(str(key)): storable(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item, depth + 1) for item in value]
    return value


def visible(text: str) -> str:
    """`text` with every character that would hide or reorder what is read written out, such as `[U+202E]`."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\u2029", "\n")
    if text.isascii() and text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_shown(character) for character in text)


def _shown(character: str) -> str:
    if character in _ORDINARY or unicodedata.category(character) not in _HIDING:
        return character
    return f"[U+{ord(character):04X}]"
