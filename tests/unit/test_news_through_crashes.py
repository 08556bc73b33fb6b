"""The whole way of a piece of news, with an operator that is killed at any write, and a real receiver.

Everything but the API server is the real thing: observer, decision, hands, notifier, Apprise, HTTP.
"""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from tests.unit import bank, make
from tests.unit.act.test_notify import Receiver

from retune.act.carry_out import Hands
from retune.act.channels import Channels
from retune.act.notify import Job, Notifier
from retune.main.handlers import JOB
from retune.main.queue import Key
from retune.main.reconcile import Reconciler
from retune.observe import facts as observing
from retune.observe.cache import Caches
from retune.observe.facts import Observer
from retune.observe.ledgers import Ledgers

KEY = Key(JOB, bank.NS, bank.NAME)


class World(bank.World):
    """A job whose news goes to a receiver, and operators that come and go."""

    notifier: Notifier | None = None

    def __init__(self, folder: Path, *notifications: dict[str, object]) -> None:
        self.folder, self.woken, self.crashes = folder, asyncio.Event(), 0
        super().__init__(make.written(notifications=list(notifications), triggers={"onChange": False}))

    def start(self) -> None:
        """A new process: of the old one nothing goes on."""
        if self.notifier is not None:
            self.task.cancel()
        self.notifier = Notifier(
            Channels(str(self.folder)), lambda *_: None, self.wake, waits=(0.01,) * 4, pause=0, limit=5
        )
        self.task = asyncio.create_task(self.notifier.run())
        self.caches = Caches.empty()
        self.watch()
        observer = Observer(self.caches, None, bank.POLICY, telling=self.notifier.telling)  # type: ignore[arg-type]
        ledgers = Ledgers(self.caches, self.bank, bank.HOME)  # type: ignore[arg-type]
        bank.drive(ledgers.load())
        hands = Hands(self.bank, self.caches, bank.HOME, notifier=self.notifier)  # type: ignore[arg-type]
        self.reconciler = Reconciler(None, observer, hands, ledgers, None)  # type: ignore[arg-type]

    def wake(self, _: Job | None) -> None:
        self.woken.set()

    def busy(self) -> bool:
        assert self.notifier is not None
        return any(outbox.waiting or outbox.under_way for outbox in self.notifier._outboxes.values())

    async def rest(self) -> None:
        """Reconcile until nothing is written and nothing is under way."""
        with mock.patch.object(observing, "_now", return_value=self.now):
            for _ in range(60):
                before = self.bank.versions
                self.watch()
                try:
                    await self.reconciler._job(KEY)
                except bank.Crash:
                    self.crashes += 1
                    self.start()
                    continue
                if self.busy():
                    self.woken.clear()
                    async with asyncio.timeout(20):
                        await self.woken.wait()
                elif self.bank.versions == before:
                    return
        raise AssertionError("it never comes to rest")

    def ends(self, phase: str) -> None:
        (run,) = self.runs()
        self._status(run, phase=phase, endedAt=self.now.strftime("%Y-%m-%dT%H:%M:%SZ"), reportUri="s3://models/r.html")


@pytest.fixture
def receivers(tmp_path: Path) -> Iterator[dict[str, Receiver]]:
    made = {"ops": Receiver(), "team": Receiver()}
    for name, receiver in made.items():
        (tmp_path / name).write_text(receiver.url)
    yield made
    for receiver in made.values():
        receiver.close()


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("fuse", range(6))
async def test_an_operator_killed_at_any_write_tells_everybody_and_hardly_anybody_twice(
    receivers: dict[str, Receiver], tmp_path: Path, fuse: int, late: bool
) -> None:
    world = World(tmp_path, *({"channel": name, "on": ["Failed", "Halted"]} for name in receivers))
    await world.rest()
    assert [r.got for r in receivers.values()] == [[], []]
    world.ends("Failed")
    world.bank.fuse, world.bank.late = fuse, late
    await world.rest()
    assert world.crashes or fuse > 2, "how many notes there are depends on which receiver answers first"
    for receiver in receivers.values():
        # Killed between the receiver's answer and the note of it, an operator cannot know that it was heard.
        assert 1 <= len(receiver.got) <= 1 + world.crashes
        assert {m["title"] for m in receiver.got} == {"support/triage: run 1 failed"}
    before = [len(receiver.got) for receiver in receivers.values()]
    for _ in range(3):
        world.start()
        await world.rest()
    assert [len(receiver.got) for receiver in receivers.values()] == before, "restarts tell nothing again"
    world.task.cancel()


async def test_a_restart_while_one_receiver_is_down_tells_the_other_one_nothing_again(
    receivers: dict[str, Receiver], tmp_path: Path
) -> None:
    world = World(tmp_path, *({"channel": name, "on": ["RolledBack"]} for name in receivers))
    await world.rest()
    receivers["team"].answers = ["hang"]
    world.ends("RolledBack")
    with mock.patch.object(observing, "_now", return_value=world.now):
        for _ in range(3):
            world.watch()
            await world.reconciler._job(KEY)
            if not receivers["ops"].got:
                world.woken.clear()
                async with asyncio.timeout(20):
                    await world.woken.wait()
    status = world.bank.objects["finetunejobs", bank.NS, bank.NAME]["status"]
    assert [entry.rsplit("/", 1)[1] for entry in status["told"] if "/RolledBack/" in entry] == ["ops"]
    world.start()
    receivers["team"].let_go.set()
    await world.rest()
    assert len(receivers["ops"].got) == 1
    assert receivers["team"].got
    world.task.cancel()


async def test_a_reconcile_never_waits_for_a_receiver(receivers: dict[str, Receiver], tmp_path: Path) -> None:
    world = World(tmp_path, {"channel": "ops", "on": ["RolledBack"]})
    await world.rest()
    receivers["ops"].answers = ["hang"]
    world.ends("RolledBack")
    world.watch()
    with mock.patch.object(observing, "_now", return_value=world.now):
        bank.drive(world.reconciler._job(KEY))  # it raises if anything is waited for
    assert world.busy()
    world.task.cancel()
