"""Messages reach a real receiver once, through everything that a receiver can do; and nobody waits for one."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.unit import make

from retune.act import notify
from retune.act.carry_out import Hands
from retune.act.channels import Channels
from retune.act.notify import Job, Notifier
from retune.api import NotificationEvent
from retune.decide.actions import Event, JobDecision, Tell
from retune.decide.facts import Meta
from retune.decide.news.told import Delivery, Told

META = Meta("support", "triage", "job-uid")
TOKEN = "s3cr3t-token-of-the-receiver"


class Receiver:
    """An HTTP server that does as it is told and remembers what it got."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.tries = 0
        self.answers: list[int | str] = []  # for the next tries: a status, or "hang"; then 200
        self.let_go = threading.Event()
        self.on_try: Callable[[], None] = lambda: None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                answer = receiver.answers.pop(0) if receiver.answers else 200
                receiver.tries += 1
                receiver.on_try()
                if answer == "hang":
                    receiver.let_go.wait(60)
                    answer = 200
                if answer == 200:
                    receiver.got.append(body)
                self.send_response(int(answer))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        """With room for a busy machine: how long anything takes is the matter of one test, which sets its own limit."""
        return f"json://127.0.0.1:{self.port}/{TOKEN}?cto=60&rto=60"

    def close(self) -> None:
        self.let_go.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class World:
    """A notifier over a folder of channels; its owner notes nothing, so outcomes stay to be looked at."""

    def __init__(self, folder: Path, **channels: str) -> None:
        self.folder, self.counted, self.woken = folder, [], []
        for name, text in channels.items():
            self.write(name, text)
        self.changed = asyncio.Event()
        self.notifier = Notifier(
            Channels(str(folder)), self.count, self.wake, waits=(0.01,) * 4, limit=60, pause=0, look=0.02
        )
        self.task = asyncio.create_task(self.notifier.run())

    def write(self, channel: str, text: str) -> None:
        (self.folder / channel).write_text(text)

    def count(self, channel: str, result: str, count: int = 1) -> None:
        self.counted += [(channel, result)] * count

    def wake(self, job: Job | None) -> None:
        self.woken.append(job)
        self.changed.set()

    def tell(self, *channels: str, number: int = 1, event: str = "Promoted", text: str = "text") -> None:
        told = Told(f"run/{event}/{number}", NotificationEvent(event), f"title {number}", text, f"link {number}")
        self.notifier.tell(META, Tell(told, channels))

    def outcomes(self) -> dict[tuple[str, str], str]:
        return {(d.key, d.channel): d.why for d in self.notifier.telling(META.uid).delivered}

    async def until(self, count: int) -> None:
        """Until so many outcomes are known."""
        async with asyncio.timeout(60):
            while len(self.outcomes()) < count:
                self.changed.clear()
                await self.changed.wait()

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_message_arrives_as_plain_text_and_once_however_often_it_is_asked_for(
    receiver: Receiver, tmp_path: Path
) -> None:
    world = World(tmp_path, ops=f"# the operations room\n\n{receiver.url}\n")
    for _ in range(3):
        world.tell("ops", text="*not* _marked_ up & 1 < 2")
    await world.until(1)
    world.tell("ops")  # a reconcile that came before the status was written
    await world.stop()
    (message,) = receiver.got
    assert (message["title"], message["message"]) == ("title 1", "*not* _marked_ up & 1 < 2\nlink 1")
    assert message["type"] == "success"
    assert world.outcomes() == {("run/Promoted/1", "ops"): ""}
    assert world.woken == [Job("support", "triage", "job-uid")]
    assert world.counted == [("ops", "sent")]


