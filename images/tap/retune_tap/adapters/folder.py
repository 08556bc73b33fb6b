"""An adapter's files: from the store into a folder of their own, held against the digest first. Blocking.

A folder that is in its place stays for ever: the server reads it again when it has put the adapter aside, and dies
when it is gone.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from retune_stores import Entry, Store
from retune_stores.base import sha256_file, sha256_lines
from retune_stores.errors import NotFoundError, PodError
from retune_tap.adapters.weights import CONFIG
from retune_tap.arms import AdapterError

DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
LISTED = ".files"
MOST_FILES = 64
MOST_BYTES = 16 << 30


def hexadecimal(digest: str) -> str:
    """The 64 digits of a digest, with or without its prefix.

    Raises:
        AdapterError: it is no sha256.
    """
    match = DIGEST.fullmatch(digest)
    if match is None:
        raise AdapterError(f"its digest {digest[:80]!r} is no sha256")
    return match[1]


def bring(store: Store, digest: str, target: Path) -> None:
    """Put the adapter's files to `target`, if they are not there; only what the server reads is kept.

    The digest is over all that was published, so every file is read once; nothing is put in place before it fits.

    Raises:
        AdapterError: the files cannot be had, or are not those of `digest`.
    """
    if target.is_dir():
        _check(target, digest)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=target.parent))
    try:
        _download(store, digest, draft)
        draft.chmod(0o755)
        if not target.is_dir():  # else one that was given up for another document has come to its end meanwhile
            draft.rename(target)
    except NotFoundError as error:
        raise AdapterError(f"its files cannot be fetched: {error}") from None
    except PodError as error:
        raise AdapterError(f"its files cannot be fetched: {error.message}") from None
    except OSError as error:
        raise AdapterError(f"its files cannot be written to the pod: {error.strerror or error}") from None
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _download(store: Store, digest: str, draft: Path) -> None:
    sums = {}
    for entry in _entries(store):
        path = draft / entry.path
        sums[entry.path] = store.download(entry.path, path)
        if not _kept(entry.path):
            path.unlink()
    lines = [f"{name} {value}" for name, value in sums.items()]
    found = sha256_lines(lines)
    if found != digest:
        message = f"{store.uri} holds sha256:{found}, not sha256:{digest} as its run published"
        raise AdapterError(f"{message}; put its files back or roll back")
    (draft / LISTED).write_text("".join(f"{line}\n" for line in sorted(lines)))


def _entries(store: Store) -> list[Entry]:
    entries = store.entries()
    if not entries:
        raise AdapterError(f"{store.uri} holds no files")
    if len(entries) > MOST_FILES or sum(entry.size for entry in entries) > MOST_BYTES:
        raise AdapterError(
            f"{store.uri} holds more than {MOST_FILES} files or {MOST_BYTES >> 30} GiB: it is no adapter"
        )
    for entry in entries:
        if not NAME.fullmatch(entry.path):
            raise AdapterError(f"{store.uri} holds a file {entry.path[:80]!r}, which no run publishes")
    return entries


def _kept(name: str) -> bool:
    return name == CONFIG or name.endswith(".safetensors")


def _check(target: Path, digest: str) -> None:
    """A folder left by an earlier process of this pod: the list fits the digest, and the files fit the list."""
    try:
        lines = (target / LISTED).read_text().splitlines()
        sums = dict(line.split(" ", 1) for line in lines)
        fits = sha256_lines(lines) == digest and all(
            sha256_file(target / name) == value for name, value in sums.items() if _kept(name)
        )
    except (OSError, ValueError):
        fits = False
    if not fits:
        raise AdapterError("its files in this pod were changed after they were fetched; delete the pod")
