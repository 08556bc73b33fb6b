"""HTTP to addresses that users name, without ever reaching what only this pod's own machine may ask.

A tenant writes the URL, and the pod stands inside a cluster: link-local and metadata addresses would hand out the
node's credentials. What is checked is the very address that is connected to, after the name was looked up, so that
neither a redirect, nor a name that resolves differently a second time, nor an odd spelling of an address evades it.
Private ranges and loopback are allowed: models are served inside the cluster.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import typing
from collections.abc import Awaitable, Callable, Sequence

import httpcore
import httpx
from httpcore import AsyncNetworkBackend, AsyncNetworkStream

from retune_trainer.addresses import FORBIDDEN_NAMES, ForbiddenAddressError, forbidden

# Takes a host name or an address in any spelling, and a port; returns addresses.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def look_up(host: str, port: int) -> Sequence[str]:
    """The addresses of a host, as the system resolves it; octal and decimal spellings become ordinary ones here."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class CheckedBackend(AsyncNetworkBackend):
    """Opens connections to checked addresses only. TLS, a layer above, goes on verifying the host's name."""

    def __init__(self, resolve: Resolve = look_up) -> None:
        """`resolve` stands in for DNS in tests."""
        self._resolve = resolve
        self._inner = httpcore.AnyIOBackend()

    async def _addresses(self, host: str, port: int, seconds: float | None) -> Sequence[str]:
        if host.rstrip(".").casefold() in FORBIDDEN_NAMES:
            raise ForbiddenAddressError(host)
        try:
            async with asyncio.timeout(seconds):
                addresses = await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved") from error
        for address in addresses:
            # One bad address among good ones is no accident, and which one is used would be chance.
            if forbidden(address):
                raise ForbiddenAddressError(host, address)
        return addresses

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: typing.Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Resolve, check every address, and connect to the first that answers.

        Raises:
            ForbiddenAddressError: the host is one that must not be reached.
            httpcore.ConnectError, httpcore.ConnectTimeout: as every backend does.
        """
        problem: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in await self._addresses(host, port, timeout):
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: typing.Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetworkStream:
        """Refuse: no URL of a user means a socket of this pod."""
        del timeout, socket_options
        raise ForbiddenAddressError(path)

    async def sleep(self, seconds: float) -> None:
        """As every backend does."""
        await asyncio.sleep(seconds)


class _Transport(httpx.AsyncHTTPTransport):
    def __init__(self, resolve: Resolve, connections: int, tls: ssl.SSLContext) -> None:
        super().__init__(verify=tls)
        # httpx has no argument for the backend; this is the pool that it would have made, with ours.
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=connections,
            max_keepalive_connections=connections,
            network_backend=CheckedBackend(resolve),
        )


def client(
    *, timeout: float, connections: int = 8, resolve: Resolve = look_up, tls: ssl.SSLContext | None = None
) -> httpx.AsyncClient:
    """An HTTP client for URLs that users wrote. `timeout`: seconds to connect, and between any two bytes.

    It takes no proxy from the environment, follows no redirect unless a request asks for it (which then passes the same
    checks), and raises `ForbiddenAddressError` beside httpx's own errors.
    """
    transport = _Transport(resolve, connections, tls or httpx.create_ssl_context())
    return httpx.AsyncClient(transport=transport, trust_env=False, follow_redirects=False, timeout=timeout)
