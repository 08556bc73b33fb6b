"""Finds what a user means by `NAME [N]`: a job, by its number one of its runs, or a run by its own name.

Reads the API server only.
"""

import difflib
from dataclasses import dataclass

from retune.cli.failure import Failure, NotFoundError
from retune.cli.objects import Raw, ended, name, newest, number, part, phase, uid
from retune.cli.server import Server


@dataclass(frozen=True)
class Target:
    """What was meant.

    `job` is None only if a run was named whose job is gone; `run` only if the job has none. `chosen` says that the
    user has named this very run, by name or number; else it is the job's newest.
    """

    job: Raw | None
    run: Raw | None
    chosen: bool

    @property
    def called(self) -> str:
        """What to call it in the next command."""
        return name(self.job or self.run or {"metadata": {"name": ""}})


def find(server: Server, called: str, count: int | None = None) -> Target:
    """What `called`, and maybe the number of a run, stand for.

    Raises:
        Failure: there is no such job or run.
    """
    job = server.find("finetunejobs", called)
    if job is None:
        run = server.find("finetuneruns", called)
        if run is None:
            raise _unknown(server, called)
        if count is not None:
            raise Failure(f"{called} is a run already; leave the number {count} out")
        owner = server.find("finetunejobs", str(part(run, "spec", "jobRef", "name") or ""))
        owned = owner is not None and uid(owner) == part(run, "spec", "jobRef", "uid")
        return Target(owner if owned else None, run, chosen=True)
    runs = runs_of(server, job)
    if count is None:
        return Target(job, newest(runs), chosen=False)
    run = next((r for r in runs if number(r) == count), None)
    if run is None:
        kept = ", ".join(str(number(r)) for r in runs) or "none"
        raise Failure(f"job {called} has no run {count}. Runs that are kept: {kept} (spec.history says how many stay)")
    return Target(job, run, chosen=True)


def find_job(server: Server, called: str) -> Raw:
    """The job of that name.

    Raises:
        Failure: there is none; if it is a run's name, the message has its job's.
    """
    job = server.find("finetunejobs", called)
    if job is None:
        run = server.find("finetuneruns", called)
        if run is not None:
            raise Failure(f"{called} is a run; name its job: {part(run, 'spec', 'jobRef', 'name')}")
        raise _unknown(server, called, "FineTuneJob")
    return job


def find_run(server: Server, called: str, count: int | None = None) -> Raw:
    """The run that was meant: a job stands for its newest.

    Raises:
        Failure: there is none.
    """
    run = find(server, called, count).run
    if run is None:
        raise Failure(f"job {called} has no run yet. `kubectl retune status {called}` says why")
    return run


def find_in_flight(server: Server, called: str, count: int | None = None) -> Raw:
    """The run that was meant, if it has not ended.

    Raises:
        Failure: it has, or there is none.
    """
    run = find_run(server, called, count)
    if ended(run):
        whose = f"run {name(run)}" if name(run) == called or count else f"the newest run of {called}, {name(run)},"
        raise Failure(f"{whose} has ended ({phase(run)}), and an ended run never changes")
    return run


def runs_of(server: Server, job: Raw) -> list[Raw]:
    """The runs of a job, by number."""
    from retune.decide.naming import JOB_LABEL

    found = server.select("finetuneruns", labels=f"{JOB_LABEL}={name(job)}")
    mine = [run for run in found if part(run, "spec", "jobRef", "uid") == uid(job)]  # anybody can write a label
    return sorted(mine, key=number)


def _unknown(server: Server, called: str, what: str = "FineTuneJob or FineTuneRun") -> NotFoundError:
    known = sorted(name(job) for job in server.select("finetunejobs"))
    near = difflib.get_close_matches(called, known, n=3) or known[:5]
    where = f'there is no {what} "{called}" in namespace {server.namespace}'
    if not near:
        return NotFoundError(f"{where}, and no job at all. Choose another namespace with -n")
    return NotFoundError(f"{where}. Jobs there: {', '.join(near)}. Choose another namespace with -n")
