"""The prompted model is asked the gold questions: once each, politely, and without harm from what it answers."""

from __future__ import annotations

import asyncio
import io
import json
import os
import re
import signal
import socket
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.unit.trainer.fakes import run_config
from tests.unit.trainer.prompted_model import CREDENTIALS, GOLD, KEY, Waits, completion, measure, serve

from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import InputError, StoreError
from retune_trainer import baseline, log
from retune_trainer.baseline import Patience
from retune_trainer.baseline.ask import wait_of
from retune_trainer.baseline.reply import MAX_BODY
from retune_trainer.data import Example
from retune_trainer.errors import InterruptedByOrderError
from retune_trainer.stop import Stop

URL = "spec.gates.baseline.endpoint.url"


class TestAModelThatAnswers:
    def test_every_gold_example_is_asked_once_and_scored(self, tmp_path):
        def three_wrong(request):
            if request.question in {"question 1", "question 4", "question 7"}:
                request.reply("no idea", usage={"prompt_tokens": 7, "completion_tokens": 3})
            else:
                request.reply_right()

        with serve(three_wrong) as model:
            found = measure(model.url, tmp_path)
        assert Counter(request.question for request in model.requests) == Counter(e.prompt for e in GOLD)
        assert found.numbers.pop("seconds") > 0
        assert found.numbers == {"score": 0.7, "n": 10, "failed": 0, "promptTokens": 70, "completionTokens": 30}
        assert found.note == ""

    def test_what_is_sent(self, tmp_path):
        gold = [Example("q", "x" * 100)]
        with serve(lambda request: request.reply("a")) as model:
            measure(f"{model.url}/?api-version=3", tmp_path, gold=gold)
        request = model.requests[0]
        assert request.path == "/v1/chat/completions?api-version=3"
        assert request.headers["Authorization"] == f"Bearer {KEY}"
        assert request.headers["Accept-Encoding"] == "identity"
        assert request.body["messages"] == [{"role": "user", "content": "q"}]
        assert (request.body["model"], request.body["temperature"], request.body["stream"]) == ("prompted", 0, False)
        assert 25 <= request.body["max_tokens"] <= 100

    def test_the_key_may_also_be_called_api_key(self, tmp_path):
        keys = {Role.BASELINE: Credentials({"API_KEY": "another-key"})}
        with serve(lambda request: request.reply_right()) as model:
            measure(model.url, tmp_path, credentials=keys)
        assert model.requests[0].headers["Authorization"] == "Bearer another-key"

    def test_without_a_secret_no_key_is_sent_even_if_there_is_one(self, tmp_path):
        with serve(lambda request: request.reply_right()) as model:
            measure(model.url, tmp_path, secret=None)
        assert "Authorization" not in model.requests[0].headers

    def test_short_answers_still_get_room(self, tmp_path):
        with serve(lambda request: request.reply("a")) as model:
            measure(model.url, tmp_path, gold=[Example("q", "a")])
        assert model.requests[0].body["max_tokens"] >= 16

    def test_a_conversation_is_asked_as_it_is(self, tmp_path):
        turns = (("system", "Be brief."), ("user", "2 + 2?"))
        with serve(lambda request: request.reply("4")) as model:
            found = measure(model.url, tmp_path, gold=[Example("Be brief.\n2 + 2?", "4", turns)])
        assert model.requests[0].body["messages"] == [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "2 + 2?"},
        ]
        assert found.numbers["score"] == 1

    def test_a_plain_text_is_asked_by_its_first_half(self, tmp_path):
        with serve(lambda request: request.reply(" three four")) as model:
            found = measure(model.url, tmp_path, gold=[Example("", "one two three four")])
        assert model.requests[0].question == "one two"
        assert found.numbers["score"] == 1

    def test_text_that_is_no_unicode_can_be_asked(self, tmp_path):
        with serve(lambda request: request.reply("a")) as model:
            found = measure(model.url, tmp_path, gold=[Example("half a \ud83d", "a")])
        assert found.numbers["score"] == 1

    def test_eight_questions_at_once_and_never_more(self, tmp_path):
        # Each request waits until eight are there: fewer at once would break the barrier, more would show in the peak.
        together, lock, now, peak = threading.Barrier(8, timeout=10), threading.Lock(), 0, 0

        def behave(request):
            nonlocal now, peak
            with lock:
                now += 1
                peak = max(peak, now)
            together.wait()
            with lock:
                now -= 1
            request.reply_right()

        with serve(behave) as model:
            found = measure(model.url, tmp_path, gold=[Example(f"question {n}", f"answer {n}") for n in range(32)])
        assert (peak, found.numbers["score"]) == (8, 1)

    def test_proxies_of_the_environment_are_not_used(self, tmp_path, monkeypatch):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        with serve(lambda request: request.reply_right()) as model:
            assert measure(model.url, tmp_path).numbers["n"] == 10


