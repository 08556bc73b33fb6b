"""`hack/demo` itself: the demo, and `fetch` for what it made."""

import argparse
import signal
import sys
import time
from pathlib import Path

from hack.cluster.process import ClusterError
from hack.demo import change, ending, fetch, job, kubectl, pictures, place, seed, summary
from hack.demo.ending import Whole
from hack.demo.follow import Display, follow
from hack.demo.live import Picture
from hack.demo.plain import Lines
from hack.demo.settings import NAMESPACE, OUT
from hack.demo.summary import Told
from hack.demo.users import Users
from rich.console import Console

from retune.api import RunPhase

GOOD, BAD = "SmolLM2-135M, LoRA, on CPU", "the same, on shuffled answers"
AGAIN = "the same, with what people corrected"


def demo(console: Console) -> int:
    """A good model is promoted, a bad one taken back, and when the world changes a run starts by itself; 0 if so."""
    cluster = kubectl.connect()
    console.print(f"\n[bold]Retune[/]  a model is trained and rolled out in namespace {NAMESPACE}\n", highlight=False)
    place.prepare(cluster)
    seed.ensure(cluster, console)
    with Users(cluster) as users:
        wanted = job.ask(cluster)
        good: Told | None = None
        if not wanted.bad:
            good = _run(cluster, wanted, users, console, GOOD)
            if good.run.phase is not RunPhase.PROMOTED:
                summary.failed(console, good.run, good.timeline)
                return 1
            summary.promoted(console, good.run, good.timeline)
            console.print("\n  [bold]Now a bad one[/]: no gate and no evaluation stops it. Its users must.\n")
            wanted = job.ask_bad(cluster)
        bad = _run(cluster, wanted, users, console, BAD)
        summary.rollouts(console, good, bad, users.overridden)
        if bad.run.phase is not RunPhase.ROLLED_BACK:
            return 1
        console.print("\n  [bold]Now the world changes[/]: nobody tells the operator. It must see it, and act.\n")
        return _third(cluster, users, console, good, bad)


def _third(cluster: kubectl.Kubectl, users: Users, console: Console, good: Told | None, bad: Told) -> int:
    """People ask for something new; 0 if a model that a run of its own accord has made was promoted."""
    began = (good or bad).run.began
    wanted = change.prepare(cluster, users, console)
    prepared = bad.run.status.ended_at.timestamp() if bad.run.status.ended_at is not None else time.time()
    name, changed = change.happen(cluster, wanted, users, console)
    again = _follow(cluster, name, users, console, AGAIN)
    if again.run.phase is not RunPhase.PROMOTED or again.run.status.ended_at is None:
        summary.failed(console, again.run, again.timeline)
        return 1
    promoted = change.linger(users, console)
    whole = Whole(
        good,
        bad,
        again,
        changed,
        before=change.seen(users.all, prepared, changed.began),
        during=change.seen(users.all, changed.began, again.run.status.ended_at.timestamp()),
        after=change.seen(users.all, promoted, float("inf")),
        job=job.status(cluster),
    )
    runs = [job.reported(cluster, told.run.name) for told in (good, bad, again) if told is not None]
    papers = pictures.leave(OUT, runs, began)
    console.print("\n  [bold]The whole story[/]\n")
    ending.tell(console, whole, papers)
    summary.next_commands(console, again.run)
    return 0


def _run(cluster: kubectl.Kubectl, wanted: job.Wanted, users: Users, console: Console, title: str) -> Told:
    """Wait for the wanted run, and follow it to its end."""
    console.print(f"  [green]✓[/] {wanted.how}", highlight=False)
    return _follow(cluster, job.await_run(cluster, wanted), users, console, title)


def _follow(cluster: kubectl.Kubectl, name: str, users: Users, console: Console, title: str) -> Told:
    """Follow a run to its end."""
    display: Display = Picture(console, title) if console.is_terminal else Lines(console)
    if not console.is_terminal:
        console.print(f"following run {name}", highlight=False)
    run, timeline = follow(cluster, name, display, users)
    console.print()
    return Told(run, timeline, users.looks(run), users.answers(run))


def main() -> int:
    """Parse the command line and run one command."""
    parser = argparse.ArgumentParser(
        prog="hack/demo",
        description="Trains a model on the local cluster and rolls it out; then a bad one, which is taken back.",
    )
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
