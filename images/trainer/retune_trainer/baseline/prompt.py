"""From gold examples to the conversations that a prompted model is asked.

Starts `render.py` as a process for a template; touches neither network nor credentials.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from retune_stores.errors import InputError
from retune_trainer.data import Example

FIELD = "spec.gates.baseline.endpoint.promptTemplate"
# The shortest bound on an answer; some endpoints refuse less.
LEAST_TOKENS = 16
MOST_TOKENS = 2048
WALL_SECONDS = 120

Conversation = list[dict[str, str]]


@dataclass(frozen=True)
class Limits:
    """What rendering all prompts together may use: seconds of CPU time and bytes of address space."""

    seconds: int = 20
    memory: int = 512 << 20


def conversations(examples: Sequence[Example], template: str | None, limits: Limits = Limits()) -> list[Conversation]:
    """One conversation for each example: its own messages, or one user message with its prompt.

    With a template, the prompt rendered by it is the one user message, whatever the examples' format.

    Raises:
        InputError: `TemplateInvalid`; the template is none, reaches for what it may not, or takes too much.
    """
    if template is None:
        return [
            [{"role": role, "content": content} for role, content in example.messages]
            if example.messages
            else [{"role": "user", "content": example.prompt}]
            for example in examples
        ]
    rendered = _rendered(template, [example.prompt for example in examples], limits)
    return [[{"role": "user", "content": text}] for text in rendered]


def _invalid(problem: str) -> InputError:
    message = f"the template {problem}; correct it, or leave it out to ask with the prompt alone"
    return InputError("TemplateInvalid", FIELD, message)


def _rendered(template: str, prompts: Sequence[str], limits: Limits) -> list[str]:
    order = {"template": template, "memory": limits.memory, "seconds": limits.seconds}
    lines = "".join(f"{json.dumps(value)}\n" for value in (order, *prompts))
    program = Path(__file__).with_name("render.py")
    too_much = _invalid(f"takes more than {limits.seconds} s of CPU time or {limits.memory >> 20} MiB of memory")
    try:
        done = subprocess.run(  # noqa: S603 - this package's own program, without a shell
            [sys.executable, "-IB", str(program)],
            input=lines.encode(),
            capture_output=True,
            env={},
            timeout=WALL_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise too_much from None
    if done.returncode != 0:
        raise too_much
    found = [json.loads(line) for line in done.stdout.splitlines()]
    if found and "error" in found[-1]:
        raise _invalid(found[-1]["error"])
    return [each["text"] for each in found]


def longest_answer(examples: Sequence[Example]) -> int:
    """Tokens that the longest gold answer can have, so that none that is right is cut.

    Estimated, as the endpoint's tokenizer is not known: half a token a UTF-8 byte is twice what English needs, and
    enough for scripts of which each character is one token or more.
    """
    longest = max(len(example.completion.encode("utf-8", "surrogatepass")) for example in examples)
    return min(MOST_TOKENS, LEAST_TOKENS + longest // 2)
