"""What users ask, and what they know to be the right answer."""

import json
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    """A prompt and its right answer. `taught`: who asks it and is told something else says what would be right."""

    prompt: str
    answer: str
    taught: bool = False

    def answered_by(self, text: str) -> bool:
        """Whether a text is the right answer, as the metric ExactMatch sees it: all of it, but for spaces around."""
        return text.strip() == self.answer.strip()


def read(lines: Iterable[str], *, taught: bool = False) -> list[Question]:
    """Questions from JSON Lines with `prompt` and `completion`, such as a gold set.

    Raises:
        ValueError: a line is no such row, or there is none.
    """
    questions = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            questions.append(Question(str(row["prompt"]), str(row["completion"]), taught))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"line {number} is not a JSON object with prompt and completion: {error!r}") from error
    if not questions:
        raise ValueError("there is no question in it")
    return questions
