"""The termination message: one JSON object of at most 4,000 bytes, without any secret, written once.

What does not fit is cut where it hurts least, in this order: segments from the last, library versions, notes, kinds of
personal data from the rarest, a long error's words. What a verdict is made of is never cut: resolved inputs, the
gates' other numbers, comparisons and scores.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from retune_stores.credentials import Scrubber
from retune_stores.errors import PodError

LIMIT = 4000
DEFAULT_PATH = "/dev/termination-log"
MAX_MESSAGE = 1500
MAX_SEGMENTS = 20
SHORT_NOTE = 120

Result = dict[str, Any]


def succeeded(**fields: Any) -> Result:
    """The result of a pod that did what it was for."""
    return {"outcome": "Succeeded", "error": None, **fields}


def failed(error: PodError) -> Result:
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
    if "segments" in clean:
        clean["segments"] = clean["segments"][:MAX_SEGMENTS]
    for cut in (_last_segment, _versions, _longest_note, _rarest_kind):
        while len(_encode(clean)) > LIMIT and cut(clean):
            pass
    if error:
        # A character takes up to six bytes when it must be escaped.
        while (over := len(_encode(clean)) - LIMIT) > 0 and error["message"]:
            error["message"] = error["message"][: -(over // 6 + 2)]
    return _encode(clean)


# Each takes one thing away and says whether there was any.


def _last_segment(result: Result) -> bool:
    segments = result.get("segments") or []
    return bool(segments) and segments.pop() is not None


def _versions(result: Result) -> bool:
    return result.pop("versions", None) is not None


def _longest_note(result: Result) -> bool:
    notes = result.get("notes")
    if not notes:
        return False
    longest = max(notes, key=lambda gate: len(notes[gate]))
    if len(notes[longest]) > SHORT_NOTE:
        notes[longest] = notes[longest][: SHORT_NOTE - 1] + "…"
    else:
        del notes[longest]
    return True


def _rarest_kind(result: Result) -> bool:
    numbers = (result.get("measured") or {}).get("privacy") or {}
    kinds = [name for name in numbers if name.isupper()]
    # One must stay: a gate that reads no kind at all would pass.
    if len(kinds) < 2:
        return False
    del numbers[min(kinds, key=lambda kind: numbers[kind])]
    return True


def write(result: Result, scrubber: Scrubber, environ: Mapping[str, str]) -> None:
    """Put the message where Kubernetes reads it."""
    Path(environ.get("RETUNE_TERMINATION_LOG", DEFAULT_PATH)).write_bytes(render(result, scrubber))
