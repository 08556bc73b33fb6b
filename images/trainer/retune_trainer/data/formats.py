"""The four shapes an example may have, found from the columns, and turned into one.

A shape decides how the model is spoken to, in training, in evaluation and when it serves:
`Messages` through the tokenizer's chat template, all others verbatim (`/v1/completions`), so that what is served is
exactly what was trained. `Classification` puts one newline between text and label.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from retune_stores.errors import InputError
from retune_trainer.data.rows import Origin, Row

ROLES = ("system", "developer", "user", "assistant", "tool")
# Roles that speak before the conversation begins.
STANDING = ("system", "developer")
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
    # What a mistake on it costs, in whatever unit spec.dataset.weightField counts.
    weight: float = 1.0

    @property
    def question(self) -> str:
        """What is asked, without the system's part, which is the same for all; of a plain text, the text."""
        if self.messages is not None:
            own = [text for role, text in self.messages if role not in STANDING]
            return "\n".join(own or (text for _, text in self.messages))
        return self.prompt if self.prompt.strip() else self.completion


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

    def __init__(
        self,
        form: Format,
        origin: Origin,
        segment_field: str | None = None,
        weight_field: str | None = None,
        unit: str = "line",
    ) -> None:
        """`segment_field` names a column that examples are grouped by, `weight_field` one with a mistake's cost."""
        self._origin = origin
        self._segment_field = segment_field
        self._weight_field = weight_field
        self._unit = unit
        convert: dict[Format, Callable[[int, Row], Example | None]] = {
            Format.MESSAGES: self._messages,
            Format.PROMPT_COMPLETION: self._prompt_completion,
            Format.TEXT: self._text,
            Format.CLASSIFICATION: self._classification,
        }
        self._convert = convert[form]

    def __call__(self, line: int, row: Row) -> Example | None:
        """The example of a row, or None when what is asked or answered is empty.

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
        return value

    def _segment(self, row: Row) -> str | None:
        if self._segment_field is None:
            return None
        value = row.get(self._segment_field)
        return "(none)" if value is None or value == "" else str(value)[:MAX_SEGMENT]

    def _weight(self, line: int, row: Row) -> float:
        if self._weight_field is None:
            return 1.0
        value = row.get(self._weight_field)
        if value is None or value == "":
            return 1.0
        try:
            weight = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError, OverflowError):
            weight = math.nan
        if not math.isfinite(weight) or weight < 0:
            shown = repr(value)[:40]
            problem = f"{self._weight_field!r} is {shown}; write what a mistake costs as a number of 0 or more"
            message = f"{self._origin.uri}, {self._unit} {line}: {problem}"
            raise InputError("DatasetMalformed", "spec.dataset.weightField", message)
        return weight

    def _example(
        self, line: int, row: Row, prompt: str, completion: str, messages: tuple[tuple[str, str], ...] | None = None
    ) -> Example:
        return Example(prompt, completion, messages, self._segment(row), self._weight(line, row))

    def _prompt_completion(self, line: int, row: Row) -> Example | None:
        prompt, completion = self._string(line, row, "prompt"), self._string(line, row, "completion")
        if not prompt.strip() or not completion.strip():
            return None
        return self._example(line, row, prompt, completion)

    def _classification(self, line: int, row: Row) -> Example | None:
        text, name = self._string(line, row, "text"), label_column(row)
        # A class may be numbered; True is an int to Python, and a class to nobody.
        if isinstance(row.get(name), int) and not isinstance(row[name], bool):
            label = str(row[name])
        else:
            label = self._string(line, row, name)
        if not text.strip() or not label.strip():
            return None
        return self._example(line, row, f"{text}\n", label)

    def _text(self, line: int, row: Row) -> Example | None:
        text = self._string(line, row, "text")
        return self._example(line, row, "", text) if text.strip() else None

    def _messages(self, line: int, row: Row) -> Example | None:
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
        if any(role == "assistant" and not text.strip() for role, text in turns):
            return None
        if not any(text.strip() for _, text in asked):
            return None
        return self._example(line, row, "\n".join(text for _, text in asked), answer, asked)

    def _turn(self, line: int, number: int, message: object) -> tuple[str, str]:
        if not isinstance(message, dict):
            raise self._origin.malformed(line, f"message {number} is not an object", self._unit)
        role, content = message.get("role"), message.get("content")
        if role not in ROLES:
            shown = repr(role)[:40]
            problem = f"message {number} has the role {shown}; use one of {', '.join(ROLES)}"
            raise self._origin.malformed(line, problem, self._unit)
        if not isinstance(content, str):
            raise self._origin.malformed(line, f"the content of message {number} is not a text", self._unit)
        return str(role), content


def label_column(row: Row) -> str:
    """The column of a row that holds its class."""
    return next((name for name in LABELS if name in row), LABELS[0])
