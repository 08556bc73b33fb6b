"""Looks at a run again and again until it has ended, and shows each look."""

import time
from typing import Protocol, Self

from hack.cluster.process import ClusterError
from hack.demo.kubectl import Kubectl
from hack.demo.run import Run, read
from hack.demo.settings import NAMESPACE, POLL, REPORT_PATIENCE, SILENCE
from hack.demo.timeline import Timeline
from hack.demo.users import Scene, Users


class Display(Protocol):
    """What a run is shown on."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(self, *_: object) -> None:
        """Leave the last picture standing."""

    def show(self, run: Run, timeline: Timeline, scene: Scene) -> None:
        """A new look."""

    def silence(self, seconds: float) -> None:
        """The API server has not answered for so long; 0 when it does again."""


def follow(kubectl: Kubectl, name: str, display: Display, users: Users) -> tuple[Run, Timeline]:
    """Show the run until it ends and its report is written; the last look, and how long each phase took.

    Users are told of each look: they come when there is a model to meet.

    Raises:
        ClusterError: the run was deleted, or the API server has not answered for long.
    """
    timeline = Timeline()
    answered = time.monotonic()
    ended: float | None = None
    with display:
        while True:
            try:
                found = kubectl.find("finetunerun", name)
            except ClusterError:
                silent = time.monotonic() - answered
                if silent > SILENCE:
                    raise
                display.silence(silent)
                time.sleep(POLL)
                continue
            answered = time.monotonic()
            if found is None:
                raise ClusterError(f"FineTuneRun {name} in {NAMESPACE} was deleted")
            run = read(found)
            timeline.look(run)
            display.silence(0)
            display.show(run, timeline, users.look(run))
            if run.phase.is_terminal and ended is None:
                ended = answered
            if run.complete or (ended is not None and answered - ended > REPORT_PATIENCE):
                return run, timeline
            time.sleep(POLL / 2 if run.phase in run.stages else POLL)
