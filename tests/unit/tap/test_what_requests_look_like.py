"""Requests as numbers: bounded, the same in every process, telling kinds of request apart, and giving nothing back."""

from __future__ import annotations

import base64
import json
import math
import os
import random
import statistics
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.tap.running import STABLE, Running, envelope, payload

from retune_tap.features import SIZE, features
from retune_tap.sampling import KEPT, MOST_ANSWERED, Sample

CHAT = "/v1/chat/completions"
REST = {"candidate": None, "stage": "Idle", "stratum": "-", "weight": 0, "features": True}
OPENINGS = ("", "Hi, ", "Hello there, ", "Please help: ", "I wonder, ", "Good morning, ")
ENDINGS = ("", " Thanks!", " It is urgent.", " I have waited for days.", " What can I do?")
KNOWN = (
    "my card has not arrived yet, it was ordered {n} days ago",
    "why was I charged {n} euros twice for one payment",
    "how do I top up my account by bank transfer of {n}",
    "the exchange rate of my payment of {n} pounds is wrong",
    "my transfer of {n} to a friend is still pending",
)
NEW = (
    "can my daughter of {n} have an account of her own",
    "is there a minimum age to open an account, my son is {n}",
)


def texts(kinds: tuple[str, ...], number: int, seed: int) -> list[str]:
    chance = random.Random(seed)
    return [
        chance.choice(OPENINGS) + chance.choice(kinds).format(n=chance.randint(2, 90)) + chance.choice(ENDINGS)
        for _ in range(number)
    ]


def chat(text: object, *before: dict[str, object]) -> dict[str, object]:
    return {"messages": [*before, {"role": "user", "content": text}]}


def vector(body: dict[str, object], path: str = CHAT) -> list[int]:
    return [byte - 256 if byte > 127 else byte for byte in features(path, body)]


def furthest(one: list[str], other: list[str]) -> float:
    """The largest difference of means over the features, in its own standard errors."""

    def columns(of: list[str]) -> list[tuple[int, ...]]:
        return list(zip(*(vector(chat(text)) for text in of), strict=True))

    found = []
    for here, there in zip(columns(one), columns(other), strict=True):
        error = math.sqrt(statistics.variance(here) / len(here) + statistics.variance(there) / len(there))
        found.append(abs(statistics.fmean(here) - statistics.fmean(there)) / error if error else 0.0)
    return max(found)


async def rows(running: Running, query: str = "model=triage") -> dict[str, object]:
    async with running.http.get(f"{running.cluster}/v1/features?{query}") as reply:
        assert reply.status == 200
        return await reply.json()


