"""Which addresses no user may reach from a pod, however they are written. Pure.

A tenant writes a URL, and the pod stands inside a cluster: link-local and metadata addresses would hand out the node's
credentials. Private ranges and loopback are allowed: models and trackers are served inside the cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

FORBIDDEN = tuple(
    map(
        ip_network,
        (
            "0.0.0.0/8",  # "this host": Linux connects it to loopback, whatever was meant
            "169.254.0.0/16",  # link-local; metadata of nearly every cloud, and credentials of EKS and ECS tasks
            "100.100.100.200/32",  # metadata of Alibaba Cloud
            "168.63.129.16/32",  # Azure's wire server
            "192.0.0.192/32",  # metadata of Oracle Cloud, classic
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, with broadcast
            "::/128",
            "fe80::/10",
            "fd00:ec2::/32",  # AWS: metadata, credentials of tasks
            "fd20:ce::254/128",  # metadata of Google Cloud
            "ff00::/8",
        ),
    )
)
# They resolve to the above where they mean anything; refused by name, too, so that the error does not depend on where.
FORBIDDEN_NAMES = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
# IPv6 prefixes whose last 32 bits are an IPv4 address: translation (RFC 6052, RFC 8215) and the old "compatible" form.
CARRIERS = tuple(map(ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")))


class ForbiddenAddressError(Exception):
    """A URL leads to an address that no user may reach from here."""

    def __init__(self, host: str, address: str | None = None) -> None:
        """Name the host as it was asked for, and the address that it stands for."""
        leads = f"{host} leads to {address}" if address and address != host else host
        super().__init__(f"{leads}, a link-local, metadata or multicast address, which is never contacted")


def _faces(address: IPv4Address | IPv6Address) -> Iterator[IPv4Address | IPv6Address]:
    """The address, and every IPv4 address that packets to it may end at."""
    yield address
    if isinstance(address, IPv4Address):
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
    if address.sixtofour:
        yield address.sixtofour
    if address.teredo:
        yield from address.teredo
    if not address.is_loopback and any(address in carrier for carrier in CARRIERS):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def forbidden(address: str) -> bool:
    """Whether an IP address, in its ordinary spelling, must not be connected to."""
    return any(face in network for face in _faces(ip_address(address)) for network in FORBIDDEN)
