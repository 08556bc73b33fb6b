"""`python -m retune_tap fetch`: the base model's files, brought to `$RETUNE_MODELS/base` before the server starts.

Touches the store and that folder only. Brings what a server reads and nothing that could carry code; a folder that is
complete is left as it is, one that is not is gone on with.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath
from typing import Any

from retune_stores import Entry, Place, Store, open_store
from retune_stores.base import sha256_file, sha256_lines
from retune_stores.credentials import Credentials, Role, Scrubber, take
from retune_stores.errors import InputError, NotFoundError, PodError, StoreError

FIELD = "spec.baseModel.uri"
# Weights, configuration, tokenizers, chat templates. Never *.py, nor pickles (*.bin, *.pt, *.pth, *.ckpt).
SUFFIXES = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja", ".tiktoken"})
MARK = ".retune.json"
TERMINATION = Path("/dev/termination-log")
# What Kubernetes keeps of a termination message.
MOST_MESSAGE = 4000


def main(environ: MutableMapping[str, str] = os.environ, termination: Path = TERMINATION) -> int:
    """Fetch what the environment names; 0, or after one line that says why 64 (wrong input) or 65 (store)."""
    credentials = take(environ)
    try:
        fetch(environ, credentials)
    except PodError as error:
        code, told = error.exit_code, error.message
    except OSError as error:
        code, told = 65, f"the base model could not be written: {error.strerror or error}; give the pod more storage"
    else:
        return 0
    line = " ".join(Scrubber(credentials.values()).text(told).split())[:MOST_MESSAGE]
    sys.stderr.write(f"{line}\n")
    if termination.exists():
        termination.write_text(line)
    return code


def fetch(environ: MutableMapping[str, str], credentials: dict[Role, Credentials]) -> None:
    """Bring the model here, whole, or raise.

    Raises:
        InputError: it is not there, not a model, or not the one that was promised.
        StoreError: the store does not answer.
    """
    uri, promised = environ.get("RETUNE_BASE_URI", ""), environ.get("RETUNE_BASE_DIGEST", "")
    target = Path(environ.get("RETUNE_MODELS", "/models")) / "base"
    if not uri:
        raise InputError("ConfigInvalid", FIELD, f"{FIELD} is empty (RETUNE_BASE_URI)")
    content = environ.get("RETUNE_BASE_CONTENT", "")
    mark = _read_mark(target)
    told = {"uri": uri, "promised": promised, "content": content}
    if mark.get("complete") and (promised or content) and told.items() <= mark.items():
        return
    # The hub's own cache lies on the volume of the models too, so that a file moves out of it without being copied.
    environ["HF_HOME"] = str(target.parent / ".hf")
    environ.pop("HF_HUB_OFFLINE", None)
    store = open_store(_place(uri, credentials), kind="model")
    try:
        identity = _identity(store, uri, promised)
        wanted = _wanted(store, uri)
        if mark.get("identity") != identity:
            shutil.rmtree(target, ignore_errors=True)
        state: dict[str, Any] = {**told, "identity": identity}
        _write_mark(target, {**state, "complete": False})
        entries = store.entries() if content else wanted
        if any("/" in entry.path or entry.path == MARK for entry in entries):
            raise InputError("ArtifactInvalid", FIELD, f"{uri} has folders in it, which no model of ours has")
        for entry in entries:
            _bring(store, entry, target)
        if content:
            _same(store, target, content)
        # Files changed in their place while they were read would be neither the old model nor the new.
        _identity(store, uri, identity)
        _write_mark(target, {**state, "complete": True})
    except NotFoundError as error:
        raise InputError("BaseModelNotFound", FIELD, f"{error}; correct {FIELD}") from None
    finally:
        shutil.rmtree(target.parent / ".hf", ignore_errors=True)


def needed(path: str) -> bool:
    """Whether a server reads a file of this name."""
    name = PurePosixPath(path)
    return len(name.parts) == 1 and not path.startswith(".") and name.suffix in SUFFIXES


def _place(uri: str, credentials: dict[Role, Credentials]) -> Place:
    role, secret = Role.BASE_MODEL, "spec.baseModel.secretRef"
    if not credentials[role] and uri.startswith("s3://"):
        role, secret = Role.ARTIFACTS, "spec.artifacts.secretRef"
    keys = credentials[role]
    return Place(uri=uri, field=FIELD, secret=secret if keys else None, secret_field=secret, credentials=keys)


def _identity(store: Store, uri: str, promised: str) -> str:
    found = store.identity()
    if not found.startswith("hf:"):
        found = f"sha256:{found}"
    # Written by hand, it may come without its prefix.
    if promised and promised.removeprefix("sha256:") != found.removeprefix("sha256:"):
        message = f"{uri} is {found}, not {promised} as when it was trained on; put the model back, or train anew"
        raise InputError("BaseChanged", FIELD, message)
    return found


def _wanted(store: Store, uri: str) -> list[Entry]:
    entries = [entry for entry in store.entries() if needed(entry.path)]
    names = {entry.path for entry in entries}
    if "config.json" not in names:
        raise InputError(
            "BaseModelInvalid", FIELD, f"{uri} has no config.json; give the folder of a Hugging Face model"
        )
    if not any(name.endswith(".safetensors") for name in names):
        message = f"{uri} has no *.safetensors; weights in other forms can carry code and are not loaded"
        raise InputError("BaseModelInvalid", FIELD, message)
    if any(name.startswith("model") and name.endswith(".safetensors") for name in names):
        # Some repositories hold the same weights a second time, in their maker's own layout.
        entries = [entry for entry in entries if not entry.path.startswith("consolidated")]
    return entries


def _bring(store: Store, entry: Entry, target: Path) -> None:
    final = target / entry.path
    if final.is_file() and final.stat().st_size == entry.size:
        return
    draft = target / f".{entry.path}.part"
    store.download(entry.path, draft)
    if draft.is_symlink():
        real = draft.resolve()
        draft.unlink()
        shutil.move(real, draft)
    size = draft.stat().st_size
    if size != entry.size:
        raise StoreError(FIELD, f"{store.uri}/{entry.path} came with {size} of its {entry.size} bytes")
    # The server may run as another user.
    draft.chmod(0o644)
    draft.replace(final)


def _same(store: Store, target: Path, promised: str) -> None:
    """See that the files of a trained model are those that were published; then drop what a server does not read.

    `promised`: sha256 over the sorted `name sha256` lines of all files, as in the artifact's digest (design/0002).
    """
    names = [entry.path for entry in store.entries()]
    found = "sha256:" + sha256_lines(f"{name} {sha256_file(target / name)}" for name in names)
    if found != promised:
        shutil.rmtree(target)
        raise InputError("ArtifactChanged", FIELD, f"{store.uri} is {found}, not {promised} as it was published")
    for name in names:
        if not needed(name):
            (target / name).unlink()


def _read_mark(target: Path) -> dict[str, Any]:
    try:
        found = json.loads((target / MARK).read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_mark(target: Path, state: dict[str, Any]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    draft = target / f"{MARK}.part"
    draft.write_text(json.dumps(state))
    draft.replace(target / MARK)
