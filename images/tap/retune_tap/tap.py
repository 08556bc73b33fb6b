"""The tap's parts, put together: documents come in, public models come of them, and a tick keeps time."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from contextlib import suppress

from retune_stores.base import Store
from retune_tap.arms import Adapters, Arm, ArmsError, Kind
from retune_tap.corrections import Corrections
from retune_tap.deadlines import Deadlines
from retune_tap.envelope import Desk
from retune_tap.feedback import Answers, Feedback
from retune_tap.loading import Loading
from retune_tap.metrics import Metrics
from retune_tap.peers import Peers
from retune_tap.served import Served
from retune_tap.settings import Settings
from retune_tap.shadow import Shadow
from retune_tap.upstream import Upstream

_LOG = logging.getLogger(__name__)
# In the folder of models, which outlives the container.
_KEPT = ".arms.json"


class Tap:
    """One tap. To be made within the event loop, and closed."""

    def __init__(
        self,
        settings: Settings,
        adapters: Adapters,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
        chance: random.Random,
        open_corrections: Callable[[str], Store] | None = None,
    ) -> None:
        """`clock` is monotonic, `wall` is Unix time, both in seconds; `chance` places requests without an id.

        `open_corrections` opens the folder that users' corrections are written to.
        """
        self.settings = settings
        self.clock, self.wall = clock, wall
        self.started_at = wall()
        self.models: dict[str, Served] = {}
        self.metrics = Metrics()
        self.desk = Desk(settings.arms_key, settings.namespace, settings.job, settings.job_uid)
        self.upstream = Upstream(settings)
        self.loading = Loading(adapters, self.upstream.unload, clock)
        self.shadow = Shadow(self.upstream, self.metrics, settings.shadow_time, self.loading.nudge)
        self.corrections = Corrections(open_corrections, self.metrics.corrections, settings.pod_uid, wall)
        self.draining = False
        # What the server was started with it has, as it has a base: nothing is to be loaded.
        own = Arm(Kind.BASE, settings.serves, digest=settings.digest)
        self._fixed = (settings.arm, own) if settings.arm else None
        self._deadlines = Deadlines()
        self.answers = Answers()
        self.peers = Peers(settings)
        self._chance = chance
        self._seen: tuple[int, int, int] | None = None

    @property
    def ready(self) -> bool:
        """Whether users may come: stable of every model can be served here."""
        stables = [served.usual[1] for served in self.models.values()]
        return bool(stables) and not self.draining and all(map(self.loading.ready, stables))

    def take_document(self, envelope: bytes) -> int:
        """Take an arms document; answers its generation.

        Raises:
            ArmsError: it is not taken, and why.
        """
        before = self.desk.current
        document = self.desk.take(envelope)
        if document is before:
            return document.generation
        for name, plan in document.models.items():
            if name in self.models:
                self.models[name].follow(plan)
            else:
                self.models[name] = Served(
                    name,
                    plan,
                    ready=self.loading.ready,
                    clock=self.clock,
                    wall=self.wall,
                    deadlines=self._deadlines,
                    metrics=self.metrics,
                    chance=self._chance,
                    fixed=self._fixed,
                )
        for name in self.models.keys() - document.models.keys():
            del self.models[name]
        if self._fixed:
            self.loading.want([self._fixed[1]], [])
        else:
            arms = [arm for plan in document.models.values() for arm in plan.adapters]
            self.loading.want(arms, list(document.models))
        self._keep(envelope)
        return document.generation

    def start(self) -> None:
        """Take the newer one of what this pod's last tap took and what is mounted.

        A mount follows its ConfigMap after a minute or so: alone it would give back a share that was taken away.
        """
        with suppress(OSError):
            kept = (self.settings.models / _KEPT).read_bytes()
            try:
                self.take_document(kept)
            except ArmsError as error:
                _LOG.warning("the arms document that was kept is not taken: %s", error)
        self.read_file()

    def _keep(self, envelope: bytes) -> None:
        draft = self.settings.models / f"{_KEPT}.part"
        try:
            draft.write_bytes(envelope)
            draft.replace(self.settings.models / _KEPT)
        except OSError as error:
            _LOG.warning("the arms document can't be kept for a restart: %s", error.strerror)

    def take(self, feedback: Feedback) -> bool:
        """Note what a user says of an answer; whether its id is known."""
        found = self.answers.said(feedback)
        if found is None:
            return False
        known, signals = found
        for signal in signals:
            self.metrics.feedback.labels(known.model, known.arm, signal).inc()
            if signal == "override":
                self.metrics.overrides.labels(known.model, known.arm).inc()
        served = self.models.get(known.model)
        if feedback.correction is not None and served and served.plan.corrections:
            self.corrections.add(served.plan.corrections, feedback.id, feedback.correction)
        return True

    def tick(self) -> None:
        """Do what is due: a few times a second."""
        now = self.clock()
        self._deadlines.run(now)
        self.answers.expire(now)
        self.corrections.conversations.expire(now)

    def read_file(self) -> None:
        """Take the mounted document if the file is another than at the last look. What is wrong with it is logged."""
        path = self.settings.arms_file
        try:
            stat = path.stat()
            seen = (stat.st_ino, stat.st_mtime_ns, stat.st_size)
            if seen == self._seen:
                return
            envelope = path.read_bytes()
        except OSError:
            return
        self._seen = seen
        try:
            self.take_document(envelope)
        except ArmsError as error:
            # The operator pushes first and the kubelet mounts later: an older one is no fault.
            if error.status != 409:
                _LOG.warning("the mounted arms document is not taken: %s", error)

    async def close(self) -> None:
        """Give up loading and copies, and close the connections."""
        await self.loading.stop()
        for task in list(self.shadow.tasks):
            task.cancel()
        await self.peers.close()
        await self.upstream.close()
