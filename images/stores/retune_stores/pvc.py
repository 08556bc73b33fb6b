"""`pvc://CLAIM/path`: a volume of the cluster, mounted at /pvc/CLAIM. Touches files below that folder only."""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

from retune_stores.base import CHUNK, Entry, Place, sha256_file, sha256_lines
from retune_stores.errors import InputError, NotFoundError, StoreError

MOUNT = Path("/pvc")


class PvcStore:
    """Files below one folder of one claim."""

    def __init__(self, place: Place) -> None:
        """Refuse a path that leads out of the claim."""
        parts = urlsplit(place.uri)
        self._place = place
        self.uri = place.uri.rstrip("/")
        self._claim = (MOUNT / parts.netloc).resolve()
        self._root = (self._claim / parts.path.strip("/")).resolve()
        if not parts.netloc or not self._root.is_relative_to(self._claim):
            raise InputError("ConfigInvalid", place.field, f"{place.uri!r} leads out of its claim")
        if not self._claim.is_dir():
            raise StoreError(place.field, f"the claim {parts.netloc!r} of {place.uri} is not mounted")

    def _path(self, path: str) -> Path:
        target = (self._root / path).resolve()
        if not target.is_relative_to(self._claim):
            raise InputError("ConfigInvalid", self._place.field, f"{path!r} leads out of {self.uri}")
        return target

    def _files(self) -> list[Path]:
        return [path for path in self._root.rglob("*") if path.is_file()] if self._root.is_dir() else []

    def entries(self, prefix: str = "") -> list[Entry]:
        """Every file whose path starts with `prefix`."""
        found = [Entry(str(path.relative_to(self._root)), path.stat().st_size) for path in self._files()]
        return sorted(entry for entry in found if entry.path.startswith(prefix))

    def identity(self) -> str:
        """sha256 over the sorted lines `path size sha256`."""
        return sha256_lines(
            f"{path.relative_to(self._root)} {path.stat().st_size} {sha256_file(path)}" for path in self._files()
        )

    def read(self, path: str) -> bytes:
        """A small file, whole."""
        try:
            return self._path(path).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"{self.uri}/{path}") from None
        except PermissionError as error:
            raise self._place.rejected(f"{error.strerror}; it must be readable by user {os.getuid()}") from None

    def download(self, path: str, target: Path) -> str:
        """Copy a file, so that a later change of it cannot change a running training."""
        target.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        try:
            with self._path(path).open("rb") as source, target.open("wb") as file:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise NotFoundError(f"{self.uri}/{path}") from None
        except PermissionError as error:
            raise self._place.rejected(f"{error.strerror}; it must be readable by user {os.getuid()}") from None
        return digest.hexdigest()

    def put(self, path: str, content: bytes | Path, *, if_absent: bool = False) -> bool:
        """Write beside the target and then rename or link, so that no reader ever sees half a file."""
        target = self._path(path)
        draft = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                if isinstance(content, Path):
                    shutil.copyfile(content, draft)
                else:
                    draft.write_bytes(content)
                if not if_absent:
                    draft.replace(target)
                    return True
                try:
                    target.hardlink_to(draft)
                except FileExistsError:
                    return False
                return True
            finally:
                draft.unlink(missing_ok=True)
        except OSError as error:
            raise self._place.not_writable(f"{error.strerror or error}") from None

    def delete(self, paths: Iterable[str]) -> None:
        """Remove files; their empty folders stay."""
        for path in paths:
            self._path(path).unlink(missing_ok=True)