class TestNumbers:
    def test_a_new_kind_of_request_is_told_from_the_known_ones_and_more_of_the_same_is_not(self):
        reference = texts(KNOWN, 600, seed=1)
        assert furthest(reference, texts(KNOWN, 600, seed=2)) < 4
        mixed = texts(KNOWN, 420, seed=3) + texts(NEW, 180, seed=4)
        assert furthest(reference, mixed) > 8

    def test_they_are_the_same_in_every_process(self):
        body = chat("Wo bleibt meine Karte? 我的卡 🙂 Straße", {"role": "system", "content": "Be short."})
        code = "import sys,json;from retune_tap.features import features;"
        code += f"sys.stdout.write(features({CHAT!r},json.load(sys.stdin)).hex())"
        for seed in ("1", "2"):
            environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
            command = [sys.executable, "-c", code]
            found = subprocess.check_output(command, input=json.dumps(body), env=environment, text=True)
            assert found == features(CHAT, body).hex()

    def test_lengths_and_signs_are_those_of_the_last_thing_the_user_said(self):
        found = vector(chat("abc 12", {"role": "user", "content": "x" * 999}, {"role": "assistant", "content": "y"}))
        assert found[:4] == [round(8 * math.log(7)), round(8 * math.log(3)), round(8 * math.log(4)), round(127 / 3)]

    @pytest.mark.parametrize(
        ("path", "body"),
        [
            (CHAT, chat([{"type": "text", "text": "where is my card"}])),
            ("/v1/completions", {"prompt": "where is my card"}),
            ("/v1/completions", {"prompt": ["where is my card"]}),
            ("/v1/responses", {"input": "where is my card"}),
            (
                "/v1/responses",
                {"input": [{"role": "user", "content": [{"type": "input_text", "text": "where is my card"}]}]},
            ),
            ("/v1/messages", {**chat("where is my card"), "system": "Be short."}),
        ],
    )
    def test_all_ways_to_ask_the_same_look_the_same(self, path, body):
        assert features(path, body) == features(CHAT, chat("Where is MY card"))

    def test_a_text_is_not_told_by_a_letter_case_and_is_by_the_order_of_its_words(self):
        assert vector(chat("card lost")) != vector(chat("lost card"))

    def test_a_text_of_ten_megabytes_is_read_at_its_beginning_and_quickly(self):
        beginning = "my card, number 12, is lost. " * 1000
        found = vector(chat(beginning + "x1 " * 3_500_000))
        assert found[4:] == vector(chat(beginning))[4:]
        assert found[0] == 127
        began = time.process_time()
        features(CHAT, chat("a,1 " * 2_500_000))
        features(CHAT, {"messages": [0] * 5_000_000})
        features(CHAT, chat([0] * 5_000_000))
        assert time.process_time() - began < 1

    anything = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["role", "content", "type", "text", "messages", "prompt", "input"]), inner
            )
            | st.builds(lambda content: {"role": "user", "content": content}, inner)
            | st.builds(lambda text: {"type": "text", "text": text}, inner)
        ),
        max_leaves=8,
    )

    @given(anything, st.sampled_from([CHAT, "/v1/completions", "/v1/responses", "/v1/messages"]))
    def test_no_body_is_too_odd(self, found, path):
        for key in ("messages", "prompt", "input"):
            assert len(features(path, {key: found})) == SIZE

    @given(st.text(alphabet=st.characters(), max_size=300))
    def test_any_writing_has_numbers(self, text):
        assert all(-127 <= number <= 127 for number in vector(chat(text)))

    def test_half_of_a_pair_of_surrogates_is_a_character_too(self):
        assert len(features(CHAT, chat("a\ud800b \udfff"))) == SIZE


class TestSample:
    def test_no_minute_has_more_than_120_rows_and_a_steady_stream_has_nearly_as_many(self):
        sample, at = Sample(0.0), []
        for number in range(60 * 60 * 5):
            now = number / 60
            if sample.wants(None, now):
                at.append(now)
        assert max(sum(start <= when < start + 60 for when in at) for start in range(240)) <= 120
        assert len(at) > 5 * 95
        assert sample.seen == 60 * 60 * 5

    def test_one_person_has_one_row_an_hour_however_often_they_ask(self):
        sample = Sample(0.0)
        wanted = [number for number in range(7200) if sample.wants("flooder", float(number))]
        assert wanted == [0, 3600]
        assert sample.wants("another", 7199.0)

    def test_who_keeps_flooding_takes_no_room_from_others(self):
        sample, others = Sample(0.0), 0
        for number in range(60_000):
            now = number / 100
            sample.wants("flooder", now)
            others += number % 100 == 0 and sample.wants(f"user-{number}", now)
        assert others == 600

    def test_memory_is_bounded_by_the_hour_and_the_ring(self):
        sample = Sample(0.0)
        for number in range(100_000):
            if sample.wants(f"user-{number}", number / 10):
                sample.look(CHAT, chat("hello"), number / 10)
        assert len(sample._rows) == KEPT
        assert len(sample._had) <= 120 * 60

    def test_numbers_go_on_after_a_restart_of_the_container(self):
        first = Sample(1_790_000_000.0)
        for _ in range(100):
            first.look(CHAT, chat("hello"), 0.0)
        cursor = first.since(0)["next"]
        second = Sample(1_790_000_050.0)
        second.look(CHAT, chat("hello"), 0.0)
        assert len(second.since(cursor)["rows"]) == 1

    def test_a_clock_that_goes_back_stops_nothing(self):
        sample = Sample(1000.0)
        assert sample.wants(None, 1000.0)
        assert sample.wants(None, 10.0)