async def test_a_receivers_time_begins_when_apprise_is_loaded(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long that takes: on a busy node it is longer than a receiver may take."""
    order: list[str] = []
    loop, begun, loaded = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def load() -> None:
        loop.call_soon_threadsafe(begun.set)
        assert loaded.wait(60)
        order.append("loaded")

    def deliver(*_: str) -> bool:
        order.append("asked")
        return True

    monkeypatch.setattr(notify, "load", load)
    monkeypatch.setattr(notify, "deliver", deliver)
    world = World(tmp_path, ops=receiver.url)
    world.tell("ops")
    await begun.wait()  # the loop goes on while Apprise is being loaded
    loaded.set()
    await world.until(1)
    await world.stop()
    assert order == ["loaded", "asked"]
    assert world.counted == [("ops", "sent")]


async def test_what_was_noted_is_forgotten(receiver: Receiver, tmp_path: Path) -> None:
    world = World(tmp_path, ops=receiver.url)
    world.tell("ops")
    await world.until(1)
    world.notifier.noted("job-uid", world.notifier.telling("job-uid").delivered)
    assert world.outcomes() == {}
    await world.stop()


@pytest.mark.parametrize("answers", [[500], [500, 503, 404, 500]])
async def test_a_receiver_that_recovers_gets_the_message_once(
    receiver: Receiver, tmp_path: Path, answers: list[int | str]
) -> None:
    receiver.answers = list(answers)
    world = World(tmp_path, ops=receiver.url)
    world.tell("ops")
    await world.until(1)
    await world.stop()
    assert world.outcomes() == {("run/Promoted/1", "ops"): ""}
    assert len(receiver.got) == 1
    assert world.counted == [("ops", "failed")] * len(answers) + [("ops", "sent")]


async def test_after_five_tries_it_is_given_up_and_the_next_news_is_tried_anew(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [500] * 5
    world = World(tmp_path, ops=receiver.url)
    world.tell("ops", number=1)
    await world.until(1)
    assert receiver.tries == 5
    assert "did not take the message, in 5 tries" in world.outcomes()["run/Promoted/1", "ops"]
    assert world.counted[-1] == ("ops", "given-up")
    world.tell("ops", number=2)
    await world.until(2)
    await world.stop()
    assert [m["title"] for m in receiver.got] == ["title 2"]


async def test_a_receiver_that_is_down_holds_up_no_other_channel_and_is_found_when_it_comes_up(
    receiver: Receiver, tmp_path: Path
) -> None:
    world = World(tmp_path, dead=f"json://127.0.0.1:{free_port()}/{TOKEN}", ops=receiver.url)
    world.tell("dead", "ops")
    await world.until(2)
    outcomes = world.outcomes()
    assert outcomes["run/Promoted/1", "ops"] == ""
    assert "5 tries" in outcomes["run/Promoted/1", "dead"]
    world.write("dead", receiver.url)  # the administrator mends the Secret; nothing is restarted
    world.tell("dead", number=2)
    await world.until(3)
    await world.stop()
    assert [m["title"] for m in receiver.got] == ["title 1", "title 2"]


async def test_a_receiver_that_hangs_delays_no_reconcile_and_gets_no_second_thread(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = ["hang"]
    other = Receiver()
    world = World(tmp_path, slow=receiver.url, ops=other.url)
    world.notifier._limit = 0.05
    loop, longest = asyncio.get_running_loop(), 0.0
    for number in range(50):
        begun = loop.time()
        world.tell("slow", "ops", number=number)
        longest = max(longest, loop.time() - begun)
    assert longest < 0.05, "telling is putting into a queue"
    async with asyncio.timeout(60):
        while ("run/Promoted/0", "slow") not in world.outcomes():
            world.changed.clear()
            await world.changed.wait()
    assert "does not answer" in world.outcomes()["run/Promoted/0", "slow"]
    assert receiver.tries == 1
    assert other.got, "the other channel went on"
    assert sum(thread.name == "notify" for thread in threading.enumerate()) <= 2
    other.close()
    await world.stop()


async def test_of_two_receivers_of_a_channel_the_one_that_has_it_is_not_told_again(
    receiver: Receiver, tmp_path: Path
) -> None:
    other = Receiver()
    other.answers = [500, 500]
    world = World(tmp_path, ops=f"{receiver.url}\n{other.url}")
    world.tell("ops")
    await world.until(1)
    await world.stop()
    assert (len(receiver.got), receiver.tries) == (1, 1)
    assert (len(other.got), other.tries) == (1, 3)
    other.close()


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "nonsense", "unknown://somewhere"])
async def test_a_channel_that_leads_nowhere_is_given_up_with_the_reason(tmp_path: Path, text: str) -> None:
    world = World(tmp_path, ops=text)
    world.tell("ops")
    await world.until(1)
    await world.stop()
    (why,) = world.outcomes().values()
    assert "names no receiver" in why or "none that Apprise knows" in why
    assert "unknown://" not in why


async def test_channels_that_come_and_go_are_seen_without_a_restart(receiver: Receiver, tmp_path: Path) -> None:
    """As the kubelet writes a Secret: names are links into a folder that is exchanged as a whole."""
    first, second = tmp_path / "..first", tmp_path / "..second"
    for folder in (first, second):
        folder.mkdir()
        (folder / "ops").write_text(receiver.url)
    (second / "team").write_text(receiver.url)
    data = tmp_path / "..data"
    data.symlink_to(first)
    (tmp_path / "ops").symlink_to(data / "ops")
    world = World(tmp_path)
    assert world.notifier.telling("x").channels == {"ops"}
    await asyncio.sleep(0)  # it has looked once
    new = tmp_path / "..new"
    new.symlink_to(second)
    new.rename(data)
    (tmp_path / "team").symlink_to(data / "team")
    async with asyncio.timeout(5):
        await world.changed.wait()
    assert world.woken == [None], "all jobs: any may have waited for it"
    assert world.notifier.telling("x").channels == {"ops", "team"}
    await world.stop()


async def test_news_for_a_channel_that_vanishes_is_neither_sent_nor_given_up(
    receiver: Receiver, tmp_path: Path
) -> None:
    receiver.answers = [500]
    receiver.on_try = lambda: (tmp_path / "ops").unlink(missing_ok=True)
    world = World(tmp_path, ops=receiver.url)
    world.tell("ops")
    async with asyncio.timeout(60):
        while Job("support", "triage", "job-uid") not in world.woken:
            world.changed.clear()
            await world.changed.wait()
    assert world.outcomes() == {}
    receiver.on_try = lambda: None
    world.write("ops", receiver.url)
    world.tell("ops")
    await world.until(1)
    await world.stop()
    assert len(receiver.got) == 1


async def test_a_storm_comes_together_and_the_queue_has_an_end(
    receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "WAITING", 60)
    world = World(tmp_path, ops=receiver.url)
    for number in range(100):
        world.tell("ops", number=number, event="Failed", text="why " * 50)
    assert world.counted.count(("ops", "put-off")) == 40
    await world.until(60)
    assert len(receiver.got) <= 4
    assert all(len(m["message"]) <= notify.BODY for m in receiver.got)
    assert sum(m["message"].count("title") for m in receiver.got) == 60
    for number in range(100):  # the job was woken, and asks again for what its status does not have
        world.tell("ops", number=number, event="Failed")
    await world.until(100)
    await world.stop()
    assert world.counted.count(("ops", "sent")) == 100


def test_two_pieces_of_news_are_told_in_full_and_many_by_their_titles() -> None:
    def item(number: int, text: str) -> Any:
        told = Told(f"r/Failed/{number}", NotificationEvent.FAILED, f"title {number}", text, f"link {number}")
        return notify._Item(Job("a", "b", "c"), told)

    kind, title, body = notify.compose([item(1, "one"), item(2, "two")])
    assert (kind, title) == ("info", "Retune: 2 pieces of news")
    assert body == "title 1\none\nlink 1\n\ntitle 2\ntwo\nlink 2"
    _, _, body = notify.compose([item(n, "x" * 1000) for n in range(25)])
    assert body.splitlines() == [f"title {n}" for n in range(25)]
    many = [notify._Item(i.job, Told(i.told.key, i.told.event, "t" * 150, "", "")) for i in (item(1, ""),) * 25]
    _, _, body = notify.compose(many)
    assert len(body) <= notify.BODY
    assert body.splitlines()[-1] == f"and {25 - (len(body.splitlines()) - 1)} more"


@pytest.mark.parametrize("answer", [200, 500, "down", "nonsense"])
async def test_a_receivers_address_is_in_no_log_and_no_outcome(
    receiver: Receiver, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], answer: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.answers = [answer] * 5 if isinstance(answer, int) else []
    url = {"down": f"json://127.0.0.1:{free_port()}/{TOKEN}", "nonsense": f"no://{TOKEN}"}.get(answer, receiver.url)
    world = World(tmp_path, ops=url)
    world.tell("ops")
    await world.until(1)
    await world.stop()
    out = capfd.readouterr()
    seen = "".join((caplog.text, out.out, out.err, *world.outcomes().values(), *(repr(c) for c in world.counted)))
    assert TOKEN not in seen
    assert "127.0.0.1" not in seen


async def test_hands_put_news_into_the_queue_and_say_what_was_noted(receiver: Receiver, tmp_path: Path) -> None:
    """In a whole reconcile: the status first, then the queue; what became of it is forgotten once the status has it."""
    world = World(tmp_path, ops=receiver.url)
    told = Told("run/Failed/1", NotificationEvent.FAILED, "title", "text", "link")
    facts = make.job_facts()
    hands = Hands(None, None, notifier=world.notifier)  # type: ignore[arg-type]
    await hands.job(facts, JobDecision(facts.status, (Tell(told, ("ops",)),)))
    await world.until(1)
    sent = world.notifier.telling("job-uid")
    assert sent.delivered == (Delivery("run/Failed/1", "ops", NotificationEvent.FAILED),)
    assert sent.channels == {"ops"}
    object.__setattr__(facts, "telling", sent)
    await hands.job(facts, JobDecision(facts.status))
    assert world.outcomes() == {}
    await world.stop()


async def test_news_goes_out_although_the_write_after_it_is_refused(receiver: Receiver, tmp_path: Path) -> None:
    class Refuses:
        async def create(self, *_: Any) -> None:
            raise RuntimeError("no events today")

    world = World(tmp_path, ops=receiver.url)
    told = Told("run/RolledBack/1", NotificationEvent.ROLLED_BACK, "title", "text", "link")
    facts = make.job_facts()
    decision = JobDecision(facts.status, (Tell(told, ("ops",)),), (Event("Normal", "x", "y"),))
    with pytest.raises(RuntimeError):
        await Hands(Refuses(), None, notifier=world.notifier).job(facts, decision)  # type: ignore[arg-type]
    await world.until(1)
    await world.stop()
    assert receiver.got[0]["type"] == "failure"
