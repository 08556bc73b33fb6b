"""The one way in which a command fails: a line that says what, why and what to do, and exit code 1."""

from typing import IO, Any

import click


class Failure(click.ClickException):
    """What went wrong, for a person. Shown as one line that begins with `error:`."""

    def format_message(self) -> str:
        """On one line, so that scripts and eyes find it."""
        return " ".join(self.message.split())

    def show(self, file: IO[Any] | None = None) -> None:
        """Write it where errors go."""
        click.echo(f"error: {self.format_message()}", file=file, err=file is None)


class NotFoundError(Failure):
    """There is no object of that name."""


class SilentError(Failure):
    """The API server does not answer just now; somebody who watches can wait for it."""


class RefusedError(Failure):
    """An admission policy has said no; `said` are its own words."""

    def __init__(self, message: str, said: str) -> None:
        super().__init__(message)
        self.said = said
