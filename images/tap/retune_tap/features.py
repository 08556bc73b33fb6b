"""What a request's text looks like, as 64 numbers that do not give the text back. Pure: no clock, no I/O.

0-2: ln(1 + characters of the last user message), ln(1 + its words), ln(1 + messages), in eighths; 3: the share of its
characters that are neither letters nor space, of 127; 4-63: signed random projections of its words and pairs of words
(each hashes to 60 signs, which are summed and divided by the square root of how many there are: Achlioptas, JCSS 2003),
in sixteenths. A text of any kind has projections of variance 1 or so, and texts about one thing share theirs.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

# Rows of different versions are never compared: any change of what follows needs another.
VERSION = 1
SIZE = 64
# Of a longer message the beginning is read; its length is told in full.
MOST_CHARACTERS = 20_000
MOST_WORDS = 2_000
# Of a conversation, and of the parts of one message: more than anybody sends.
MOST_PARTS = 1_000

_PLAIN = 4
_SIGNS = SIZE - _PLAIN
_WORD = re.compile(r"\w+")
_LETTERS_OR_SPACE = re.compile(r"[^\W\d_]+|\s+")
_KEY = b"retune features 1"
_MASK = 2**64 - 1
# Odd numbers of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_PARTS = ("text", "input_text")


def features(path: str, body: dict[str, Any]) -> bytes:
    """64 signed bytes of a request's body; never raises, whatever the body holds."""
    messages, last = _messages(path, body)
    length, beginning = 0, ""
    for part in last:
        length += len(part)
        if len(beginning) < MOST_CHARACTERS:
            beginning = (
                f"{beginning} {part[: MOST_CHARACTERS - len(beginning)]}" if beginning else part[:MOST_CHARACTERS]
            )
    words = [word[:64] for word in _WORD.findall(beginning.lower())[:MOST_WORDS]]
    other = len(_LETTERS_OR_SPACE.sub("", beginning)) / len(beginning) if beginning else 0.0
    plain = [8 * math.log1p(length), 8 * math.log1p(len(words)), 8 * math.log1p(messages), 127 * other]
    return bytes(_byte(value) for value in (*plain, *_projected(words)))


def _byte(value: float) -> int:
    return max(-127, min(127, round(value))) & 0xFF


def _messages(path: str, body: dict[str, Any]) -> tuple[int, Iterable[str]]:
    """How many messages there are, and the texts of the user's last one."""
    if path.endswith("/completions") and "messages" not in body:
        return 1, _texts(body.get("prompt"))
    found = body.get("input") if path.endswith("/responses") else body.get("messages")
    if not isinstance(found, list):
        return 1, _texts(found)
    for message in islice(reversed(found), MOST_PARTS):
        if isinstance(message, dict) and message.get("role") == "user":
            return len(found), _texts(message.get("content"))
    return len(found), ()


def _texts(content: object) -> Iterator[str]:
    """A text, or the texts among a list of texts and parts."""
    for part in islice(content, MOST_PARTS) if isinstance(content, list) else [content]:
        text = part.get("text") if isinstance(part, dict) and part.get("type") in _PARTS else part
        if isinstance(text, str):
            yield text


@lru_cache(maxsize=8192)
def _hashed(word: str) -> int:
    digest = hashlib.blake2b(word.encode("utf-8", "surrogatepass"), key=_KEY, digest_size=8).digest()
    return int.from_bytes(digest, "big")


def _signs(words: list[str]) -> Iterator[int]:
    """64 bits for each word, and for each pair of words that stand side by side."""
    before = None
    for word in words:
        hashed = _hashed(word)
        yield hashed
        if before is not None:
            mixed = (before * _FIRST + hashed) & _MASK
            mixed = ((mixed ^ (mixed >> 31)) * _SECOND) & _MASK
            yield mixed ^ (mixed >> 29)
        before = hashed


def _projected(words: list[str]) -> list[float]:
    """In sixteenths: ones less zeros at each place, by the square root of how many words and pairs there are."""
    if not words:
        return [0.0] * _SIGNS
    # Counters that lie across: plane k holds the k-th binary digit of each of the counts, so that a word costs two or
    # three operations on whole numbers and not sixty.
    planes: list[int] = []
    number = 2 * len(words) - 1
    for carry in _signs(words):
        for at, plane in enumerate(planes):
            planes[at], carry = plane ^ carry, plane & carry  # noqa: PLW2901 - what is carried to the next plane
            if not carry:
                break
        else:
            if carry:
                planes.append(carry)
    columns = zip(*(f"{plane:064b}" for plane in reversed(planes or [0])), strict=True)
    counts = [int("".join(digits), 2) for digits in islice(columns, _SIGNS)]
    scale = 16 / math.sqrt(number)
    return [scale * (2 * count - number) for count in counts]
