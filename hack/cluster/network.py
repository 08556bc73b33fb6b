"""The network namespace the node lives in: nothing leaves it, and the machine's own rules stay untouched."""

from pathlib import Path

from hack.cluster.process import output, succeeds
from hack.cluster.settings import CACHE, GATEWAY_IP, HOST_LINK, NETNS, NODE_IP, POD_NET, SERVICE_NET

# Not `ip netns exec`: that hides /sys/fs/cgroup.
ENTER = ("nsenter", f"--net=/run/netns/{NETNS}")


OWNER = Path(f"/run/{NETNS}.owner")
"""Names the cache folder whose cluster this is: the namespace and the links are the machine's, one for all folders."""


def exists() -> bool:
    """Whether the namespace is there."""
    return Path(f"/run/netns/{NETNS}").exists()


def other_owner() -> Path | None:
    """The cache folder of a cluster that is not ours, if there is such a cluster."""
    if not exists() or not OWNER.exists():
        return None
    owner = Path(OWNER.read_text().strip())
    return owner if owner != CACHE and owner.exists() else None


def create() -> None:
    """Makes the namespace, the pair of links into it, and the host's routes to pods and Services."""
    ip = "ip"
    OWNER.write_text(f"{CACHE}\n")
    output([ip, "netns", "add", NETNS])
    output([ip, "link", "add", HOST_LINK, "type", "veth", "peer", "name", "eth0", "netns", NETNS])
    output([ip, "addr", "add", f"{GATEWAY_IP}/30", "dev", HOST_LINK])
    output([ip, "link", "set", HOST_LINK, "up"])
    output([*ENTER, ip, "addr", "add", f"{NODE_IP}/30", "dev", "eth0"])
    output([*ENTER, ip, "link", "set", "eth0", "up"])
    output([*ENTER, ip, "link", "set", "lo", "up"])
    output([*ENTER, "sysctl", "-qw", "net.ipv4.ip_forward=1"])
    # Absent where the bridge module does not filter at all; then there is nothing to switch on.
    succeeds([*ENTER, "sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1"])
    for network in (POD_NET, SERVICE_NET):
        output([ip, "route", "add", network, "via", NODE_IP])


def remove() -> None:
    """Takes it all away again; the routes go with the link."""
    succeeds(["ip", "link", "del", HOST_LINK])
    succeeds(["ip", "netns", "del", NETNS])
    OWNER.unlink(missing_ok=True)


def pids() -> list[int]:
    """Every process inside."""
    return [int(pid) for pid in output(["ip", "netns", "pids", NETNS]).split()] if exists() else []