class TestWhatTheNumbersSay:
    @pytest.mark.parametrize(("price", "cost"), [("2.5", 0.025), (3, 0.03)])
    def test_the_cost_is_that_of_so_many_requests(self, tmp_path, price, cost):
        payback = {"monthlyRequests": 10, "baselineCostPer1k": price, "tunedCostPer1k": "1"}
        with serve(lambda request: request.reply_right()) as model:
            found = measure(model.url, tmp_path, payback=payback)
        assert found.numbers["cost"] == pytest.approx(cost)

    @pytest.mark.parametrize(
        "usage", [None, {}, {"prompt_tokens": "7"}, {"prompt_tokens": 7}, [7], {"prompt_tokens": -1}]
    )
    def test_tokens_that_are_not_counted_are_left_out_and_noted(self, tmp_path, usage):
        with serve(lambda request: request.reply("answer", usage=usage)) as model:
            found = measure(model.url, tmp_path)
        assert {"promptTokens", "completionTokens"}.isdisjoint(found.numbers)
        assert "did not count tokens" in found.note

    def test_a_metric_that_needs_likelihoods_is_not_measured_and_nothing_is_asked(self, tmp_path):
        with serve(lambda request: request.reply_right()) as model:
            found = measure(model.url, tmp_path, metric="Perplexity")
        assert (found.numbers, model.requests) == ({}, [])
        assert "no Perplexity" in found.note

    def test_top3_counts_the_only_answer_and_says_so(self, tmp_path):
        with serve(lambda request: request.reply_right()) as model:
            found = measure(model.url, tmp_path, metric="Top3")
        assert found.numbers["score"] == 1
        assert "Top3 counts that one only" in found.note

    def test_answers_that_were_cut_are_noted(self, tmp_path):
        with serve(lambda request: request.reply("answer and much more", finish="length")) as model:
            assert "10 answers were cut at" in measure(model.url, tmp_path).note

    def test_an_empty_answer_is_an_answer(self, tmp_path):
        with serve(lambda request: request.reply("")) as model:
            found = measure(model.url, tmp_path)
        assert (found.numbers["score"], found.numbers["n"]) == (0, 10)

    def test_a_few_questions_without_an_answer_are_left_out_of_the_score(self, tmp_path):
        def one_is_too_long(request):
            if request.question == "question 3":
                request.answer(400, b'{"error": {"message": "context length exceeded"}}')
            else:
                request.reply_right()

        gold = [Example(f"question {n}", f"answer {n}") for n in range(20)]
        with serve(one_is_too_long) as model:
            found = measure(model.url, tmp_path, gold=gold)
        assert (found.numbers["score"], found.numbers["n"], found.numbers["failed"]) == (1, 19, 1)
        assert "1 questions had no answer" in found.note

    def test_a_mistake_costs_what_its_example_weighs(self, tmp_path):
        gold = [Example("a", "yes", weight=3.0), Example("b", "yes", weight=1.0)]
        with serve(lambda request: request.reply("yes" if request.question == "a" else "no")) as model:
            found = measure(model.url, tmp_path, gold=gold)
        assert found.numbers["score"] == 0.75

    def test_json_must_meet_the_schema_that_the_spec_gives(self, tmp_path):
        wanted = {"type": "object", "required": ["team"]}
        evaluation = {"metrics": [{"name": "JsonValid", "schema": wanted}], "acceptance": {"metric": "JsonValid"}}
        gold = [Example("a", '{"team": 1}'), Example("b", '{"team": 2}')]
        answers = {"a": '{"team": "billing"}', "b": '{"other": 1}'}
        with serve(lambda request: request.reply(answers[request.question])) as model:
            found = measure(model.url, tmp_path, gold=gold, metric="JsonValid", evaluation=evaluation)
        assert found.numbers["score"] == 0.5


