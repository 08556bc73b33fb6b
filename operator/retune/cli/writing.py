"""The verbs that ask something of the operator. Each writes annotations under retune.dev, and says what that does."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from retune.cli.failure import Failure, RefusedError
from retune.cli.options import connected, named, numbered, reason

if TYPE_CHECKING:
    from retune.cli.objects import Raw
    from retune.cli.server import Server

job_argument = click.argument("job", metavar="JOB")


@click.command()
@click.argument("name", metavar="JOB|RUN")
@click.argument("approvals", metavar="NAME...", nargs=-1, required=True)
@connected
def approve(server: "Server", name: str, approvals: tuple[str, ...]) -> None:
    """Give approvals that the run in flight asks for."""
    from retune.cli.find import find_in_flight
    from retune.cli.objects import approvals_required, items, part
    from retune.cli.objects import name as name_of
    from retune.cli.wording import listed
    from retune.decide.naming import APPROVAL_PREFIX

    run = find_in_flight(server, name)
    asked = approvals_required(run)
    unknown = [one for one in approvals if one not in asked]
    if unknown:
        wants = (
            f"It asks for: {listed(asked)}" if asked else "It asks for none (spec.gates.approvals.required is empty)"
        )
        raise Failure(f'run {name_of(run)} does not ask for an approval "{unknown[0]}". {wants}')
    user = server.user()
    given = {a.get("name"): a.get("by") for a in items(run, "status", "approvals")}
    for one in approvals:
        if part(run, "status", "earlySignatures", one) == user:
            raise Failure(
                f"your signature {one} is from before personal data was found, so it does not count. Take it away "
                f"first: kubectl annotate finetunerun {name_of(run)} {APPROVAL_PREFIX}{one}-"
            )
        if one in given:
            click.echo(f"{one} was approved already, by {given[one]}")
            continue
        try:
            server.annotate("finetuneruns", name_of(run), {APPROVAL_PREFIX + one: user})
        except RefusedError as error:
            raise Failure(f'the approval "{one}" is refused: {error.said}') from error
        click.echo(f"{one} approved by {user} for run {name_of(run)}")
    missing = [one for one in asked if one not in given and one not in approvals]
    if missing:
        click.echo(f"still missing: {listed(missing)}")
    if not part(run, "status", "resolved"):
        click.echo("Preflight has not read the data yet: if it finds personal data, it has to be signed anew.")


@click.command()
@job_argument
@connected
def pause(server: "Server", job: str) -> None:
    """Suspend a job and its run in flight until it is resumed.

    The run is stopped after a checkpoint, and goes on from there. spec.suspend does the same, for who owns the spec.
    """
    from retune.decide.naming import PAUSE_ANNOTATION

    found = _annotate_job(server, job, {PAUSE_ANNOTATION: _timestamp()})
    click.echo(f"{job} paused{_in_flight(server, found)}. `kubectl retune resume {job}` goes on")


@click.command()
@job_argument
@connected
def resume(server: "Server", job: str) -> None:
    """End a pause or a halt, also one after fruitless runs."""
    from retune.cli.objects import part
    from retune.decide.naming import HALT_ANNOTATION, PAUSE_ANNOTATION, RESUME_ANNOTATION

    found = _annotate_job(server, job, {PAUSE_ANNOTATION: None, HALT_ANNOTATION: None, RESUME_ANNOTATION: _timestamp()})
    click.echo(f"{job} resumed")
    if part(found, "spec", "suspend"):
        click.echo("It stays suspended until spec.suspend is false, too.")


@click.command()
@job_argument
@reason
@connected
def halt(server: "Server", job: str, reason: str | None) -> None:
    """Stop a job that should not go on, until it is resumed.

    As pause, but the job is Halted and says why; the run in flight is stopped, too.
    """
    from retune.decide.naming import HALT_ANNOTATION

    found = _annotate_job(server, job, {HALT_ANNOTATION: reason or f"by {server.user()}"})
    click.echo(f"{job} halted{_in_flight(server, found)}. `kubectl retune resume {job}` lets it start again")


@click.command()
@job_argument
@connected
def retry(server: "Server", job: str) -> None:
    """Ask for a new run with the spec as it is now."""
    from retune.cli.objects import part
    from retune.decide.naming import RETRY_ANNOTATION

    found = _annotate_job(server, job, {RETRY_ANNOTATION: _timestamp()})
    click.echo(f"{job} will run again{_in_flight(server, found, ', after')}")
    here = part(found, "status", "phase")
    if here in ("Suspended", "Halted", "Invalid"):
        cure = {"Suspended": "until it goes on", "Halted": "until it is resumed", "Invalid": "until its spec is mended"}
        click.echo(f"It is {here} now, and nothing starts {cure[here]}: `kubectl retune status {job}`")


@click.command()
@named
@numbered
@reason
@connected
def cancel(server: "Server", name: str, count: int | None, reason: str | None) -> None:
    """End the run in flight, for good; the job stays as it is."""
    from retune.cli.find import find_in_flight
    from retune.cli.objects import name as name_of
    from retune.decide.naming import CANCEL_ANNOTATION

    run = find_in_flight(server, name, count)
    server.annotate("finetuneruns", name_of(run), {CANCEL_ANNOTATION: reason or f"by {server.user()}"})
    click.echo(f"{name_of(run)} is being cancelled")


VERBS = (approve, pause, resume, halt, retry, cancel)


def _annotate_job(server: "Server", job: str, annotations: dict[str, str | None]) -> "Raw":
    from retune.cli.find import find_job

    find_job(server, job)  # for its clearer words when there is none
    return server.annotate("finetunejobs", job, annotations)


def _in_flight(server: "Server", job: "Raw", words: str = ", with its run in flight") -> str:
    """Name the run that this concerns, too."""
    from retune.cli.find import runs_of
    from retune.cli.objects import ended, name, newest

    run = newest(runs_of(server, job))
    return f"{words} {name(run)}" if run is not None and not ended(run) else ""


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
