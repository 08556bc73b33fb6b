"""The verbs that ask something of the operator. Each writes annotations under retune.dev, and says what that does."""

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from retune.cli.failure import Failure, RefusedError
from retune.cli.options import connected, named, numbered, reason

if TYPE_CHECKING:
    from retune.cli.objects import Raw
    from retune.cli.server import Server

LOOKS, PAUSE = 30, 0.5  # how often, and s between, the operator is looked at until it has taken note
job_argument = click.argument("job", metavar="JOB")
unasked = click.option("-y", "--yes", is_flag=True, help="Do it without asking.")


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

    A run in training is stopped after a checkpoint, and goes on from there. A rollout holds its weight, and its
    stop-loss stays armed. spec.suspend stops too, and takes a canary to weight 0.
    """
    from retune.cli.objects import part
    from retune.cli.view.rollout import in_rollout
    from retune.decide.naming import PAUSE_ANNOTATION

    found = _annotate_job(server, job, {PAUSE_ANNOTATION: _timestamp()})
    run = _newest(server, found)
    click.echo(f"{job} paused{_in_flight(run)}. `kubectl retune resume {job}` goes on")
    if in_rollout(run):
        weight = part(run, "status", "rollout", "weight") or 0
        click.echo(f"The rollout holds the candidate at {weight} % of traffic. Its stop-loss stays armed.")


@click.command()
@job_argument
@connected
def resume(server: "Server", job: str) -> None:
    """End a pause or a halt, also one after fruitless runs."""
    from retune.cli.objects import part
    from retune.cli.view.rollout import in_rollout
    from retune.decide.naming import HALT_ANNOTATION, PAUSE_ANNOTATION, RESUME_ANNOTATION

    found = _annotate_job(server, job, {PAUSE_ANNOTATION: None, HALT_ANNOTATION: None, RESUME_ANNOTATION: _timestamp()})
    click.echo(f"{job} resumed")
    if part(found, "spec", "suspend"):
        click.echo("It stays suspended until spec.suspend is false, too.")
    elif in_rollout(_newest(server, found)):
        click.echo("The rollout goes on from the weight that it held; the pause does not count as held time.")


@click.command()
@job_argument
@reason
@connected
def halt(server: "Server", job: str, reason: str | None) -> None:
    """Stop a job that should not go on, until it is resumed.

    As pause, but the job is Halted and says why; the run in flight is stopped, too.
    """
    from retune.cli.view.rollout import in_rollout
    from retune.decide.naming import HALT_ANNOTATION

    found = _annotate_job(server, job, {HALT_ANNOTATION: reason or f"by {server.user()}"})
    run = _newest(server, found)
    click.echo(f"{job} halted{_in_flight(run)}. `kubectl retune resume {job}` lets it start again")
    if in_rollout(run):
        click.echo("The candidate gets no traffic meanwhile, and its rollout begins again when it goes on.")


@click.command()
@job_argument
@connected
def retry(server: "Server", job: str) -> None:
    """Ask for a new run with the spec as it is now."""
    from retune.cli.objects import part
    from retune.decide.naming import RETRY_ANNOTATION

    found = _annotate_job(server, job, {RETRY_ANNOTATION: _timestamp()})
    click.echo(f"{job} will run again{_in_flight(_newest(server, found), ', after')}")
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


@click.command()
@job_argument
@unasked
@connected
def promote(server: "Server", job: str, yes: bool) -> None:
    """Let the candidate in rollout serve everybody now."""
    from retune.cli.find import find_in_flight
    from retune.cli.objects import name, part, phase
    from retune.cli.view.rollout import in_rollout
    from retune.decide.naming import PROMOTE_ANNOTATION

    run = find_in_flight(server, job)
    if not in_rollout(run):
        raise Failure(f"run {name(run)} is not in rollout (it is {phase(run)}): there is no candidate to promote yet")
    weight = part(run, "status", "rollout", "weight") or 0
    over = part(run, "status", "rollout", "heldBecause") == "AwaitingApproval"
    skips = "" if over else ", without the steps that are left; only a breached stop-loss comes before"
    _ask(
        f"{name(run)} has {weight} % of traffic ({phase(run)}). It will serve all of it{skips}. "
        f"`kubectl retune rollback {job}` goes back.",
        yes=yes,
    )
    server.annotate("finetuneruns", name(run), {PROMOTE_ANNOTATION: f"by {server.user()}"})
    click.echo(f"{name(run)} is being promoted. `kubectl retune status {job}` shows how far it is")


@click.command()
@job_argument
@click.argument("target", metavar="[RUN|N]", required=False)
@unasked
@connected
def rollback(server: "Server", job: str, target: str | None, yes: bool) -> None:
    """Take the candidate back, or go back to an earlier model.

    A candidate in rollout is taken back. If there is none, the previous model serves again, or that of RUN: a promoted
    run of the job, or its number.
    """
    from retune.cli.find import find_job
    from retune.cli.objects import name, number, part, phase
    from retune.cli.view.rollout import in_rollout
    from retune.decide.naming import ROLLBACK_ANNOTATION

    found = find_job(server, job)
    serves = str(part(found, "status", "stable", "run") or "")
    run = _newest(server, found)
    said = ""
    if run is not None and in_rollout(run):
        weight = part(run, "status", "rollout", "weight") or 0
        said = f"{name(run)} loses its {weight} % of traffic ({phase(run)}) and ends as RolledBack. "
    if run is not None and said and target in (None, name(run), str(number(run))):
        back = name(run)
        said += f"{serves or 'What served before'} keeps serving."
    else:
        back = _promoted(server, found, target)
        said += f"{back} will serve all traffic again, instead of {serves or 'the base model'}."
    _ask(said, yes=yes)
    if part(found, "status", "rolledBack") == back:  # asked for before, and done: only a new wish is a wish
        server.annotate("finetunejobs", job, {ROLLBACK_ANNOTATION: None})
        _forgotten(server, job, back)
    server.annotate("finetunejobs", job, {ROLLBACK_ANNOTATION: back})
    click.echo(f"{job} is being rolled back. `kubectl retune status {job}` shows how far it is")


VERBS = (approve, pause, resume, halt, retry, cancel, promote, rollback)


def _promoted(server: "Server", job: "Raw", target: str | None) -> str:
    """The run to go back to: the one that was named, or the previous one."""
    from retune.api.phases import RunPhase
    from retune.cli.find import runs_of
    from retune.cli.objects import name, number, part, phase

    serves, previous = part(job, "status", "stable", "run"), part(job, "status", "previous", "run")
    if target is None:
        if not previous:
            raise Failure(f"no model served before {serves or 'the base'}, so there is none to go back to")
        return str(previous)
    runs = runs_of(server, job)
    good = [run for run in runs if phase(run) == RunPhase.PROMOTED and name(run) != serves]
    chosen = next((run for run in runs if target in (name(run), str(number(run)))), None)
    kept = ", ".join(name(run) for run in good) or "none (spec.history.succeeded says how many are kept)"
    if chosen is None:
        raise Failure(f'{name(job)} has no run "{target}". Promoted runs to go back to: {kept}')
    if name(chosen) == serves:
        raise Failure(f"{name(chosen)} serves already. Promoted runs to go back to: {kept}")
    if phase(chosen) != RunPhase.PROMOTED:
        raise Failure(f"{name(chosen)} was never promoted (it is {phase(chosen)}). Promoted runs to go back to: {kept}")
    return name(chosen)


def _forgotten(server: "Server", job: str, back: str) -> None:
    """Wait until the operator has seen that its last wish of a rollback is gone."""
    from retune.cli.objects import part

    for _ in range(LOOKS):
        if part(server.get("finetunejobs", job), "status", "rolledBack") != back:
            return
        time.sleep(PAUSE)
    raise Failure(
        f"{job} went back to {back} before, and the operator has not taken note that this is over. Is it running? "
        "Then try again"
    )


def _ask(what: str, *, yes: bool) -> None:
    """Say what will happen, and go on only if the user agrees."""
    click.echo(what)
    if yes:
        return
    try:
        agreed = click.confirm("Go on?")
    except click.Abort as error:
        raise Failure("nobody answers, so nothing was done; --yes goes on without asking") from error
    if not agreed:
        raise Failure("nothing was done")


def _annotate_job(server: "Server", job: str, annotations: dict[str, str | None]) -> "Raw":
    from retune.cli.find import find_job

    find_job(server, job)  # for its clearer words when there is none
    return server.annotate("finetunejobs", job, annotations)


def _newest(server: "Server", job: "Raw") -> "Raw | None":
    """The job's newest run."""
    from retune.cli.find import runs_of
    from retune.cli.objects import newest

    return newest(runs_of(server, job))


def _in_flight(run: "Raw | None", words: str = ", with its run in flight") -> str:
    """Name the run that this concerns, too."""
    from retune.cli.objects import ended, name

    return f"{words} {name(run)}" if run is not None and not ended(run) else ""


def _timestamp() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
