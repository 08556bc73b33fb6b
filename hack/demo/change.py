"""The third act: people ask for something that the model has never seen, and the operator answers by itself.

Applies the good manifest again, with changes of the spec no longer a reason for a run: so drift starts the next one.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from hack.cluster.process import ClusterError
from hack.demo import job
from hack.demo.kubectl import Kubectl
from hack.demo.settings import AFTER, JOB, NEW_FIRST, NEW_LATER, POLL, RATE, SIGNALS_EVERY, WATCH_PATIENCE
from hack.demo.timeline import clock
from hack.demo.users import Users
from hack.load import answers, report
from hack.load.answers import Answer, Summary
from rich.console import Console

from retune.api import DriftState, DriftStatus, FineTuneJobStatus

BEYOND = (DriftState.BREACHED, DriftState.FIRING)


@dataclass(frozen=True)
class Change:
    """When what happened, in seconds since the epoch.

    Attributes:
        began: when people began to ask for something new.
        noticed: by trigger, its value when that was first seen beyond the threshold, and when.
    """

    began: float
    noticed: dict[str, tuple[float, float | None]]


@dataclass(frozen=True)
class Seen:
    """What stable's users got: of all that they asked, and of what is new."""

    every: Summary
    new: Summary


def prepare(kubectl: Kubectl, users: Users, console: Console) -> job.Wanted:
    """Have the job as it was, and wait until the operator knows what is usual."""
    wanted = job.ask_nothing(kubectl)
    console.print(f"  [green]✓[/] {wanted.how}", highlight=False)
    users.turn_to(RATE)
    signals = Signals(console, users, time.time())
    for status in _looks(kubectl, users, lambda found: _usual_is_known(found.drift)):
        signals.show(status.drift)
    return wanted


def happen(kubectl: Kubectl, wanted: job.Wanted, users: Users, console: Console) -> tuple[str, Change]:
    """Change what people ask for; the run that starts by itself, and when what happened."""
    users.ask_also(NEW_FIRST)
    began = time.time()
    console.print("  [green]✓[/] two of three requests are of a new kind: the shop mends things now", highlight=False)
    signals, noticed = Signals(console, users, began), dict[str, tuple[float, float | None]]()
    for status in _looks(kubectl, users, lambda found: _number(found) > wanted.after):
        signals.show(status.drift)
        for one in status.drift:
            if one.state in BEYOND:
                noticed.setdefault(one.name, (time.time(), one.value))
    users.ask_also(NEW_LATER)  # what the new model is asked is not what it has been taught
    return job.await_run(kubectl, wanted), Change(began, noticed)


def linger(users: Users, console: Console) -> float:
    """Let users ask the new model for a while; since when they do."""
    began = time.time()
    console.print(f"  [dim]its users ask it for another {AFTER:.0f} s[/]", highlight=False)
    users.turn_to(RATE)
    time.sleep(AFTER)
    return began


def seen(found: Sequence[Answer], begin: float, end: float) -> Seen:
    """What stable gave to those who asked between two moments (seconds since the epoch)."""
    some = [one for one in answers.since(found, begin, end) if one.arm == "stable"]
    return Seen(answers.summary(some), answers.summary(one for one in some if one.asked and one.asked.taught))


class Signals:
    """Prints where the signals stand when one changes its state, and now and then what users see."""

    def __init__(self, console: Console, users: Users, since: float) -> None:
        """`since`: what users got from then on is shown (seconds since the epoch)."""
        self._console, self._users, self._since = console, users, since
        self._began = time.monotonic()
        self._states: dict[str, DriftState] = {}
        self._shown = self._began

    def show(self, drift: Sequence[DriftStatus]) -> None:
        """Take another look."""
        for one in drift:
            if self._states.get(one.name) is not one.state:
                self._states[one.name] = one.state
                self._say(_line(one))
        if time.monotonic() - self._shown >= SIGNALS_EVERY:
            self._shown = time.monotonic()
            found = seen(self._users.all, self._since, float("inf"))
            new = f"; of the new kind: {report.line(found.new)}" if found.new.requests else ""
            self._say(f"users: {report.line(found.every)}{new}")

    def _say(self, text: str) -> None:
        passed = clock(time.monotonic() - self._began)
        self._console.print(f"{passed:>6}  {text}", markup=False, highlight=False, soft_wrap=True)


def _line(one: DriftStatus) -> str:
    value = f" {one.value:.2f} of {one.threshold:g} over {one.samples} requests" if one.value is not None else ""
    return f"{one.name} {one.state}{value}{f': {one.message}' if one.message else ''}"


def _usual_is_known(drift: Sequence[DriftStatus]) -> bool:
    return bool(drift) and all(one.state is DriftState.OK for one in drift)


def _number(status: FineTuneJobStatus) -> int:
    return status.latest_run.number if status.latest_run is not None else 0


def _looks(kubectl: Kubectl, users: Users, over: Callable[[FineTuneJobStatus], bool]) -> Iterator[FineTuneJobStatus]:
    """The job's status, again and again, up to the first that is `over`.

    Raises:
        ClusterError: the job is gone, or it takes too long.
    """
    began = time.monotonic()
    while True:
        found = kubectl.find("finetunejob", JOB)
        if found is None:
            raise ClusterError(f"FineTuneJob {JOB} was deleted")
        users.watch()
        status = FineTuneJobStatus.model_validate(found.get("status") or {})
        yield status
        if over(status):
            return
        if time.monotonic() - began > WATCH_PATIENCE:
            told = "; ".join(map(_line, status.drift))
            raise ClusterError(f"nothing came of it within {WATCH_PATIENCE:.0f} s. Signals: {told or 'none'}")
        time.sleep(POLL)
