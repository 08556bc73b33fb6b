"""The termination message: one JSON object of at most 4,000 bytes, without any secret, written once.

What does not fit is cut where it hurts least: segments from the smallest, then library versions, then long messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retune_trainer.credentials import Scrubber
from retune_trainer.errors import TrainerError

LIMIT = 4000
DEFAULT_PATH = "/dev/termination-log"
MAX_MESSAGE = 1500
MAX_SEGMENTS = 20

Result = dict[str, Any]


def succeeded(**fields: Any) -> Result:
    """The result of a pod that did what it was for."""
    return {"outcome": "Succeeded", "error": None, **fields}


def failed(error: TrainerError) -> Result:
    """The result of a pod that ended otherwise."""
    return {
        "outcome": error.outcome,
        "error": {"reason": error.reason, "field": error.field, "message": error.message},
    }


def crashed(error: BaseException) -> Result:
    """The result of a pod that met what nobody foresaw: the error's own words, never its traceback."""
    message = f"{type(error).__name__}: {error}".rstrip(": ")
    return {"outcome": "Failed", "error": {"reason": "TrainerCrashed", "field": None, "message": message}}


def _encode(result: Result) -> bytes:
    # Lone surrogates can come in from a file's text and are not UTF-8.
    return json.dumps(result, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


def render(result: Result, scrubber: Scrubber) -> bytes:
    """The message's bytes."""
    clean: Result = scrubber.tree(result)
    error = clean.get("error")
    if error and len(error["message"]) > MAX_MESSAGE:
        error["message"] = error["message"][: MAX_MESSAGE - 1] + "…"
    segments = sorted(clean.get("segments") or [], key=lambda segment: -segment["n"])[:MAX_SEGMENTS]
    if "segments" in clean:
        clean["segments"] = segments
    while len(_encode(clean)) > LIMIT and segments:
        segments.pop()
    if len(_encode(clean)) > LIMIT:
        clean.pop("versions", None)
    if error:
        # A character takes up to six bytes when it must be escaped.
        while (over := len(_encode(clean)) - LIMIT) > 0 and error["message"]:
            error["message"] = error["message"][: -(over // 6 + 2)]
    return _encode(clean)


def write(result: Result, scrubber: Scrubber, environ: Mapping[str, str]) -> None:
    """Put the message where Kubernetes reads it."""
    Path(environ.get("RETUNE_TERMINATION_LOG", DEFAULT_PATH)).write_bytes(render(result, scrubber))
