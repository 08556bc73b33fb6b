"""The model that serves today, brought here to be compared with: it must be exactly what its run published.

Reads another run's folder in the artifacts store. A serving model that cannot be read ends the run: a candidate that
was never compared with it must not be shipped in its place.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from retune_stores import Store, open_store
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, NotFoundError
from retune_trainer.attempts import MANIFEST
from retune_trainer.config import RunConfig, Stable
from retune_trainer.places import place_of
from retune_trainer.publish import digest_of

FIELD = "spec.stable.uri"
KINDS = ("adapter", "model")
OTHER_BASE = "The serving model was made from another base, so the candidate was compared with its own base only."


def fetch(config: RunConfig, credentials: dict[Role, Credentials], base: str, target: Path) -> Path | None:
    """Bring the files of `spec.stable` to `target`; None if it was made from another base than `base`.

    Raises:
        InputError: it is not there, or not what its run published.
        StoreError: the store does not answer.
    """
    stable = config.spec.stable
    if stable is None:
        return None
    uri = stable.uri.rstrip("/")
    folder, _, _ = uri.rpartition("/")
    root, _, kind = folder.rpartition("/")
    if kind not in KINDS or not root.partition("://")[2]:
        raise _unreadable(stable, f"its address does not end in {' or '.join(f'{kind}/DIGEST' for kind in KINDS)}")
    place = place_of(config, credentials, Role.ARTIFACTS)
    store = open_store(replace(place, uri=root, field=FIELD))
    manifest = _manifest(store, stable)
    files = _files(manifest, stable, kind, uri.removeprefix(f"{root}/"))
    if _base(manifest, stable) != base:
        return None
    for name, wanted in files.items():
        try:
            digest = store.download(f"{uri.removeprefix(f'{root}/')}/{name}", target / name)
        except NotFoundError as error:
            raise _unreadable(stable, str(error)) from None
        if digest != wanted["sha256"]:
            raise _unreadable(stable, f"{name} is not the file that was published (sha256 {digest})")
    return target


def _unreadable(stable: Stable, problem: str) -> InputError:
    message = (
        f"the serving model {stable.uri} cannot be compared with: {problem}; put its files back, or "
        "roll back to another model first"
    )
    return InputError("StableUnreadable", FIELD, message)


def _manifest(store: Store, stable: Stable) -> dict[str, Any]:
    try:
        manifest = json.loads(store.read(MANIFEST))
    except NotFoundError as error:
        raise _unreadable(stable, str(error)) from None
    except (ValueError, RecursionError):
        raise _unreadable(stable, f"{store.uri}/{MANIFEST} is not JSON") from None
    if not isinstance(manifest, dict):
        raise _unreadable(stable, f"{store.uri}/{MANIFEST} is not a JSON object")
    return manifest


def _base(manifest: dict[str, Any], stable: Stable) -> str:
    try:
        digest = manifest["resolved"]["baseModel"]["digest"]
    except (KeyError, TypeError):
        digest = None
    if not isinstance(digest, str):
        raise _unreadable(stable, "its manifest does not say which base model it was made from")
    return digest


def _files(manifest: dict[str, Any], stable: Stable, kind: str, path: str) -> dict[str, dict[str, Any]]:
    """Name and digest of every file, once they are seen to be the very model that is meant."""
    try:
        published = manifest[kind]
        files: dict[str, dict[str, Any]] = published["files"]
        digest = f"sha256:{digest_of(files)}"
        named = {"run": manifest["run"]["name"], "path": published["path"].rstrip("/"), "digest": published["digest"]}
    except (KeyError, TypeError, AttributeError):
        raise _unreadable(stable, f"its manifest lists no {kind}") from None
    if stable.run is not None and named["run"] != stable.run:
        raise _unreadable(stable, f"its manifest is of run {named['run']}, not of {stable.run}")
    if named["path"] != path or named["digest"] != stable.digest or digest != stable.digest:
        raise _unreadable(stable, f"its manifest is of {named['path']} ({named['digest']}), not of {stable.digest}")
    if any(not name or "/" in name or name in (".", "..") for name in files):
        raise _unreadable(stable, "its manifest names files outside of its folder")
    return files