class TestABusyModel:
    @pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
    def test_it_is_asked_again(self, tmp_path, status):
        def busy_at_first(request):
            if request.number == 0:
                request.answer(status, b"busy")
            else:
                request.reply_right()

        waits = Waits()
        with serve(busy_at_first) as model:
            found = measure(model.url, tmp_path, patience=Patience(sleep=waits))
        assert (found.numbers["n"], len(model.requests), waits) == (10, 11, [1])

    def test_it_says_itself_how_long_to_wait(self, tmp_path):
        def busy_twice(request):
            if request.number == 0:
                request.answer(429, b"{}", Retry_After="17")
            elif request.number == 1:
                request.answer(429, b"{}", Retry_After="99999999")
            else:
                request.reply_right()

        waits = Waits()
        with serve(busy_twice) as model:
            found = measure(model.url, tmp_path, gold=GOLD[:1], patience=Patience(sleep=waits))
        assert (found.numbers["score"], waits) == (1, [17, 60])

    def test_waits_double_unless_a_number_or_a_date_says_otherwise(self):
        assert [wait_of(None, attempt, 60) for attempt in range(7)] == [1, 2, 4, 8, 16, 32, 60]
        soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        assert 25 <= wait_of(soon, 0, 60) <= 30
        assert wait_of("Sun, 06 Nov 1994 08:49:37 GMT", 0, 60) == 0
        assert wait_of("0", 3, 60) == 0
        for nonsense in ("soon", "-5", "", "1e9", "²", "Sun, 99 Nov 1994 08:49:37 GMT"):
            assert wait_of(nonsense, 2, 60) == 4

    def test_one_that_stays_busy_ends_the_attempt_and_may_be_tried_again(self, tmp_path):
        with serve(lambda request: request.answer(500, b"out of order")) as model, pytest.raises(StoreError) as caught:
            measure(model.url, tmp_path)
        assert (caught.value.exit_code, caught.value.field) == (65, URL)
        assert "answered 500: out of order, also when asked 6 times" in caught.value.message
        assert Counter(request.question for request in model.requests).most_common(1)[0][1] == 6

    def test_it_is_not_asked_to_the_end_when_there_is_no_hope(self, tmp_path):
        gold = [Example(f"question {n}", "a") for n in range(400)]
        with serve(lambda request: request.answer(503, b"")) as model, pytest.raises(StoreError):
            measure(model.url, tmp_path, gold=gold, patience=Patience(tries=1, sleep=Waits()))
        # 5 % are 20; the 21st ends it, with at most the other seven under way.
        assert 21 <= len(model.requests) <= 28

    def test_a_response_that_breaks_off_is_asked_for_again(self, tmp_path):
        def break_off_at_first(request):
            if request.number == 0:
                request.answer(200, completion("answer 0")[:20], length=500)
                request.hang_up()
            else:
                request.reply_right()

        with serve(break_off_at_first) as model:
            assert measure(model.url, tmp_path).numbers["n"] == 10

    def test_one_that_never_answers_is_given_up(self, tmp_path):
        with serve(lambda request: model.over.wait(30)) as model, pytest.raises(StoreError) as caught:
            measure(model.url, tmp_path, patience=Patience(tries=2, request=0.05, sleep=Waits()))
        assert "did not answer within 0.05 s, also when asked 2 times" in caught.value.message

    def test_a_trickle_is_no_way_around_the_limit_of_a_request(self, tmp_path):
        def trickle(request):
            request.answer(200, b"", length=-1)
            while not model.over.wait(0.005):
                try:
                    request._handler.wfile.write(b" ")
                except OSError:
                    return

        with serve(trickle) as model, pytest.raises(StoreError, match="did not answer within"):
            measure(model.url, tmp_path, gold=GOLD[:1], patience=Patience(tries=1, request=0.1, sleep=Waits()))

    def test_the_whole_takes_no_longer_than_it_may(self, tmp_path):
        def only_the_first(request):
            if request.number == 0:
                request.reply_right()
            else:
                model.over.wait(30)

        with serve(only_the_first) as model, pytest.raises(StoreError) as caught:
            measure(model.url, tmp_path, patience=Patience(total=0.5, sleep=Waits()))
        assert re.search("had answered [01] of 10 questions after 0.5 s", caught.value.message)
        assert "spec.evaluation.maxExamples" in caught.value.message

    def test_nobody_listens(self, tmp_path):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
        with pytest.raises(StoreError) as caught:
            measure(url, tmp_path)
        assert f"{url}/chat/completions could not be reached (ConnectError" in caught.value.message


