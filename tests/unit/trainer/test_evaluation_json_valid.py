"""JsonValid: what is JSON, what meets a schema, and that neither a schema nor an answer can do harm."""

from __future__ import annotations

import signal
import socket
import time

import pytest

from retune_stores.errors import InputError
from retune_trainer.metrics import json_valid
from retune_trainer.metrics.json_valid import JsonValid

TICKET = {
    "type": "object",
    "properties": {"team": {"enum": ["billing", "cards"]}, "urgent": {"type": "boolean"}},
    "required": ["team"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("answer", "valid"),
    [
        ('{"team": "billing"}', 1),
        (' {"team": "cards", "urgent": true}\n', 1),
        ('{"team": "sales"}', 0),
        ('{"urgent": true}', 0),
        ('{"team": "cards", "why": 1}', 0),
        ('```json\n{"team": "billing"}\n```', 0),
        ('Here it is: {"team": "billing"}', 0),
        ('{"team": "billing"} {"team": "billing"}', 0),
        ("{'team': 'billing'}", 0),
        ("", 0),
    ],
)
def test_an_answer_is_json_and_nothing_else_and_meets_the_schema(answer, valid):
    assert JsonValid(TICKET)(answer, "") == valid


@pytest.mark.parametrize("answer", ["NaN", "[Infinity]", "-Infinity", "9" * 10_000])
def test_what_python_reads_but_json_does_not_have_is_not_valid(answer):
    assert JsonValid({})(answer, "") == 0


@pytest.mark.parametrize("depth", [40, 100_000])
def test_an_answer_nested_without_end_is_not_valid(depth):
    assert JsonValid({})("[" * depth + "]" * depth, "") == 0


def nested_references():
    """Forty levels, each of which asks for the next one twice: 2^40 checks."""
    levels = {f"l{n}": {"allOf": [{"$ref": f"#/$defs/l{n + 1}"}] * 2} for n in range(40)}
    return {"$defs": {**levels, "l40": {"type": "integer"}}, "$ref": "#/$defs/l0"}


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"pattern": "^(a+)+$"}, f'"{"a" * 40}b"'),
        ({"patternProperties": {"^(a|aa)+$": {}}}, f'{{"{"a" * 60}b": 1}}'),
        (nested_references(), "1"),
        ({"$ref": "#"}, "1"),
    ],
    ids=["pattern", "property names", "references", "endless reference"],
)
def test_a_schema_that_would_take_for_ever_is_given_up_on(schema, answer):
    began = time.monotonic()
    assert JsonValid(schema)(answer, "") == 0
    assert time.monotonic() - began < 10 * json_valid.SECONDS


def test_a_schema_that_is_too_slow_for_answer_after_answer_ends_the_run(monkeypatch):
    monkeypatch.setattr(json_valid, "SECONDS", 0.01)
    slow, answer = JsonValid({"pattern": "^(a+)+$"}), f'"{"a" * 40}b"'
    with pytest.raises(InputError) as caught:
        [slow(answer, "") for _ in range(json_valid.SLOW_ANSWERS)]
    assert (caught.value.reason, caught.value.field) == ("SchemaTooSlow", "spec.evaluation.metrics")


def test_the_alarm_is_put_back_as_it_was():
    before = signal.getsignal(signal.SIGALRM)
    JsonValid(TICKET)("{}", "")
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "http://169.254.169.254/latest/meta-data"},
        {"properties": {"a": {"items": [{"$ref": "file:///etc/passwd"}]}}},
        {"$dynamicRef": "other.json#x"},
        {"$ref": "#/$defs/nowhere"},
        {"$id": "http://example.org/s", "$ref": "#nowhere"},
        {"type": "nonsense"},
        {"pattern": "("},
    ],
)
def test_a_schema_that_cannot_stand_alone_is_refused_and_nothing_is_fetched(schema, monkeypatch):
    def dialled(*_, **__):
        raise AssertionError("a connection was tried")

    monkeypatch.setattr(socket, "socket", dialled)
    with pytest.raises(InputError) as caught:
        JsonValid(schema)('"a"', "")
    assert (caught.value.reason, caught.value.field) == ("SchemaInvalid", "spec.evaluation.metrics")


def test_references_within_the_schema_are_followed():
    schema = {"$defs": {"n": {"type": "integer"}}, "items": {"$ref": "#/$defs/n"}}
    assert (JsonValid(schema)("[1, 2]", ""), JsonValid(schema)('["1"]', "")) == (1, 0)
