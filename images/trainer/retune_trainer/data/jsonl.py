"""JSON Lines: one object a line, blank lines ignored."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from retune_trainer.data.rows import Origin, Row, lines


def read(path: Path, origin: Origin) -> Iterator[tuple[int, Row]]:
    """Yield each row with its line."""
    for number, text in lines(path, origin):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            what = error.msg.removesuffix(" at")
            raise origin.malformed(number, f"not valid JSON: {what} at column {error.colno}") from None
        except RecursionError:
            raise origin.malformed(number, "nested too deeply") from None
        except ValueError:
            raise origin.malformed(number, "holds a number of thousands of digits") from None
        if not isinstance(row, dict):
            kind = {list: "an array", str: "a string", bool: "a boolean", type(None): "null"}.get(type(row), "a number")
            raise origin.malformed(number, f"{kind}, not an object; write one JSON object a line")
        yield number, row