def invalid(behave, tmp_path, **spec):
    with serve(behave) as model, pytest.raises(InputError) as caught:
        measure(model.url, tmp_path, **spec)
    assert (caught.value.exit_code, caught.value.reason, caught.value.field) == (64, "EndpointInvalid", URL)
    assert "/v1/chat/completions " in caught.value.message
    assert f"check {URL} " in caught.value.message
    assert len(model.requests) <= 8, "an endpoint that is none is not asked on"
    return caught.value.message


class TestAnEndpointThatIsNone:
    @pytest.mark.parametrize("status", [200, 404])
    def test_a_web_page(self, tmp_path, status):
        page = b"\n<!doctype html><html><title>Log in</title>"
        message = invalid(lambda request: request.answer(status, page, Content_Type="text/html"), tmp_path)
        assert ("text/html" if status == 200 else "404: a web page") in message
        assert "doctype" not in message

    def test_an_unknown_model_is_told_in_the_endpoints_words(self, tmp_path):
        body = b'{"error": {"message": "The model `prompted` does not exist.", "type": "NotFoundError"}}'
        message = invalid(lambda request: request.answer(404, body), tmp_path)
        assert "answered 404: The model `prompted` does not exist.; check" in message

    def test_truncated_json(self, tmp_path):
        message = invalid(lambda request: request.answer(200, completion("answer")[:-5]), tmp_path)
        assert "is not JSON" in message

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"null",
            b"[]",
            b"7",
            b"{}",
            b'"text"',
            b'{"choices": []}',
            b'{"choices": {}}',
            b'{"choices": [7]}',
            b'{"choices": [{"text": "a completion of the older kind"}]}',
            b'{"choices": [{"message": "text"}]}',
            b'{"error": {"message": "no"}}',
            b"[" * 100_000,
            b'{"n": ' + b"9" * 10_000 + b"}",
            b"\xff\xfe\x00",
        ],
    )
    def test_anything_but_a_chat_completion(self, tmp_path, body):
        message = invalid(lambda request: request.answer(200, body), tmp_path)
        assert "older kind" not in message, "what a model answered to a gold example is not shown"

    def test_a_body_without_an_end_is_left_early(self, tmp_path):
        let_through = []

        def endless(request):
            request.answer(200, b"", length=-1)
            request.hang_up()
            let_through.append(request.go_on_for_ever(b"<html>" * 10_000))
            done.set()

        done = threading.Event()
        message = invalid(endless, tmp_path, gold=GOLD[:1])
        assert done.wait(10), "the connection is closed"
        assert "more than 1 MiB" in message
        # What the kernel buffers on the way is more than was read.
        assert MAX_BODY <= let_through[0] < 64 << 20

    def test_an_announced_gigabyte_is_not_waited_for(self, tmp_path):
        def huge(request):
            request.answer(200, b" ", length=1 << 30)
            request.go_on_for_ever(b" " * 65536)

        assert "more than 1 MiB" in invalid(huge, tmp_path, gold=GOLD[:1])

    def test_a_redirect_is_not_followed(self, tmp_path):
        target = "http://169.254.169.254/latest/meta-data/?token=x"
        message = invalid(lambda request: request.answer(307, b"", Location=target), tmp_path)
        assert "redirects (307) to http://169.254.169.254/latest/meta-data/, which is not followed" in message

    def test_more_than_a_few_refused_questions(self, tmp_path):
        body = b'{"error": {"message": "temperature is not supported with this model"}}'
        message = invalid(lambda request: request.answer(400, body), tmp_path)
        assert "answered 400: temperature is not supported with this model" in message

    def test_a_refusal_that_quotes_the_question_is_not_shown(self, tmp_path):
        def quote(request):
            detail = [{"type": "missing", "msg": "Field required", "input": request.body}]
            request.answer(422, json.dumps({"detail": detail}).encode())

        message = invalid(quote, tmp_path)
        assert "answered 422: Field required" in message
        assert "question" not in message.partition("(")[0]

    def test_a_model_that_only_thought_has_given_no_answer(self, tmp_path):
        for text in (None, ""):
            message = invalid(lambda request, text=text: request.reply(text, finish="length"), tmp_path)
            assert "thinks before it answers" in message

    def test_an_error_is_shown_in_one_short_line(self, tmp_path):
        body = b'{"message": "' + b"much\\n\\u001b[31m " * 100 + b'"}'
        message = invalid(lambda request: request.answer(405, body), tmp_path)
        assert message.isprintable()
        assert len(message) < 500

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://host/v1",
            "host:8000",
            "http://0251.0376.0251.0376/v1",
            "/v1",
            "",
            "http://",
            "http://[::1",
            "file:///etc/passwd",
        ],
    )
    def test_an_address_that_is_none(self, tmp_path, url):
        with pytest.raises(InputError) as caught:
            measure(url, tmp_path)
        assert (caught.value.reason, caught.value.field) == ("EndpointInvalid", URL)
        assert "http://gateway:8000/v1" in caught.value.message


