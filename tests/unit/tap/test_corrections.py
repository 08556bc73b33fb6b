"""What users corrected becomes rows to train on: cleaned, bounded, off the answers' way, and only if asked."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.unit.tap.running import Running
from tests.unit.tap.s3_in_memory import bucket

from retune_stores.credentials import Credentials
from retune_tap import conversations, corrections, redact
from retune_tap.conversations import Conversations, turns_of
from retune_tap.peers import Peers
from retune_tap.serve import drain
from retune_trainer.data.formats import Converter, Format, choose
from retune_trainer.data.rows import Origin

URI = "s3://models/support/triage/corrections/"
TO = {"uri": URI, "entities": [], "most": 1000}
NAME = re.compile(r"support/triage/corrections/2026-09-21/pod-uid-(\d+)\.jsonl")


@pytest.fixture
def store():
    with bucket() as held:
        yield held


@pytest.fixture
async def collecting(tmp_path, store):
    async with Running(tmp_path) as tap:
        tap.tap.corrections._open = store.open
        await tap.serve(corrections=TO)
        yield tap


async def say(running: Running, **said: object) -> tuple[int, str | None]:
    async with running.http.post(f"{running.users}/v1/feedback", json=said) as reply:
        return reply.status, (await reply.json()).get("error", {}).get("param")


async def correct(running: Running, correction: str = "operations", user: str | None = None, **more: object) -> None:
    answer = (await running.ask(user, **more)).headers["x-retune-id"]
    assert await say(running, id=answer, correction=correction) == (202, None)


async def results(running: Running) -> dict[str, int]:
    async with running.http.get(f"{running.cluster}/metrics") as reply:
        found = re.findall(r'retune_tap_corrections_total\{result="(\w+)"\} (\d+)', await reply.text())
    return {name: int(number) for name, number in found if int(number)}


def rows(store) -> list[dict[str, object]]:
    return [json.loads(line) for key in sorted(store.objects) for line in store.objects[key].splitlines()]


def messages(*turns: tuple[str, object]) -> list[dict[str, object]]:
    return [{"role": role, "content": content} for role, content in turns]


class TestRows:
    async def test_a_correction_becomes_a_row_that_the_trainer_reads(self, collecting, store):
        asked = messages(("system", "Name the team."), ("user", "It\u2028crashed\nagain"))
        await correct(collecting, "operations", messages=asked)
        assert await collecting.tap.corrections.flush()
        assert rows(store) == [{"messages": [*asked, *messages(("assistant", "operations"))]}]
        [key] = store.objects
        assert NAME.fullmatch(key)[1] == "1"
        origin = Origin("train", URI)
        example = Converter(choose(["messages"], None, origin), origin)(1, rows(store)[0])
        assert choose(["messages"], None, origin) is Format.MESSAGES
        assert (example.messages, example.completion) == (
            (("system", "Name the team."), ("user", "It\u2028crashed\nagain")),
            "operations",
        )

    async def test_personal_data_leaves_the_pod_neither_of_the_question_nor_of_the_correction(self, collecting, store):
        asked = messages(
            ("user", "I am Anna Schmidt, call 212-555-0187"), ("assistant", "Mail?"), ("user", "a@example.com")
        )
        await correct(collecting, "Ask Anna Schmidt at 203.0.113.77 for 4111 1111 1111 1111", messages=asked)
        assert await collecting.tap.corrections.flush()
        assert [message["content"] for message in rows(store)[0]["messages"]] == [
            "I am <PERSON>, call <PHONE_NUMBER>",
            "Mail?",
            "<EMAIL_ADDRESS>",
            "Ask <PERSON> at <IP_ADDRESS> for <CREDIT_CARD>",
        ]

    async def test_only_the_kinds_that_the_job_names_are_taken_out(self, collecting, store):
        await collecting.serve(2, corrections={**TO, "entities": ["EMAIL_ADDRESS"]})
        await correct(collecting, "Anna Schmidt, a@example.com")
        assert await collecting.tap.corrections.flush()
        assert rows(store)[0]["messages"][-1]["content"] == "Anna Schmidt, <EMAIL_ADDRESS>"

    async def test_each_row_is_cleaned_by_the_rules_it_was_given_under(self, collecting, store, monkeypatch):
        monkeypatch.setattr(corrections, "MOST_OF_BATCH", 300)
        for generation, kind in ((2, "EMAIL_ADDRESS"), (3, "PERSON")):
            await collecting.serve(generation, corrections={**TO, "entities": [kind]})
            for _ in range(2):
                await correct(collecting, f"Anna Schmidt, a@example.com {'x' * 100}")
        assert await collecting.tap.corrections.flush()
        found = [row["messages"][-1]["content"].split(" x")[0] for row in rows(store)]
        assert found == ["Anna Schmidt, <EMAIL_ADDRESS>"] * 2 + ["<PERSON>, a@example.com"] * 2

    async def test_nothing_is_written_if_it_cannot_be_cleaned(self, collecting, store):
        await collecting.serve(2, corrections={**TO, "entities": ["EMAIL_ADDRESS", "SHOE_SIZE"]})
        await correct(collecting, "a@example.com")
        assert await collecting.tap.corrections.flush()
        assert (store.objects, store.asked) == ({}, 0)
        assert await results(collecting) == {"failed": 1}

    async def test_cleaning_that_takes_too_long_is_ended(self, collecting, store, monkeypatch):
        monkeypatch.setattr(redact, "SECONDS", 0.01)
        await correct(collecting)
        assert await collecting.tap.corrections.flush()
        assert (store.objects, await results(collecting)) == ({}, {"failed": 1})

    async def test_streams_and_verbatim_prompts_are_corrected_alike(self, collecting, store):
        reply = await collecting.ask("ann", stream=True)
        await reply.read()
        assert (await say(collecting, id=reply.headers["x-retune-id"], correction="ops"))[0] == 202
        body = {"model": "triage", "prompt": "The printer\n"}
        async with collecting.http.post(f"{collecting.users}/v1/completions", json=body) as reply:
            answer = reply.headers["x-retune-id"]
        assert (await say(collecting, id=answer, correction="office"))[0] == 202
        assert await collecting.tap.corrections.flush()
        assert [row["messages"] for row in rows(store)] == [
            messages(("user", "hello"), ("assistant", "ops")),
            messages(("user", "The printer\n"), ("assistant", "office")),
        ]


class TestOptIn:
    async def test_without_it_a_correction_is_an_override_and_no_text_is_kept(self, tmp_path, store):
        edges = [{"name": "overrides", "builtin": "Overrides", "window": 60.0}]
        async with Running(tmp_path) as running:
            running.tap.corrections._open = store.open
            await running.serve(weight=100, edges=edges)
            await correct(running, user="ann")
            assert running.tap.corrections.conversations.size == 0
            assert await running.tap.corrections.flush()
            running.later(61)
            assert await running.counts("overrides") == {"canary": (1, 1)}
            assert (store.asked, await results(running)) == (0, {})

    async def test_an_override_without_a_correction_is_counted_and_not_written(self, collecting, store):
        answer = (await collecting.ask("ann")).headers["x-retune-id"]
        assert (await say(collecting, id=answer, override=True, thumbs="down"))[0] == 202
        assert await collecting.tap.corrections.flush()
        assert (store.asked, await results(collecting)) == (0, {})

    async def test_probes_and_opt_outs_are_not_kept(self, collecting):
        await correct(collecting, user="ann", headers={"x-retune-stable": "1"})
        assert await results(collecting) == {"unusable": 1}

    @pytest.mark.parametrize(
        "wrong",
        [{"uri": ""}, {"uri": 3}, {"most": -1}, {"most": "many"}, {"entities": "PERSON"}, {"entities": [1]}],
    )
    async def test_a_malformed_document_is_refused(self, running, wrong):
        from tests.unit.tap.running import envelope, payload

        assert await running.push(envelope(payload(corrections={**TO, **wrong}))) == 400


class TestFeedback:
    @pytest.mark.parametrize("wrong", ["", " \n", 3, ["a"], {"text": "a"}, True, "x" * 32_769])
    async def test_a_correction_that_is_no_text_is_named(self, collecting, wrong):
        answer = (await collecting.ask("ann")).headers["x-retune-id"]
        assert await say(collecting, id=answer, correction=wrong) == (400, "correction")
        assert len(collecting.tap.corrections) == 0

    async def test_the_longest_that_is_taken_is_written_whole(self, collecting, store):
        await correct(collecting, "ä\ud83d" * 16_384)
        assert await collecting.tap.corrections.flush()
        assert rows(store)[0]["messages"][-1]["content"] == "ä\ud83d" * 16_384

    async def test_an_answer_is_corrected_once(self, collecting, store):
        answer = (await collecting.ask("ann")).headers["x-retune-id"]
        for text in ("first", "second"):
            assert (await say(collecting, id=answer, correction=text))[0] == 202
        assert await collecting.tap.corrections.flush()
        assert [row["messages"][-1]["content"] for row in rows(store)] == ["first"]
        assert await results(collecting) == {"written": 1, "unusable": 1}

    async def test_after_an_hour_what_was_asked_is_forgotten(self, collecting):
        answer = (await collecting.ask("ann")).headers["x-retune-id"]
        collecting.later(3601)
        assert collecting.tap.corrections.conversations.size == 0
        assert (await say(collecting, id=answer, correction="late"))[0] == 404

    async def test_one_person_gives_at_most_five_rows_a_minute(self, collecting, store):
        for _ in range(8):
            await correct(collecting, user="poisoner")
        assert await collecting.tap.corrections.flush()
        assert (len(rows(store)), await results(collecting)) == (5, {"written": 5, "unusable": 3})

    async def test_of_a_correction_that_comes_to_another_pod_only_the_one_that_answered_sees_the_text(
        self, tmp_path, store
    ):
        async with AsyncExitStack() as stack:
            taps = [await stack.enter_async_context(Running(tmp_path)) for _ in range(3)]
            named = ",".join(f"127.0.0.1:{tap.ports.cluster}" for tap in taps)
            heard: list[tuple[int, str | None]] = []
            for number, tap in enumerate(taps):
                tap.tap.peers = await stack.enter_async_context(Peers(replace(tap.tap.settings, peers=named)))
                tap.tap.corrections._open = store.open
                await tap.serve(corrections=TO)
                listen(tap, number, heard)
            answer = (await taps[0].ask("ann")).headers["x-retune-id"]
            assert (await say(taps[1], id=answer, correction="secret text"))[0] == 202
            assert await taps[0].tap.corrections.flush()
            assert [row["messages"][-1]["content"] for row in rows(store)] == ["secret text"]
            assert {number for number, text in heard if text} == {0, 1}


def listen(tap: Running, number: int, heard: list[tuple[int, str | None]]) -> None:
    """Note what a tap is told."""
    take = tap.tap.take

    def noting(said):
        heard.append((number, said.correction))
        return take(said)

    tap.tap.take = noting


class TestBounds:
    async def test_no_more_than_the_job_wants_are_written_by_all_pods_together(self, collecting, store):
        store.objects["support/triage/corrections/2026-09-20/other-pod-uid-6.jsonl"] = b""
        store.objects["support/triage/corrections/2026-09-20/other-pod-uid-4.jsonl"] = b""
        store.objects["support/triage/corrections/notes.txt"] = b"somebody's"
        await collecting.serve(2, corrections={**TO, "most": 8})
        for number in range(3):
            await correct(collecting, f"team {number}")
        assert await collecting.tap.corrections.flush()
        assert await results(collecting) == {"written": 2, "full": 1}
        await correct(collecting)
        assert await collecting.tap.corrections.flush()
        assert await results(collecting) == {"written": 2, "full": 2}

    async def test_a_pod_that_starts_anew_overwrites_nothing(self, tmp_path, store):
        for number in range(2):
            async with Running(tmp_path) as running:
                running.tap.corrections._open = store.open
                await running.serve(generation=number + 1, corrections=TO)
                await correct(running, f"team {number}")
                await correct(running, f"team {number}")
                assert await running.tap.corrections.flush()
        assert [NAME.fullmatch(key)[1] for key in sorted(store.objects)] == ["2", "4"]
        assert [row["messages"][-1]["content"] for row in rows(store)] == ["team 0", "team 0", "team 1", "team 1"]

    async def test_a_store_that_is_down_delays_no_answer_and_loses_nothing_until_too_much_waits(
        self, collecting, store, monkeypatch
    ):
        monkeypatch.setattr(corrections, "MOST_WAITING", 3)
        store.status = 403
        for number in range(5):
            await correct(collecting, f"team {number}")
        assert not await collecting.tap.corrections.flush()
        assert (await collecting.ask("ann")).status == 200
        assert len(collecting.tap.corrections) == 3
        store.status = 200
        assert await collecting.tap.corrections.flush()
        assert [row["messages"][-1]["content"] for row in rows(store)] == ["team 0", "team 1", "team 2"]
        assert await results(collecting) == {"written": 3, "dropped": 2}

    async def test_rows_that_wait_are_bounded_in_bytes(self, collecting, monkeypatch):
        monkeypatch.setattr(corrections, "MOST_BYTES", 40_000)
        for _ in range(3):
            await correct(collecting, "x" * 15_000)
        assert (len(collecting.tap.corrections), await results(collecting)) == (2, {"dropped": 1})

    async def test_a_hundred_rows_are_written_at_once_without_waiting_for_the_minute(
        self, collecting, store, monkeypatch
    ):
        monkeypatch.setattr(corrections, "BATCH", 4)
        flush, flushed = collecting.tap.corrections.flush, asyncio.Event()

        async def noting() -> bool:
            done = await flush()
            flushed.set()
            return done

        collecting.tap.corrections.flush = noting
        writing = asyncio.create_task(collecting.tap.corrections.run())
        for number in range(4):
            await correct(collecting, f"team {number}")
        await asyncio.wait_for(flushed.wait(), 30)
        writing.cancel()
        assert (len(rows(store)), len(store.objects)) == (4, 1)

    async def test_what_waits_is_written_when_the_tap_stops(self, collecting, store):
        await correct(collecting)
        await drain(collecting.tap, collecting.ports)
        assert len(rows(store)) == 1

    async def test_a_stop_does_not_wait_for_a_store_that_is_down(self, collecting, store):
        store.status = 403
        await correct(collecting)
        await asyncio.wait_for(drain(collecting.tap, collecting.ports), 20)
        assert store.objects == {}

    def test_conversations_are_bounded_each_and_together(self, monkeypatch):
        monkeypatch.setattr(conversations, "MOST_OF_ALL", 100_000)
        kept = Conversations()
        for number in range(50):
            kept.keep(f"a-{number}", "/v1/chat/completions", {"messages": messages(("user", "x" * 10_000))}, 0.0)
        kept.keep("long", "/v1/chat/completions", {"messages": messages(("user", "x" * 70_000))}, 0.0)
        assert kept.size <= 100_000
        assert kept.take("a-0") is None
        assert kept.take("long") is None
        assert kept.take("a-49") == (("user", "x" * 10_000),)


PARTS = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]


class TestConversations:
    @pytest.mark.parametrize(
        ("path", "body", "turns"),
        [
            ("/v1/chat/completions", {"messages": messages(("user", PARTS))}, (("user", "one\ntwo"),)),
            ("/v1/responses", {"input": "hi", "instructions": "Be short."}, (("system", "Be short."), ("user", "hi"))),
            (
                "/v1/messages",
                {"messages": messages(("user", "hi")), "system": [{"type": "text", "text": "Be short."}]},
                (("system", "Be short."), ("user", "hi")),
            ),
        ],
    )
    def test_every_way_to_ask_becomes_turns_of_text(self, path, body, turns):
        assert turns_of(path, body) == turns

    @pytest.mark.parametrize(
        "body",
        [
            {},
            {"messages": []},
            {"messages": "hi", "system": 3},
            {"messages": 3},
            {"messages": ["hi"]},
            {"messages": messages(("function", "hi"))},
            {"messages": messages((["user"], "hi"))},
            {"messages": messages(("user", None))},
            {"messages": messages(("user", []))},
            {"messages": messages(("user", [{"type": "image_url", "image_url": {"url": "data:"}}]))},
            {"messages": messages(("user", [{"type": ["text"], "text": "a"}]))},
            {"messages": [{"role": "assistant", "content": "", "tool_calls": [{}]}]},
            {"messages": messages(("user", "hi")) * 101},
            {"prompt": [1, 2, 3]},
            {"prompt": None},
        ],
    )
    def test_what_is_not_text_is_not_learned_from(self, body):
        assert turns_of("/v1/chat/completions", body) is None


async def test_the_process_that_cleans_is_told_nothing_of_the_environment(monkeypatch):
    seen = {}
    make = asyncio.create_subprocess_exec

    async def watched(*arguments, env, **more):
        seen.update(env)
        return await make(*arguments, env=env, **more)

    monkeypatch.setenv("RETUNE_ARTIFACTS_AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setattr(asyncio, "create_subprocess_exec", watched)
    assert await redact.redacted([b'{"messages":[]}'], ("EMAIL_ADDRESS",)) == [b'{"messages":[]}']
    assert set(seen) == {"PYTHONPATH", "PATH"}
    assert Credentials({"AWS_SECRET_ACCESS_KEY": "secret"}).get("AWS_SECRET_ACCESS_KEY") not in seen.values()
