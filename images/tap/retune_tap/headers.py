"""Which headers go on, and which end here (RFC 9110, 7.6.1)."""

from __future__ import annotations

from collections.abc import Mapping

from multidict import CIMultiDict, CIMultiDictProxy

_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "expect",
    ]
)
# The tap reads the answer, and the client library writes its own of these.
_REQUEST = _HOP | {"host", "accept-encoding", "content-type", "cookie", "authorization"}
_RESPONSE = _HOP | {"date", "server", "x-retune-arm", "x-retune-id", "set-cookie"}


def _without(headers: Mapping[str, str], dropped: frozenset[str]) -> CIMultiDict[str]:
    named = headers.get("Connection", "")
    also = {name.strip().lower() for name in named.split(",")} if named else frozenset()
    return CIMultiDict(
        (name, value) for name, value in headers.items() if (low := name.lower()) not in dropped and low not in also
    )


def to_server(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    """A request's headers for the model server: it sees neither who asks nor how they are connected."""
    kept = _without(headers, _REQUEST)
    kept["Content-Type"] = "application/json"
    kept["Accept-Encoding"] = "identity"
    return kept


def to_endpoint(key: str | None) -> CIMultiDict[str]:
    """Headers for another's API: nothing of the user's."""
    kept = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
    if key:
        kept["Authorization"] = f"Bearer {key}"
    return kept


def to_user(headers: Mapping[str, str], *, endpoint: bool = False) -> CIMultiDict[str]:
    """An answer's headers for the user; an endpoint's tell of the account that pays for it, and end here."""
    if endpoint:
        return CIMultiDict((name, value) for name, value in headers.items() if name.lower() == "content-type")
    return _without(headers, _RESPONSE)