class TestKeys:
    @pytest.mark.parametrize("status", [401, 403])
    def test_a_rejected_key_names_the_secret(self, tmp_path, status):
        body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}"}}).encode()
        with serve(lambda request: request.answer(status, body)) as model, pytest.raises(InputError) as caught:
            measure(model.url, tmp_path)
        field = "spec.gates.baseline.endpoint.secretRef"
        assert (caught.value.reason, caught.value.field) == ("CredentialsRejected", field)
        assert "Secret 'model-key'" in caught.value.message
        assert f"answered {status}: Incorrect API key provided: [hidden]" in caught.value.message
        assert KEY not in caught.value.message

    def test_without_a_secret_the_cure_is_to_name_one(self, tmp_path):
        with serve(lambda request: request.answer(401, b"")) as model, pytest.raises(InputError) as caught:
            measure(model.url, tmp_path, secret=None)
        assert caught.value.message.endswith("name a Secret in spec.gates.baseline.endpoint.secretRef")

    @pytest.mark.parametrize("keys", [{}, {"HF_TOKEN": "x"}, {"API_KEY": "two\nlines"}, {"API_KEY": "schlüssel"}])
    def test_a_secret_without_a_usable_key_is_named_before_anything_is_sent(self, tmp_path, keys):
        credentials = {Role.BASELINE: Credentials(keys)}
        with serve(lambda request: request.reply_right()) as model, pytest.raises(InputError) as caught:
            measure(model.url, tmp_path, credentials=credentials)
        assert (caught.value.reason, model.requests) == ("CredentialsRejected", [])
        assert not any(value in caught.value.message for value in keys.values() if value != "x")

    def test_a_password_in_the_url_is_refused_and_not_shown(self, tmp_path):
        with pytest.raises(InputError, match="belong into a Secret") as caught:
            measure("http://user:hunter2@host/v1", tmp_path)
        assert "hunter2" not in caught.value.message

    def test_a_key_cut_in_two_by_the_excerpts_end_is_hidden(self, tmp_path):
        body = b"x" * 190 + KEY.encode()
        with serve(lambda request: request.answer(403, body)) as model, pytest.raises(InputError) as caught:
            measure(model.url, tmp_path)
        assert KEY[:6] not in caught.value.message

    def test_neither_key_nor_query_nor_question_is_logged(self, tmp_path):
        stream = io.StringIO()
        # No scrubber: what is not written needs none.
        log.set_up(Scrubber(), stream)
        with serve(lambda request: request.reply_right()) as model:
            measure(f"{model.url}?sig=signature", tmp_path)
        written = stream.getvalue()
        assert "asking the prompted model" in written
        assert not any(secret in written for secret in (KEY, "signature", "question 1"))


