"""`hack/demo` itself: the demo, and `fetch` for what it made."""

import argparse
import signal
import sys
from pathlib import Path

from hack.cluster.process import ClusterError
from hack.demo import fetch, job, kubectl, place, seed, summary
from hack.demo.follow import Display, follow
from hack.demo.live import Picture
from hack.demo.plain import Lines
from hack.demo.settings import NAMESPACE
from rich.console import Console

from retune.api import RunPhase


def demo(console: Console) -> int:
    """Train a model; 0 if it was promoted."""
    cluster = kubectl.connect()
    console.print(f"\n[bold]Retune[/]  a model is trained in namespace {NAMESPACE}\n", highlight=False)
    place.prepare(cluster)
    seed.ensure(cluster, console)
    wanted = job.ask(cluster)
    console.print(f"  [green]✓[/] {wanted.how}", highlight=False)
    name = job.await_run(cluster, wanted)
    display: Display = Picture(console, "SmolLM2-135M, LoRA, on CPU") if console.is_terminal else Lines(console)
    if not console.is_terminal:
        console.print(f"following run {name}", highlight=False)
    run, timeline = follow(cluster, name, display)
    console.print()
    if run.phase is RunPhase.PROMOTED:
        summary.promoted(console, run, timeline)
        return 0
    summary.failed(console, run, timeline)
    return 1


def main() -> int:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(prog="hack/demo", description="Trains a model on the local cluster.")
    commands = parser.add_subparsers(dest="command")
    download = commands.add_parser("fetch", help="Downloads what a run made, and checks it.")
    download.add_argument("run", nargs="?", default="", help="a FineTuneRun; by default that of the job's stable model")
    download.add_argument("--to", type=Path, help="a folder; by default one named like the run")
    arguments = parser.parse_args()
    # What is not read on a screen need not fit one.
    console = Console(width=None if sys.stdout.isatty() else 120)
    # Ended by a signal, we clean up as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if arguments.command == "fetch":
            fetch.fetch(kubectl.connect(), arguments.run, arguments.to, console)
            return 0
        return demo(console)
    except ClusterError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nthe run goes on in the cluster; `make demo` follows it again", file=sys.stderr)
        return 130
