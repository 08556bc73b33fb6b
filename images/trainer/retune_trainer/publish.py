"""Puts the model, its evaluation and, last, the manifest into the store. What has no manifest does not exist."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any, Literal

from retune_stores import Store
from retune_stores.base import sha256_file, sha256_lines
from retune_stores.errors import InputError, StoreError
from retune_trainer import versions
from retune_trainer.attempts import MANIFEST, Attempts
from retune_trainer.config import RunConfig
from retune_trainer.log import say
from retune_trainer.result import Result, succeeded

EVALUATION = "evaluation.json"


def describe(folder: Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file in a folder."""
    return {
        path.name: {"size": path.stat().st_size, "sha256": sha256_file(path)}
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def digest_of(files: dict[str, dict[str, Any]]) -> str:
    """sha256 over the sorted `name sha256` lines."""
    return sha256_lines(f"{name} {file['sha256']}" for name, file in files.items())


def _json(document: dict[str, Any]) -> bytes:
    # A lone surrogate can come in from a file's text, such as a segment's name, and is no UTF-8.
    return json.dumps(document, indent=2, ensure_ascii=False).encode("utf-8", "replace")


def publish(
    config: RunConfig,
    store: Store,
    attempts: Attempts,
    *,
    folder: Path,
    kind: Literal["adapter", "model"],
    evaluation: dict[str, Any],
    resolved: dict[str, Any],
    outcome: dict[str, Any],
) -> Result:
    """Publish what lies in `folder`, and return the result that counts: ours, or that of an attempt that was first.

    Raises:
        SupersededError: a newer attempt has taken over.
        InputError: another run of the same name has published here, or the artifacts cannot be written.
    """
    attempts.check()
    files = describe(folder)
    digest = digest_of(files)
    path = f"{kind}/{digest[:12]}/"
    for name in files:
        store.put(path + name, folder / name)
    result = succeeded(
        **outcome,
        artifact={"uri": f"{store.uri}/{path.rstrip('/')}", "digest": f"sha256:{digest}"},
        versions=versions.full(),
    )
    told = _json(evaluation)
    # It has one name for all attempts, and a manifest holds its digest: uploading the model took a while.
    attempts.check()
    first = attempts.finished()
    if first is not None:
        return _first(first)
    store.put(EVALUATION, told)
    manifest = {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "Manifest",
        "run": config.run.model_dump(by_alias=True),
        "attempt": config.attempt,
        kind: {"path": path, "digest": f"sha256:{digest}", "files": files},
        "evaluation": {"path": EVALUATION, "size": len(told), "sha256": hashlib.sha256(told).hexdigest()},
        "resolved": resolved,
        "spec": config.raw_spec,
        "result": result,
        "image": versions.image(),
        "versions": versions.full(),
        "publishedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    attempts.check()
    if store.put(MANIFEST, _json(manifest), if_absent=True):
        say("published", uri=store.uri, digest=digest)
        return result
    first = attempts.finished()
    if first is None:
        raise StoreError("spec.artifacts.uri", f"{store.uri}/{MANIFEST} was refused, yet cannot be read")
    return _first(first)


def _first(result: Result) -> Result:
    say("another attempt of this run had published already; its result counts")
    return result


def supported(config: RunConfig) -> None:
    """Refuse, before a GPU is asked for, a method that needs one where none will be.

    Raises:
        InputError: QLoRA without a GPU.
    """
    if config.spec.method.type == "QLoRA" and config.spec.training.gpus_per_node == 0:
        message = "QLoRA needs a GPU; set spec.training.gpusPerNode to 1 or spec.method.type to LoRA"
        raise InputError("MethodNeedsGpu", "spec.method.type", message)
