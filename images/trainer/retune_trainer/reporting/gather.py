"""Collects what a report is made of: the status the operator gives, and what this run's pods left in its folder.

Reads the environment and the run's own folder. What another run of the same name left there is never believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retune_stores import Store
from retune_stores.errors import InputError, NotFoundError
from retune_trainer.attempts import MANIFEST
from retune_trainer.config import RunConfig
from retune_trainer.reporting.plain import storable
from retune_trainer.reporting.shapes import Evaluation, Preflight, Status

STATUS = "RETUNE_STATUS"
PREFLIGHT = "preflight.json"
EVALUATION = "evaluation.json"
LARGEST = 32 << 20


@dataclass(frozen=True)
class Material:
    """What is known of a run. `remarks` say which of it could not be had, and why."""

    status: Status
    preflight: Preflight | None = None
    evaluation: Evaluation | None = None
    remarks: tuple[str, ...] = field(default=())


def status_of(environ: Mapping[str, str]) -> Status:
    """The run's status as the operator wrote it.

    Raises:
        InputError: it is not there, or is no JSON object: only a hand-made pod, or another version, can bring it about.
    """
    text = environ.get(STATUS)
    if not text:
        raise InputError("ConfigInvalid", None, f"{STATUS} is not set; it must hold the status of the run as JSON")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError("ConfigInvalid", None, f"{STATUS} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError("ConfigInvalid", None, f"{STATUS} is not a JSON object")
    return Status.read(storable(content))


def gather(config: RunConfig, status: Status, store: Store) -> Material:
    """Everything that is this run's.

    Raises:
        StoreError: the store does not answer.
        InputError: the store refuses the credentials.
    """
    shelf = _Shelf(config.run.uid, store)
    preflight = shelf.take(PREFLIGHT)
    evaluation = shelf.take(EVALUATION)
    return Material(
        status,
        Preflight.read(preflight) if preflight is not None else None,
        Evaluation.read(evaluation) if evaluation is not None else None,
        tuple(shelf.remarks),
    )


class _Shelf:
    """The run's folder, and what was wrong with what lay in it."""

    def __init__(self, uid: str, store: Store) -> None:
        self.remarks: list[str] = []
        self._uid = uid
        self._store = store

    def take(self, name: str) -> dict[str, Any] | None:
        """An object's content if it is this run's; else None and a remark, unless it is simply not there."""
        size = next((entry.size for entry in self._store.entries(name) if entry.path == name), None)
        if size is None:
            return None
        if size > LARGEST:
            self.remarks.append(f"{name} has {size:,} bytes, too many for a report to read; it was left out.")
            return None
        try:
            raw = self._store.read(name)
            content = json.loads(raw)
        except NotFoundError:
            return None
        except (ValueError, RecursionError):
            self.remarks.append(f"{name} is not JSON; it was left out.")
            return None
        if not isinstance(content, dict) or not self._ours(content, name, hashlib.sha256(raw).hexdigest()):
            self.remarks.append(f"{name} is not of this run; it was left out.")
            return None
        tame = storable(content)
        return tame if isinstance(tame, dict) else None

    def _ours(self, content: dict[str, Any], name: str, digest: str) -> bool:
        """By the uid in it or, where it names none, by the sha256 in this run's manifest."""
        owner = _uid(content)
        if owner is not None:
            return owner == self._uid
        try:
            manifest = json.loads(self._store.read(MANIFEST))
        except (NotFoundError, ValueError, RecursionError):
            return False
        if not isinstance(manifest, dict) or _uid(manifest) != self._uid:
            return False
        named = [item for item in manifest.values() if isinstance(item, dict) and item.get("path") == name]
        return any(item.get("sha256") == digest for item in named)


def _uid(content: dict[str, Any]) -> str | None:
    run = content.get("run")
    uid = run.get("uid") if isinstance(run, dict) else content.get("uid")
    return uid if isinstance(uid, str) else None


def owner(store: Store, name: str) -> str | None:
    """The uid of the run that wrote a JSON object of the folder; None if there is none, or it names none."""
    try:
        content = json.loads(store.read(name))
    except (NotFoundError, ValueError, RecursionError):
        return None
    return _uid(content) if isinstance(content, dict) else None
