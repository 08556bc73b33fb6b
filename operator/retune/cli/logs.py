"""The logs of a run's pods, one after the other as the run goes on."""

import sys
import time
from collections.abc import Iterator

import click

from retune.cli.failure import Failure
from retune.cli.objects import Raw, ended, items, name, part
from retune.cli.server import Server

POLL = 1.0  # s
STAGES = ("preflight", "train", "report")
_WAITING = ("Pending", "Unknown", "")


def print_logs(server: Server, run: Raw, stage: str | None, attempt: int | None, *, follow: bool) -> None:
    """Print the log of one pod, or with `follow` of each pod that comes, until the run is over.

    Args:
        server: the API server.
        run: the FineTuneRun.
        stage: which pods; the newest one of any stage if None.
        attempt: which attempt of the stage; the newest if None.
        follow: go on as long as the pod does, and then with the next one.

    Raises:
        Failure: there is no such pod (any more), or it has not started.
    """
    pods = _pods(server, name(run), stage, attempt)
    if follow:
        for pod in _coming(server, run, stage, attempt):
            _print(server, pod, follow=True)
        return
    if not pods:
        raise Failure(_gone(run, stage, attempt))
    pod = pods[-1]
    if part(pod, "status", "phase") in _WAITING:
        raise Failure(f"pod {name(pod)} has not started: {_waits(pod)}. With -f its log is waited for")
    _print(server, pod, follow=False)


def _coming(server: Server, run: Raw, stage: str | None, attempt: int | None) -> Iterator[Raw]:
    """Each pod once it has started: the newest one there is, and those that follow it."""
    done: set[str] = set()
    told = ""
    while True:
        over = ended(server.get("finetuneruns", name(run)))
        pods = _pods(server, name(run), stage, attempt)
        ready = [p for p in pods if name(p) not in done and part(p, "status", "phase") not in _WAITING]
        if ready:
            pod = ready[-1] if not done else ready[0]
            done.update(name(p) for p in pods[: pods.index(pod) + 1])
            yield pod
            if stage and attempt:
                return
            continue
        if over:
            if not done:
                raise Failure(_gone(run, stage, attempt))
            return
        waits = next((f"pod {name(p)} has not started: {_waits(p)}" for p in pods if name(p) not in done), "")
        if waits not in ("", told):
            told = waits
            click.echo(waits, err=True)
        time.sleep(POLL)


def _print(server: Server, pod: Raw, *, follow: bool) -> None:
    labels = _labels(pod)
    click.echo(f"==> {name(pod)} ({labels[0]}, attempt {labels[1]}) <==", err=True)
    out = sys.stdout.buffer
    for piece in server.log(name(pod), follow=follow):
        out.write(piece)
        out.flush()


def _pods(server: Server, run: str, stage: str | None, attempt: int | None) -> list[Raw]:
    """The pods in question, oldest first."""
    from retune.decide.naming import ATTEMPT_LABEL, RUN_LABEL, STAGE_LABEL

    wanted = {RUN_LABEL: run, STAGE_LABEL: stage, ATTEMPT_LABEL: str(attempt) if attempt else None}
    labels = ",".join(f"{key}={value}" for key, value in wanted.items() if value)
    found = server.select("pods", labels=labels)
    return sorted(found, key=lambda p: (p["metadata"].get("creationTimestamp", ""), _order(p)))


def _order(pod: Raw) -> tuple[int, int, str]:
    stage, attempt = _labels(pod)
    return STAGES.index(stage) if stage in STAGES else 0, int(attempt) if attempt.isdigit() else 0, name(pod)


def _labels(pod: Raw) -> tuple[str, str]:
    from retune.decide.naming import ATTEMPT_LABEL, STAGE_LABEL

    labels = pod["metadata"].get("labels") or {}
    return labels.get(STAGE_LABEL, "pod"), labels.get(ATTEMPT_LABEL, "?")


def _waits(pod: Raw) -> str:
    """Why a pod does not run yet, in the kubelet's or the scheduler's words."""
    for one in items(pod, "status", "containerStatuses"):
        waiting = part(one, "state", "waiting")
        if waiting.get("reason"):
            return ": ".join(filter(None, (waiting["reason"], waiting.get("message"))))
    blocked = [c for c in items(pod, "status", "conditions") if c.get("status") == "False" and c.get("message")]
    return ": ".join((blocked[0]["reason"], blocked[0]["message"])) if blocked else "it is being created"


def _gone(run: Raw, stage: str | None, attempt: int | None) -> str:
    """There is no pod: what its attempt said last, if there was one."""
    which = " ".join(filter(None, (f"stage {stage}" if stage else "", f"attempt {attempt}" if attempt else "")))
    told = [
        a
        for a in items(run, "status", "attempts")
        if (stage is None or str(a.get("stage", "Train")).lower() == stage) and attempt in (None, a.get("number"))
    ]
    if not told:
        return f"run {name(run)} has no pod {f'for {which} ' if which else ''}yet"
    last = told[-1]
    end = ": ".join(filter(None, (str(last.get("exit") or "not known"), str(last.get("message") or ""))))
    label = f"{last.get('stage', 'Train').lower()} {last.get('number')}"
    return f"the pod of {label} of run {name(run)} is gone, and its log with it. Its end: {end}"