class TestAGateThatOnlyWarns:
    @pytest.mark.parametrize(
        ("status", "body"), [(401, b"who?"), (404, b"<html>"), (500, b"broken"), (400, b"no"), (200, b"nonsense")]
    )
    def test_an_endpoint_that_cannot_be_asked_becomes_a_note(self, tmp_path, status, body):
        with serve(lambda request: request.answer(status, body)) as model:
            found = measure(model.url, tmp_path, mode="Warn")
        assert found.numbers == {}
        assert found.note.startswith(f"Not measured: {model.url}/chat/completions ")
        assert len(found.note) <= 300

    def test_so_does_a_template_or_an_address_that_is_wrong(self, tmp_path):
        assert "{{ prompt }}" in measure("http://host/v1", tmp_path, mode="Warn", promptTemplate="Answer!").note
        assert "not of http" in measure("ftp://host/v1", tmp_path, mode="Warn").note

    def test_a_model_that_answers_is_measured_as_ever(self, tmp_path):
        with serve(lambda request: request.reply_right()) as model:
            assert measure(model.url, tmp_path, mode="Warn").numbers["score"] == 1


def test_without_an_endpoint_nothing_is_measured_and_that_is_said(tmp_path):
    found = baseline.measure(run_config(), CREDENTIALS, GOLD, tmp_path, metric="Top1")
    assert found.numbers == {}
    assert "spec.gates.baseline.endpoint is not set" in found.note


@pytest.fixture
def stop():
    """SIGTERM as a pod has it."""
    before = signal.getsignal(signal.SIGTERM)
    stop = Stop()
    stop.install()
    yield stop
    signal.signal(signal.SIGTERM, before)


class TestAnOrderToStop:
    @pytest.mark.parametrize("mode", ["Enforce", "Warn"])
    def test_it_ends_the_asking_and_is_no_fault_of_the_endpoint(self, tmp_path, stop, mode):
        def stop_the_pod(request):
            os.kill(os.getpid(), signal.SIGTERM)
            model.over.wait(30)

        with serve(stop_the_pod) as model, pytest.raises(InterruptedByOrderError):
            measure(model.url, tmp_path, mode=mode, gold=GOLD[:1])

    def test_it_is_not_lost_when_the_event_loop_is_about_its_own_work(self, tmp_path, stop):
        async def resolve(host, port):
            # A handler that raised here would have the loop log the error and go on.
            asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
            return ["127.0.0.1"]

        with serve(lambda request: model.over.wait(30)) as model, pytest.raises(InterruptedByOrderError):
            measure(model.url, tmp_path, gold=GOLD[:1], resolve=resolve)

    def test_afterwards_it_is_handled_as_before(self, tmp_path, stop):
        with serve(lambda request: request.reply_right()) as model:
            measure(model.url, tmp_path)
        with pytest.raises(InterruptedByOrderError):
            signal.raise_signal(signal.SIGTERM)
