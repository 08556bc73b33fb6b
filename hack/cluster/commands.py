"""The commands of `python3 hack/cluster`. Results go to standard output, progress to standard error."""

import argparse
import json
import signal
import sys
from collections.abc import Callable

from hack.cluster import backend, binaries, cache, images, infra
from hack.cluster.backend import Cluster
from hack.cluster.lock import only_one
from hack.cluster.process import ClusterError
from hack.cluster.progress import say
from hack.cluster.settings import CACHE, NODE_PORTS


def up(cluster: Cluster) -> None:
    """Starts the cluster; a running one is left alone, leftovers of an interrupted start are removed first."""
    with only_one("cluster"):
        cluster.up()
        backend.remember(cluster, up=True)
    print(cluster.kubeconfig)


def down(cluster: Cluster) -> None:
    """Stops the cluster; programs and images stay, so that the next start is quick."""
    with only_one("cluster"):
        cluster.down()
        backend.remember(cluster, up=False)


def clean(cluster: Cluster) -> None:
    """Stops the cluster and removes everything that was built for it."""
    with only_one("images"):
        down(cluster)
        cluster.clean()
        if cluster.name != "existing":
            cache.delete()
    say(f"{CACHE} is removed; Go's and uv's own caches are theirs: `go clean -cache -modcache`, `uv cache clean`")


def status(cluster: Cluster) -> None:
    """Says what is running."""
    running = cluster.healthy()
    print(f"cluster ({cluster.name}): {'up' if running else 'down'}")
    if running:
        print(f"kubeconfig: {cluster.kubeconfig}")
        for name in NODE_PORTS:
            print(f"{name}: {infra.endpoint(cluster, name)}")


COMMANDS: dict[str, Callable[[Cluster], object]] = {
    "up": up,
    "down": down,
    "clean": clean,
    "status": status,
    "infra": infra.apply,
    "install": infra.install,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hack/cluster", description="Retune's local Kubernetes cluster.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, function in COMMANDS.items():
        commands.add_parser(name, help=(function.__doc__ or "").partition("\n")[0])
    commands.add_parser("kubeconfig", help="Prints the kubeconfig's path.")
    build = commands.add_parser("images", help="Builds images and brings them into the cluster.")
    build.add_argument("names", nargs="*", help="all by default")
    address = commands.add_parser("endpoint", help="Prints the address of a service, as seen from this machine.")
    address.add_argument("name", choices=sorted(NODE_PORTS))
    program = commands.add_parser("bin", help="Prints a program's path, after building it if need be.")
    program.add_argument("name", choices=sorted(binaries.PROGRAMS))
    return parser


def _run(arguments: argparse.Namespace) -> None:
    cluster = backend.choose()
    match arguments.command:
        case "kubeconfig":
            print(cluster.kubeconfig)
        case "images":
            print(json.dumps(images.ensure(cluster, arguments.names), indent=2, sort_keys=True))
        case "endpoint":
            print(infra.endpoint(cluster, arguments.name))
        case "bin":
            print(binaries.path(arguments.name))
        case command:
            COMMANDS[command](cluster)


def main() -> int:
    """Parses the command line and runs one command."""
    arguments = _parser().parse_args()
    # Ended by a signal, we clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        cache.make()
        _run(arguments)
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted; the next run goes on from here", file=sys.stderr)
        return 130
    return 0
