"""No credential leaves the process: not by its environment, its log, or its termination message."""

from __future__ import annotations

import io
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune_stores import credentials
from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import InputError
from retune_trainer import log, result


def environment():
    return {
        "PATH": "/bin",
        "RETUNE_ATTEMPT": "2",
        "RETUNE_TRAIN_AWS_ACCESS_KEY_ID": "train-key\n",
        "RETUNE_ARTIFACTS_AWS_SECRET_ACCESS_KEY": "artifact-secret",
        "RETUNE_ARTIFACTS_NOTE": "something else of the same Secret",
        "RETUNE_BASE_MODEL_HF_TOKEN": "hf_token_1234",
    }


def test_taking_credentials_empties_the_environment_of_them():
    environ = environment()
    taken = credentials.take(environ)
    assert environ == {"PATH": "/bin", "RETUNE_ATTEMPT": "2"}
    assert taken[Role.TRAIN].get("AWS_ACCESS_KEY_ID") == "train-key"
    assert taken[Role.ARTIFACTS].get("AWS_SECRET_ACCESS_KEY") == "artifact-secret"
    assert taken[Role.BASE_MODEL].get("HF_TOKEN") == "hf_token_1234"
    assert not taken[Role.GOLD]


def test_credentials_do_not_show_in_their_repr():
    assert "artifact-secret" not in repr(credentials.take(environment()))


secret = st.text(min_size=4, max_size=40).filter(lambda value: value.strip() == value)


@given(secret, st.text(), st.text())
def test_a_secret_never_survives_in_text(value, before, after):
    scrub = Scrubber([Credentials({"AWS_SECRET_ACCESS_KEY": value})])
    if value not in credentials.HIDDEN:
        assert value not in scrub.text(f"{before}\0{value}\0{after}").replace(credentials.HIDDEN, "")


def test_a_secret_in_a_url_is_hidden_in_its_quoted_form_too():
    scrub = Scrubber([Credentials({"HF_TOKEN": "a/b+c=="})])
    assert scrub.text("GET /?token=a%2Fb%2Bc%3D%3D") == "GET /?token=[hidden]"


def test_a_secret_that_contains_another_is_hidden_whole():
    scrub = Scrubber([Credentials({"HF_TOKEN": "abcd"}), Credentials({"AWS_SECRET_ACCESS_KEY": "abcdefgh"})])
    assert scrub.text("key abcdefgh") == "key [hidden]"


def test_a_password_in_an_endpoint_is_dropped_but_the_host_stays():
    assert Scrubber().text("http://user:pass@store:8333 is down") == "http://store:8333 is down"


def test_region_and_endpoint_are_no_secrets():
    scrub = Scrubber([Credentials({"AWS_REGION": "eu-central-1", "AWS_ENDPOINT_URL": "http://store:8333"})])
    assert scrub.text("http://store:8333 in eu-central-1") == "http://store:8333 in eu-central-1"


def test_the_log_hides_secrets_in_messages_fields_and_tracebacks():
    stream = io.StringIO()
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log.set_up(Scrubber([Credentials({"HF_TOKEN": "hf_token_1234"})]), stream)
        log.say("token hf_token_1234", detail={"a": ["hf_token_1234"]})
        error = RuntimeError("hf_token_1234 was refused")
        logging.getLogger("some.library").error("failed", exc_info=error)
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = before, level
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(lines) == 2
    assert lines[0]["detail"] == {"a": ["[hidden]"]}
    assert "RuntimeError: [hidden] was refused" in lines[1]["traceback"]
    assert "hf_token_1234" not in stream.getvalue()


def test_the_termination_message_hides_secrets(tmp_path):
    scrub = Scrubber([Credentials({"AWS_SECRET_ACCESS_KEY": "artifact-secret"})])
    end = InputError("CredentialsRejected", "spec.artifacts.secretRef", "the key artifact-secret is wrong")
    result.write(result.failed(end), scrub, {"RETUNE_TERMINATION_LOG": str(tmp_path / "log")})
    assert json.loads((tmp_path / "log").read_text()) == {
        "outcome": "Failed",
        "error": {
            "reason": "CredentialsRejected",
            "field": "spec.artifacts.secretRef",
            "message": "the key [hidden] is wrong",
        },
    }


