"""The one interface to a place where objects lie, and what it is told about the place.

An implementation turns its library's errors into `NotFoundError`, `InputError` and `StoreError`, with the field and the
Secret's name in the message, and nothing else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from retune_stores.credentials import Credentials
from retune_stores.errors import InputError

CHUNK = 1 << 20


@dataclass(frozen=True, order=True)
class Entry:
    """An object: its path below the store's root, its size in bytes, and a tag that changes with its content."""

    path: str
    size: int
    tag: str = ""


@dataclass(frozen=True)
class Place:
    """A URI, the field of the spec that named it, and what opens it."""

    uri: str
    field: str
    secret: str | None
    secret_field: str
    credentials: Credentials

    @property
    def opened_by(self) -> str:
        """How to name, to the user, what was used to open it."""
        return f"Secret {self.secret!r}" if self.secret else "the pod's own credentials (no secretRef is set)"

    def rejected(self, detail: str) -> InputError:
        """The error for credentials that are wrong or do not reach this far."""
        cure = (
            f"correct the Secret or name another in {self.secret_field}"
            if self.secret
            else f"name a Secret in {self.secret_field}"
        )
        message = f"{self.uri} cannot be opened with {self.opened_by}: {detail}; {cure}"
        return InputError("CredentialsRejected", self.secret_field, message)

    def not_writable(self, detail: str) -> InputError:
        """The error for a place that can be reached but not written."""
        message = f"{self.uri} cannot be written with {self.opened_by}: {detail}"
        return InputError("ArtifactsNotWritable", self.field, message)


class Store(Protocol):
    """Objects below one root."""

    @property
    def uri(self) -> str:
        """The root, without a slash at its end."""

    def entries(self, prefix: str = "") -> list[Entry]:
        """Every object whose path starts with `prefix`, sorted; empty when there is none."""

    def identity(self) -> str:
        """What tells this tree from any other, as the contract defines it for the scheme."""

    def read(self, path: str) -> bytes:
        """A small object, whole. NotFoundError when there is none."""

    def download(self, path: str, target: Path) -> str:
        """Write an object to `target`, streaming, and return its sha256. NotFoundError when there is none."""

    def put(self, path: str, content: bytes | Path, *, if_absent: bool = False) -> bool:
        """Write an object. With `if_absent`, return False and change nothing when there is one already."""

    def delete(self, paths: Iterable[str]) -> None:
        """Remove objects; those that are not there are no error."""


def sha256_file(path: Path) -> str:
    """The digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_lines(lines: Iterable[str]) -> str:
    """The digest of sorted lines, each ended by a newline."""
    return hashlib.sha256("".join(f"{line}\n" for line in sorted(lines)).encode()).hexdigest()