class TestAnswer:
    async def test_rows_come_oldest_first_and_go_on_from_the_cursor(self, running):
        await running.serve(**REST)
        for number in range(3):
            await running.ask(f"user-{number}", messages=chat(f"question {number}")["messages"])
            running.later(1)
        found = await rows(running)
        assert {key: found[key] for key in ("pod", "podUid", "version", "seen")} == {
            "pod": "triage-0",
            "podUid": "pod-uid",
            "version": 1,
            "seen": 3,
        }
        assert (found["startedAt"], found["now"]) == (running.clock.now - 3, running.clock.now)
        numbers, at, encoded = zip(*found["rows"], strict=True)
        assert at == tuple(running.clock.now - 3 + number for number in range(3))
        assert [base64.b64decode(row) for row in encoded] == [features(CHAT, chat(f"question {n}")) for n in range(3)]
        assert list(numbers) == sorted(set(numbers))
        assert (await rows(running, f"model=triage&since={numbers[1]}"))["rows"] == found["rows"][1:]
        after = await rows(running, f"model=triage&since={found['next']}")
        assert (after["rows"], after["next"]) == ([], found["next"])
        await running.ask("late")
        assert len((await rows(running, f"model=triage&since={found['next']}"))["rows"]) == 1

    async def test_at_most_512_rows_come_at_once_and_nothing_is_skipped(self, running):
        await running.serve(**REST)
        sample = running.tap.models["triage"].sample
        for number in range(KEPT + 100):
            sample.look(CHAT, chat("hello"), float(number))
        seen, cursor = [], 0
        while page := (found := await rows(running, f"model=triage&since={cursor}"))["rows"]:
            assert len(page) <= MOST_ANSWERED
            seen += [at for _, at, _ in page]
            cursor = found["next"]
        assert seen == [float(number) for number in range(100, KEPT + 100)]

    async def test_nothing_is_looked_at_unless_the_document_says_so(self, running):
        await running.serve(**{**REST, "features": False})
        await running.ask("ann")
        assert (await rows(running))["rows"] == []
        assert (await rows(running))["seen"] == 0
        assert await running.push(envelope(payload(9, features="yes"))) == 400

    async def test_probes_opt_outs_the_cohort_and_copies_are_no_users_requests(self, running):
        shadow = {"stage": "Shadow", "weight": 0, "shadow": {"percent": 100}, "features": True}
        await running.serve(1, **shadow)
        await running.ask("ann")
        await running.ask("bob", headers={"x-retune-stable": "1"})
        pilot = {"stage": "Pilot", "weight": 0, "pilot": {"header": "x-group", "values": ["staff"]}, "features": True}
        await running.serve(2, **pilot)
        await running.ask("cyn", headers={"x-group": "staff"})
        found = await rows(running)
        assert (found["seen"], len(found["rows"])) == (1, 1)

    async def test_without_a_sticky_header_every_request_is_a_row(self, running):
        await running.serve(**REST)
        for _ in range(3):
            await running.ask()
        assert len((await rows(running))["rows"]) == 3

    async def test_neither_who_asked_nor_what_is_in_the_answer(self, running):
        await running.serve(**REST)
        await running.ask("ann@example.com", messages=chat("my card 4111 1111 1111 1111 is lost")["messages"])
        async with running.http.get(f"{running.cluster}/v1/features?model=triage") as reply:
            text = await reply.text()
        assert len(json.loads(text)["rows"]) == 1
        raw = b"".join(base64.b64decode(row) for *_, row in json.loads(text)["rows"])
        for secret in ("ann", "4111", "card", "lost"):
            assert secret not in text.replace("triage", "")
            assert secret.encode() not in raw

    async def test_a_request_whose_model_fails_is_a_row_too(self, running):
        from hack.images.standin.upstream import Behaviour

        await running.serve(**REST)
        running.upstream.behaviours[STABLE] = Behaviour(status=500)
        assert (await running.ask("ann")).status == 500
        assert len((await rows(running))["rows"]) == 1

    @pytest.mark.parametrize(
        ("query", "status"),
        [
            ("", 404),
            ("model=other", 404),
            ("model=triage&since=-1", 400),
            ("model=triage&since=1e3", 400),
            ("model=triage&since=" + "9" * 40, 400),
            ("model=triage&since=%D9%A1", 400),
        ],
    )
    async def test_what_is_asked_wrongly_is_named(self, running, query, status):
        await running.serve(**REST)
        async with running.http.get(f"{running.cluster}/v1/features?{query}") as reply:
            assert reply.status == status
            assert (await reply.json())["error"]["param"] == ("model" if status == 404 else "since")

    async def test_users_cannot_ask_for_it(self, running):
        await running.serve(**REST)
        async with running.http.get(f"{running.users}/v1/features?model=triage") as reply:
            assert reply.status == 404