def test_a_crash_is_told_in_its_own_words_without_a_traceback():
    told = result.crashed(ZeroDivisionError("division by zero"))
    assert told["error"] == {
        "reason": "TrainerCrashed",
        "field": None,
        "message": "ZeroDivisionError: division by zero",
    }


@given(
    st.text(max_size=6000),
    st.lists(st.tuples(st.text(max_size=60), st.integers(0, 10**6)), max_size=40),
)
def test_the_termination_message_always_fits_and_is_json(message, segments):
    told = {
        **result.failed(InputError("DatasetMalformed", "spec.dataset.train.uri", message)),
        "segments": [{"name": name, "n": n, "base": 0.123456, "candidate": 0.654321} for name, n in segments],
        "versions": {f"library{n}": "1.2.3" for n in range(20)},
    }
    rendered = result.render(told, Scrubber())
    assert len(rendered) <= 4000
    assert json.loads(rendered)["error"]["reason"] == "DatasetMalformed"


def test_of_too_many_segments_those_said_first_stay():
    segments = [{"name": f"s{n}", "n": n, "base": 0.0, "candidate": 0.0} for n in range(30)]
    told = json.loads(result.render(result.succeeded(segments=segments), Scrubber()))
    assert [s["n"] for s in told["segments"]] == list(range(20))


def measured(note_length):
    return result.succeeded(
        resolved={"gold": {"digest": "sha256:" + "0" * 64, "sketch": "A" * 344}},
        measured={
            "data": {f"number{n}": 0.123456 for n in range(32)},
            "privacy": {**{f"KIND_{n:020}": n + 1 for n in range(30)}, "rows": 9, "redacted": 0},
        },
        notes=dict.fromkeys(("data", "leakage", "privacy", "baseline"), "n" * note_length),
        versions={"trainer": "1", "python": "3"},
    )


def test_where_gates_and_notes_are_too_long_notes_are_cut_and_no_number():
    told = measured(450)
    kept = json.loads(result.render(told, Scrubber()))
    assert (kept["resolved"], kept["measured"]) == (told["resolved"], told["measured"])
    assert 0 < len(kept["notes"]["data"]) <= 450
    assert "versions" not in kept


def test_kinds_of_personal_data_are_cut_last_and_never_all():
    told = measured(0)
    told["resolved"]["more"] = "x" * 2000
    rendered = result.render(told, Scrubber())
    assert len(rendered) <= 4000
    kept = json.loads(rendered)
    assert (kept["resolved"], kept["measured"]["data"]) == (told["resolved"], told["measured"]["data"])
    kinds = [name for name in kept["measured"]["privacy"] if name.isupper()]
    assert kinds == [f"KIND_{n:020}" for n in range(30 - len(kinds), 30)]
    assert kinds


def test_the_keys_of_the_prompted_model_are_taken_and_hidden():
    environ = {
        "RETUNE_BASELINE_OPENAI_API_KEY": "sk-one-two",
        "RETUNE_BASELINE_API_KEY": "other-key",
        "RETUNE_GUARD_HF_TOKEN": "hf_guard",
    }
    taken = credentials.take(environ)
    assert environ == {}
    assert taken[Role.BASELINE].get("OPENAI_API_KEY") == "sk-one-two"
    assert Scrubber(taken.values()).text("sk-one-two other-key hf_guard") == "[hidden] [hidden] [hidden]"


@pytest.mark.parametrize("secret_key", credentials.SECRET_KEYS)
def test_every_kind_of_secret_is_hidden(secret_key):
    assert Scrubber([Credentials({secret_key: "very-secret"})]).text("very-secret") == "[hidden]"


def test_a_line_that_is_no_utf8_is_logged_and_never_printed_past_the_scrubber(capsys):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log.set_up(Scrubber([Credentials({"HF_TOKEN": "hf_secret"})]), stream)
        log.say("ended", detail="column \ud83d of hf_secret")
    finally:
        logging.captureWarnings(capture=False)
        root.handlers[:], root.level = before, level
    stream.flush()
    assert json.loads(stream.buffer.getvalue())["detail"] == "column ? of [hidden]"
    assert capsys.readouterr().err == ""
