"""What the readers share: a row with its line number, and the error for a line that is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune_stores.errors import InputError

# One example of more than this is a mistake (a file without newlines), and would not fit any model.
MAX_LINE = 16 << 20

Row = dict[str, Any]
# A reader takes the file and where its errors belong, and yields each row with its line, counted from 1.
Reader = Callable[[Path, "Origin"], Iterator[tuple[int, Row]]]


@dataclass(frozen=True)
class Origin:
    """What a file is called to the user."""

    uri: str
    field: str

    def malformed(self, line: int, problem: str, unit: str = "line") -> InputError:
        """The error for one line."""
        return InputError("DatasetMalformed", self.field, f"{self.uri}, {unit} {line}: {problem}")

    def wrong_format(self, problem: str) -> InputError:
        """The error for a whole file of the wrong kind."""
        return InputError("DatasetWrongFormat", self.field, f"{self.uri}: {problem}")


def lines(path: Path, origin: Origin) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file with their numbers; memory never holds more than one."""
    with path.open("rb") as file:
        number = 0
        while raw := file.readline(MAX_LINE + 1):
            number += 1
            if len(raw) > MAX_LINE:
                raise origin.malformed(number, f"longer than {MAX_LINE >> 20} MiB; write one example a line")
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                problem = f"byte {error.start + 1} (0x{raw[error.start]:02x}) is not UTF-8; save the file as UTF-8"
                raise origin.malformed(number, problem) from None
            yield number, text
