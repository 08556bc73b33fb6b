"""Looks at a job again and again: a screen that lives on a terminal, a line for each change elsewhere."""

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import click
from rich.console import Console, RenderableType
from rich.live import Live
from rich.padding import Padding

from retune.api.phases import RunPhase
from retune.cli.failure import SilentError
from retune.cli.find import Target
from retune.cli.objects import Raw, ended, items, name, part, phase
from retune.cli.view.status import Watched, status

POLL = 1.0  # s between two looks
SILENCE = 120.0  # s without an answer before giving up
FRAMES = 4  # a second: the clocks move between two looks
PROGRESS_EVERY = 30.0  # s between two lines of progress
Look = tuple[Target, list[Raw]]


def looks(look: Callable[[], Look], told: Callable[[float], None]) -> Iterator[Look]:
    """One look after the other, until nothing is in flight any more.

    Args:
        look: asks the API server for the job, its run and their Events.
        told: hears for how many seconds nobody has answered; 0 when somebody does again.

    Raises:
        SilentError: nobody has answered for long.
    """
    answered = time.monotonic()
    while True:
        try:
            found = look()
        except SilentError:
            silent = time.monotonic() - answered
            if silent > SILENCE:
                raise
            told(silent)
            time.sleep(POLL)
            continue
        answered = time.monotonic()
        told(0)
        yield found
        if not _goes_on(found[0]):
            return
        time.sleep(POLL)


def _goes_on(target: Target) -> bool:
    """A run is in flight, or about to be: the operator has not yet looked at what the user wrote last."""
    if target.run is not None and not ended(target.run):
        return True
    if target.chosen or target.job is None:
        return False
    behind = part(target.job, "status", "observedGeneration") != target.job["metadata"].get("generation")
    return bool(behind) or part(target.job, "status", "phase") == "Running"


class Screen:
    """The live view; the last picture stays when it is left."""

    def __init__(self) -> None:
        self._target: Target | None = None
        self._events: list[Raw] = []
        self._seen: dict[str, datetime] = {}
        self._losses: list[float] = []
        self._run, self._silent = "", 0.0

    def follow(self, look: Callable[[], Look]) -> None:
        """Draw every look."""
        console = Console(highlight=False, markup=False, emoji=False)
        with Live(self, console=console, refresh_per_second=FRAMES):
            for target, events in looks(look, self._hear):
                self._take(target, events)

    def _hear(self, silent: float) -> None:
        self._silent = silent

    def _take(self, target: Target, events: list[Raw]) -> None:
        self._target, self._events = target, events
        run = target.run
        if run is None:
            return
        if name(run) != self._run:
            self._run, self._seen, self._losses = name(run), {}, []
            self._seen[phase(run)] = datetime.min.replace(tzinfo=UTC)  # began before we came: when is not known
        self._seen.setdefault(phase(run), datetime.now(UTC))
        loss = part(run, "status", "progress").get("loss")
        if loss is not None and phase(run) == RunPhase.TRAINING and self._losses[-1:] != [loss]:
            self._losses.append(loss)

    def __rich__(self) -> RenderableType:
        """The newest look, at this moment's time of day."""
        if self._target is None:
            return "asking the API server …"
        known = {key: at for key, at in self._seen.items() if at.year > 1}
        watched = Watched(known, self._losses, self._silent)
        return Padding(
            status(self._target.job, self._target.run, self._events, datetime.now(UTC), watched), (1, 1, 0, 1)
        )


class Lines:
    """The same for logs: a line for each change of phase or condition, and progress now and then."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._progress = float("-inf")

    def follow(self, look: Callable[[], Look]) -> None:
        """Print every change."""
        for target, _ in looks(look, self._hear):
            self._take(target)

    def _hear(self, silent: float) -> None:
        self._news("server", "the API server does not answer; waiting for it" if silent else "", quietly=not silent)

    def _take(self, target: Target) -> None:
        run = target.run
        if target.job is not None:
            self._news("job", f"{name(target.job)} {part(target.job, 'status', 'phase') or 'New'}")
        if run is None:
            return
        self._news(f"{name(run)}/phase", f"{name(run)} {phase(run)}")
        for one in items(run, "status", "conditions"):
            said = f"{one.get('type')}={one.get('status')} {one.get('reason')}"
            self._news(f"{name(run)}/{one.get('type')}", said, f": {one.get('message')}" if one.get("message") else "")
        stands = part(run, "status", "rollout")
        if stands and not ended(run):
            held = f": {stands['message']}" if stands.get("message") else ""
            self._news(f"{name(run)}/rollout", f"{stands.get('stage')} {stands.get('weight', 0)} % of traffic", held)
        progress = part(run, "status", "progress")
        if progress.get("step") is not None and not ended(run) and time.monotonic() - self._progress > PROGRESS_EVERY:
            self._progress = time.monotonic()
            loss = f", loss {progress['loss']:.3f}" if progress.get("loss") is not None else ""
            self._news("progress", f"step {progress['step']}/{progress.get('steps') or '?'}{loss}")

    def _news(self, about: str, said: str, more: str = "", *, quietly: bool = False) -> None:
        """Print what is new about something; `more` alone is no news."""
        if self._said.get(about, "") == said:
            return
        self._said[about] = said
        if not quietly:
            click.echo(f"{datetime.now(UTC):%H:%M:%SZ}  {said}{more}")
