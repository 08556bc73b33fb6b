"""The verbs that only look: status, describe, runs, logs, diff, report."""

import contextlib
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from retune.cli.failure import Failure
from retune.cli.options import as_json, connected, named, numbered

if TYPE_CHECKING:
    from retune.cli.live import Look
    from retune.cli.objects import Raw
    from retune.cli.server import Server


@click.command()
@named
@numbered
@click.option(
    "--watch/--no-watch", "-w", default=None, help="Keep watching until the run ends; the default on a terminal."
)
@as_json
@connected
def status(server: "Server", name: str, count: int | None, watch: bool | None, output: str | None) -> None:
    """What is happening, what comes next, and what it costs.

    Watches until the run ends when on a terminal, otherwise prints once.
    """
    from retune.cli.find import find
    from retune.cli.live import Lines, Screen
    from retune.cli.objects import bare
    from retune.cli.view import paper
    from retune.cli.view.status import status as view

    def look() -> "Look":
        target = find(server, name, count)
        return target, _events(server, *(found for found in (target.job, target.run) if found))

    terminal = sys.stdout.isatty()
    if output:
        target, events = look()
        _print_json(
            {
                "job": bare(target.job) if target.job else None,
                "run": bare(target.run) if target.run else None,
                "events": [bare(e) for e in events],
            }
        )
    elif watch or (watch is None and terminal):
        try:
            (Screen() if terminal else Lines()).follow(look)
        except KeyboardInterrupt:  # how a person leaves it
            return
    else:
        target, events = look()
        paper.show(view(target.job, target.run, events, _now()))


@click.command()
@named
@numbered
@as_json
@connected
def describe(server: "Server", name: str, count: int | None, output: str | None) -> None:
    """All about a job, or about one of its runs.

    JOB describes the job itself; JOB N and RUN describe a run.
    """
    from retune.cli import objects
    from retune.cli.find import find, runs_of
    from retune.cli.view import describe as view
    from retune.cli.view import paper
    from retune.decide.naming import RUN_LABEL

    target = find(server, name, count)
    if target.job is not None and not target.chosen:
        runs, events = runs_of(server, target.job), _events(server, target.job)
        if output:
            _print_json(
                {
                    "job": objects.bare(target.job),
                    "runs": [objects.bare(r) for r in runs],
                    "events": [objects.bare(e) for e in events],
                }
            )
        else:
            paper.show(view.job(target.job, runs, events, _now()))
        return
    assert target.run is not None  # noqa: S101 - a chosen target is a run
    pods = server.select("pods", labels=f"{RUN_LABEL}={objects.name(target.run)}")
    events = _events(server, target.run)
    if output:
        _print_json(
            {
                "run": objects.bare(target.run),
                "pods": [objects.bare(p) for p in pods],
                "events": [objects.bare(e) for e in events],
            }
        )
    else:
        paper.show(view.run(target.run, target.job, pods, events, _now()))


@click.command()
@click.argument("job", metavar="JOB")
@as_json
@connected
def runs(server: "Server", job: str, output: str | None) -> None:
    """The runs of a job, and which of them serves."""
    from retune.cli.find import find_job, runs_of
    from retune.cli.objects import bare
    from retune.cli.view import paper
    from retune.cli.view.runs import runs as view

    owner = find_job(server, job)
    found = runs_of(server, owner)
    if output:
        _print_json([bare(run) for run in found])
    else:
        paper.show(view(found, owner, _now()))


@click.command()
@named
@numbered
@click.option("-f", "--follow", is_flag=True, help="Go on as long as the run does, from pod to pod.")
@click.option(
    "--stage", type=click.Choice(["preflight", "train", "report"]), help="Whose log; the newest pod's if absent."
)
@click.option(
    "--attempt", metavar="K", type=click.IntRange(min=1), help="Which attempt of the stage; its newest if absent."
)
@connected
def logs(  # noqa: PLR0917 - click gives them by name
    server: "Server",
    name: str,
    count: int | None,
    follow: bool,
    stage: str | None,
    attempt: int | None,
) -> None:
    """What the pods of a run have printed."""
    from retune.cli.find import find_run
    from retune.cli.logs import print_logs

    if attempt and not stage:
        raise click.UsageError("--attempt counts within a stage; name it with --stage")
    with contextlib.suppress(KeyboardInterrupt):  # how a person leaves what follows
        print_logs(server, find_run(server, name, count), stage, attempt, follow=follow)


@click.command()
@click.argument("names", metavar="JOB [N [M]] | RUN_A RUN_B", nargs=-1, required=True)
@connected
def diff(server: "Server", names: tuple[str, ...]) -> None:
    """Two runs side by side: spec, data, scores, gates, cost.

    JOB: its two newest runs. JOB N: its run N and the newest. JOB N M: its runs N and M. RUN_A RUN_B: any two.
    """
    from retune.cli.view import paper
    from retune.cli.view.diff import diff as view

    one, two = _two(server, names)
    paper.show(view(one, two))


@click.command()
@named
@numbered
@as_json
@connected
def report(server: "Server", name: str, count: int | None, output: str | None) -> None:
    """What was decided about a run, and on what numbers."""
    from retune.cli.find import find_run
    from retune.cli.view import paper
    from retune.cli.view.report import as_data
    from retune.cli.view.report import report as view

    run = find_run(server, name, count)
    if output:
        _print_json(as_data(run))
    else:
        paper.show(view(run, _now()))


VERBS = (status, describe, runs, logs, report, diff)


def _two(server: "Server", names: tuple[str, ...]) -> "tuple[Raw, Raw]":
    """The two runs that the words of `diff` mean."""
    from retune.cli.find import find_job, find_run, runs_of

    first, rest = names[0], names[1:]
    numbers = [int(word) for word in rest if word.isdecimal()]
    if len(rest) > 2 or (numbers and len(numbers) != len(rest)):
        raise click.UsageError("name JOB, JOB N, JOB N M, or RUN_A RUN_B")
    if rest and not numbers:
        if len(rest) > 1:
            raise click.UsageError("two runs can be compared, not more")
        return find_run(server, first), find_run(server, rest[0])
    if len(numbers) == 2:
        return find_run(server, first, numbers[0]), find_run(server, first, numbers[1])
    if numbers:
        return find_run(server, first, numbers[0]), find_run(server, first)
    found = runs_of(server, find_job(server, first))
    if len(found) < 2:
        raise Failure(f"job {first} has {len(found)} run{'s' if len(found) != 1 else ''}; two are needed to compare")
    return found[-2], found[-1]


def _events(server: "Server", *about: "Raw") -> "list[Raw]":
    """Events about these objects, oldest first; none if the user may not read Events: a view is not refused for it."""
    from retune.cli.objects import uid

    found: list[Raw] = []
    for one in about:
        try:
            found += server.select("events", fields=f"involvedObject.uid={uid(one)}")
        except Failure as error:
            if "may not list" not in error.message:
                raise
    return sorted(found, key=lambda e: str(e.get("lastTimestamp") or e.get("eventTime") or ""))


def _print_json(found: object) -> None:
    click.echo(json.dumps(found, indent=2))


def _now() -> datetime:
    return datetime.now(UTC)
