"""Renders a tenant's prompt template: a program of its own, started by `prompt.py`, with no access to anything.

Jinja's sandbox keeps a template from Python's insides, but not from `"a" * 10**10` or from loops within loops. So the
kernel bounds memory and CPU time of this process, which has no environment, no credentials and no other work.

In, on stdin: a JSON line `{"template", "memory" (bytes), "seconds" (of CPU)}`, then each prompt, a JSON string a line.
Out: `{"text"}` a line, in the same order, or `{"error"}` and the end. Imports nothing of Retune.
"""

from __future__ import annotations

import json
import resource
import sys

import jinja2
from jinja2 import meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

# A template may frame a prompt and repeat it, not multiply it.
COPIES = 4
FRAME = 4096


class TemplateProblem(Exception):  # noqa: N818
    """What is wrong, in words for the user."""


def _compile(source: str) -> jinja2.Template:
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.globals.clear()
    try:
        names = meta.find_undeclared_variables(environment.parse(source))
        if names - {"prompt"}:
            raise TemplateProblem(f"uses {', '.join(sorted(names - {'prompt'}))}; only prompt is defined")
        if not names:
            raise TemplateProblem("does not use {{ prompt }}: every question would be the same")
        return environment.from_string(source)
    except jinja2.TemplateError as error:
        raise TemplateProblem(f"is no template: {error}") from None


def _render(template: jinja2.Template, prompt: str, limit: int) -> str:
    parts, size = [], 0
    for part in template.generate(prompt=prompt):
        size += len(part)
        if size > limit:
            raise TemplateProblem(f"makes a text of more than {limit} characters of a prompt of {len(prompt)}")
        parts.append(part)
    return "".join(parts)


def _explain(template: jinja2.Template, error: Exception) -> str:
    """What went wrong, without a word of the data: an error's own text may quote the prompt, so a made-up one is tried.

    Some templates fail for some prompts only; then the kind of error is all that is told.
    """
    try:
        _render(template, "example", FRAME)
    except Exception as again:  # noqa: BLE001 - templates can raise anything
        return f"{type(again).__name__}: {again}"
    return type(error).__name__


def main() -> None:
    """Render until stdin ends."""
    order = json.loads(sys.stdin.buffer.readline())
    # A core file would hold the tenant's data.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (order["memory"], order["memory"]))
    resource.setrlimit(resource.RLIMIT_CPU, (order["seconds"], order["seconds"]))
    source = order["template"]
    try:
        template = _compile(source)
        for number, line in enumerate(sys.stdin.buffer, start=1):
            prompt = json.loads(line)
            try:
                text = _render(template, prompt, FRAME + len(source) + COPIES * len(prompt))
            except (TemplateProblem, MemoryError):
                raise
            except Exception as error:  # noqa: BLE001 - templates can raise anything
                problem = f"fails for question {number}: {_explain(template, error)}"
                raise TemplateProblem(problem) from None
            print(json.dumps({"text": text}))
    except TemplateProblem as error:
        print(json.dumps({"error": str(error)[:300]}))
    except MemoryError:
        sys.exit(1)


if __name__ == "__main__":
    main()
