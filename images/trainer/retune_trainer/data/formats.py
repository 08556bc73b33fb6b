"""The four shapes an example may have, found from the columns, and turned into one.

A shape decides how the model is spoken to, in training, in evaluation and when it serves:
`Messages` through the tokenizer's chat template, all others verbatim (`/v1/completions`), so that what is served is
exactly what was trained. `Classification` puts one newline between text and label.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from retune_trainer.data.rows import Origin, Row

ROLES = ("system", "developer", "user", "assistant", "tool")
LABELS = ("label", "category", "intent", "class")
MAX_SEGMENT = 60


class Format(StrEnum):
    """The shape of a data set's rows."""

    MESSAGES = "Messages"
    PROMPT_COMPLETION = "PromptCompletion"
    TEXT = "Text"
    CLASSIFICATION = "Classification"


WANTED = {
    Format.MESSAGES: "messages",
    Format.PROMPT_COMPLETION: "prompt and completion",
    Format.CLASSIFICATION: f"text and one of {', '.join(LABELS)}",
    Format.TEXT: "text",
}


@dataclass(frozen=True, slots=True)
class Example:
    """One row: what is asked, and the answer that the loss is on and that is compared with.

    `messages` is the conversation before the answer where the model is spoken to through its chat template, else None
    and `prompt` is fed verbatim. `prompt` is never absent, so that one can always be shown.
    """

    prompt: str
    completion: str
    messages: tuple[tuple[str, str], ...] | None = None
    segment: str | None = None

    def fingerprint(self) -> int:
        """A number of 128 bits that is the same for the same text, whatever its case, spaces and Unicode form."""
        text = "\0".join(" ".join(unicodedata.normalize("NFKC", t).casefold().split()) for t in self._texts())
        return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest())

    def _texts(self) -> Iterable[str]:
        return (self.prompt, self.completion)


def detect(columns: Iterable[str]) -> Format | None:
    """The format whose columns are there, the most specific first, or None."""
    names = set(columns)
    if "messages" in names:
        return Format.MESSAGES
    if {"prompt", "completion"} <= names:
        return Format.PROMPT_COMPLETION
    if "text" in names:
        return Format.CLASSIFICATION if names & set(LABELS) else Format.TEXT
    return None


def choose(columns: Iterable[str], wanted: str | None, origin: Origin) -> Format:
    """The format of a file: what the spec says if the columns allow it, else what they show.

    Raises:
        InputError: neither; the message names the columns found and those wanted.
    """
    names = list(columns)
    found = detect(names)
    shown = ", ".join(names[:20]) or "none"
    if wanted is None:
        if found is None:
            cure = "; or ".join(f"{columns} ({name.value})" for name, columns in WANTED.items())
            raise origin.wrong_format(f"found the columns {shown}; wanted {cure}")
        return found
    chosen = Format(wanted)
    fits = found is chosen or (chosen is Format.TEXT and "text" in names)
    if not fits:
        raise origin.wrong_format(f"found the columns {shown}; spec.dataset.format {wanted} wants {WANTED[chosen]}")
    return chosen


class Converter:
    """Turns the rows of one file into examples."""

    def __init__(self, form: Format, origin: Origin, segment_field: str | None = None, unit: str = "line") -> None:
        """`segment_field` names a column whose value each example is then grouped by."""
        self._origin = origin
        self._segment_field = segment_field
        self._unit = unit
        convert: dict[Format, Callable[[int, Row], Example]] = {
            Format.MESSAGES: self._messages,
            Format.PROMPT_COMPLETION: self._prompt_completion,
            Format.TEXT: self._text,
            Format.CLASSIFICATION: self._classification,
        }
        self._convert = convert[form]

    def __call__(self, line: int, row: Row) -> Example:
        """The example of a row.

        Raises:
            InputError: the row does not have the format's shape; the message names the line.
        """
        return self._convert(line, row)

    def _string(self, line: int, row: Row, name: str) -> str:
        if name not in row:
            raise self._origin.malformed(line, f"has no {name!r}", self._unit)
        value = row[name]
        if not isinstance(value, str):
            raise self._origin.malformed(line, f"{name!r} is {type(value).__name__}, not a string", self._unit)
        if not value.strip():
            raise self._origin.malformed(line, f"{name!r} is empty", self._unit)
        return value

    def _segment(self, row: Row) -> str | None:
        if self._segment_field is None:
            return None
        value = row.get(self._segment_field)
        return "(none)" if value is None or value == "" else str(value)[:MAX_SEGMENT]

    def _prompt_completion(self, line: int, row: Row) -> Example:
        prompt, completion = self._string(line, row, "prompt"), self._string(line, row, "completion")
        return Example(prompt, completion, segment=self._segment(row))

    def _classification(self, line: int, row: Row) -> Example:
        text = self._string(line, row, "text")
        name = next((name for name in LABELS if name in row), LABELS[0])
        # A class may be numbered; True is an int to Python, and a class to nobody.
        if isinstance(row.get(name), int) and not isinstance(row[name], bool):
            return Example(f"{text}\n", str(row[name]), segment=self._segment(row))
        return Example(f"{text}\n", self._string(line, row, name), segment=self._segment(row))

    def _text(self, line: int, row: Row) -> Example:
        return Example("", self._string(line, row, "text"), segment=self._segment(row))

    def _messages(self, line: int, row: Row) -> Example:
        messages = row.get("messages")
        if not isinstance(messages, list) or not messages:
            raise self._origin.malformed(line, "'messages' is not a list of messages", self._unit)
        turns = [self._turn(line, number, message) for number, message in enumerate(messages, start=1)]
        role, answer = turns[-1]
        if role != "assistant":
            problem = f"the last message is of role {role!r}; it must be the assistant's, which is what is learned"
            raise self._origin.malformed(line, problem, self._unit)
        if len(turns) == 1:
            raise self._origin.malformed(line, "nothing stands before the assistant's answer", self._unit)
        asked = tuple(turns[:-1])
        return Example("\n".join(text for _, text in asked), answer, asked, self._segment(row))

    def _turn(self, line: int, number: int, message: object) -> tuple[str, str]:
        if not isinstance(message, dict):
            raise self._origin.malformed(line, f"message {number} is not an object", self._unit)
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            problem = f"message {number} has the role {role!r}; use one of {', '.join(ROLES)}"
            raise self._origin.malformed(line, problem, self._unit)
        if not isinstance(content, str) or (role == "assistant" and not content.strip()):
            raise self._origin.malformed(line, f"the content of message {number} is not a text", self._unit)
        return str(role), content
