"""What an endpoint's response means: an answer, no answer to this question, or an endpoint that is none. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import httpx

from retune_trainer.baseline.endpoint import Endpoint

# The endpoint understood the request and does not take this one: too long a prompt, or a filter on what it says.
REFUSALS = {400, 413, 422}
MAX_BODY = 1 << 20


@dataclass(frozen=True)
class Raw:
    """A response as it came; `body` is cut at `MAX_BODY` bytes, and `whole` says whether that was all."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool = True

    @property
    def passing(self) -> bool:
        """Whether the same request may be answered a little later."""
        return self.status in {408, 425, 429} or self.status >= 500


@dataclass(frozen=True)
class Reply:
    """An answer; tokens are None if the endpoint did not count them, `cut` if the answer was longer than asked for."""

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cut: bool = False


@dataclass(frozen=True)
class Failure:
    """Why one question has no answer; `passing` if it might have one at another time."""

    problem: str
    passing: bool


def told(endpoint: Endpoint, raw: Raw) -> str:
    """What an endpoint said that did not answer, for the user: its own words, and none that may be of the data."""
    body = raw.body.decode("utf-8", "replace")
    match _json(raw.body):
        case {"error": {"message": str(words)}} | {"error": str(words)} | {"message": str(words)}:
            said = endpoint.excerpt(words)
        case {"detail": str(words)} | {"detail": [{"msg": str(words)}, *_]}:
            said = endpoint.excerpt(words)
        case dict() as other:
            # Many a server's error quotes the request, and with it the gold example.
            said = f"JSON with {endpoint.excerpt(', '.join(other)) or 'nothing in it'}"
        case None if not body.lstrip().startswith("<"):
            said = endpoint.excerpt(body) or "nothing"
        case None:
            said = "a web page"
        case _:
            said = "JSON that is no object"
    return f"answered {raw.status}: {said}"


def read(endpoint: Endpoint, raw: Raw, *, verbatim: bool = False) -> Reply | Failure:
    """The answer in a response that is not to be asked for again, or why this question has none.

    `verbatim`: it was a prompt as it is that was sent, to `/completions`.

    Raises:
        InputError: it shows that no question can be answered: the key is rejected, or this is no such API.
    """
    if raw.status in {401, 403}:
        raise endpoint.rejected(told(endpoint, raw))
    if raw.status in REFUSALS:
        return Failure(told(endpoint, raw), passing=False)
    if 300 <= raw.status < 400:
        to = endpoint.excerpt(raw.headers.get("location", "").partition("?")[0])
        raise endpoint.invalid(f"redirects ({raw.status}) to {to}, which is not followed; write the final address")
    if raw.status != 200:
        raise endpoint.invalid(told(endpoint, raw))
    if not raw.whole:
        raise endpoint.invalid(f"answered with more than {MAX_BODY >> 20} MiB, which no chat completion has")
    document = _json(raw.body)
    return _completion(endpoint, raw, _as_chat(document) if verbatim else document)


def _as_chat(document: object) -> object:
    """A completion of the older kind as a chat completion; whatever else it is, as it is."""
    match document:
        case {"choices": [{"text": text, **choice}, *_], **rest}:
            return {**rest, "choices": [{**choice, "message": {"content": text}}]}
    return document


def _json(body: bytes) -> object:
    """The document, or None if it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def _completion(endpoint: Endpoint, raw: Raw, document: object) -> Reply | Failure:
    # No text, or none before the bound on tokens: a model that thinks first spends them on that. An empty answer would
    # score 0 and have a model trained for nothing, so it is no answer.
    match document:
        case {"choices": [{"message": {"content": str(text)}, **choice}, *_], **rest} if (
            text or choice.get("finish_reason") != "length"
        ):
            tokens = rest.get("usage")
            return Reply(
                text,
                _count(tokens, "prompt_tokens"),
                _count(tokens, "completion_tokens"),
                cut=choice.get("finish_reason") == "length",
            )
        case {"choices": [{"message": {}, **choice}, *_]}:
            reason = endpoint.excerpt(str(choice.get("finish_reason")))
            hint = "; a model that thinks before it answers must be asked without" if reason == "length" else ""
            return Failure(f"answered without a text (finish_reason {reason}){hint}", passing=False)
        case None:
            kind = endpoint.excerpt(raw.headers.get("content-type", "no content type"))
            raise endpoint.invalid(f"answered what is not JSON ({kind})")
        case _:
            raise endpoint.invalid(f"answered what is no chat completion ({told(endpoint, raw)})")


def _count(usage: Any, name: str) -> int | None:  # noqa: ANN401 - JSON as it came
    value = usage.get(name) if isinstance(usage, dict) else None
    # Beyond a billion tokens for one answer something else was counted.
    return value if type(value) is int and 0 <= value < 1_000_000_000 else None
