"""Keeps a Python client away from the addresses that no user may reach from a pod.

Replaces this process's name lookup, so that what is checked is the very address that is connected to, for every
library and after every redirect. Only a process that does nothing else may use it.
"""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import urlsplit

from retune_trainer.addresses import FORBIDDEN_NAMES, ForbiddenAddressError, forbidden

_look_up = socket.getaddrinfo


def guard() -> None:
    """From now on, looking up a forbidden address is a `ForbiddenAddressError`."""
    socket.getaddrinfo = _checked


def check(url: str) -> None:
    """Hold the host of a URL against the same list, for a client that is no Python and looks it up by itself.

    Raises:
        ForbiddenAddressError: it leads to an address that is never contacted.
        OSError: it cannot be looked up.
    """
    _checked(urlsplit(url).hostname or "", None)


def _checked(host: Any, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - the signature of the standard library
    name = host.decode() if isinstance(host, bytes) else str(host)
    if name.rstrip(".").casefold() in FORBIDDEN_NAMES:
        raise ForbiddenAddressError(name)
    found = _look_up(host, *arguments, **named)
    for *_, address in found:
        if forbidden(str(address[0])):
            raise ForbiddenAddressError(name, str(address[0]))
    return found
