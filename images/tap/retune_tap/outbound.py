"""Where an endpoint may lie: not at link-local or metadata addresses, nor on this pod, whose server is unguarded."""

from __future__ import annotations

import ipaddress
import socket

from aiohttp import abc
from aiohttp.resolver import ThreadedResolver
from yarl import URL

_METADATA = frozenset(map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254")))


def forbidden(address: str, *, loopback: bool) -> bool:
    """Whether no endpoint may lie there; `loopback`: this machine is allowed."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    ip = getattr(ip, "ipv4_mapped", None) or ip
    bad = ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _METADATA
    return bad or (ip.is_loopback and not loopback)


def check(url: URL, *, loopback: bool) -> None:
    """Refuse an address that is written out; names are looked at when they are resolved.

    Raises:
        OSError: it lies where no endpoint may lie, or is no address of HTTP.
    """
    if url.scheme not in {"http", "https"} or not url.host:
        raise OSError("the endpoint's url is not of http or https")
    try:
        bad = forbidden(url.host, loopback=loopback)
    except ValueError:
        return
    if bad:
        raise OSError("the endpoint's address is not allowed")


class Resolver(abc.AbstractResolver):
    """Resolves names and leaves forbidden addresses out."""

    def __init__(self, *, loopback: bool) -> None:
        self._resolver = ThreadedResolver()
        self._loopback = loopback

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[abc.ResolveResult]:
        """As the system does.

        Raises:
            OSError: no address is left.
        """
        found = await self._resolver.resolve(host, port, family)
        allowed = [result for result in found if not forbidden(result["host"], loopback=self._loopback)]
        if not allowed:
            raise OSError("the endpoint's address is not allowed")
        return allowed

    async def close(self) -> None:
        """Nothing is held."""
        await self._resolver.close()
