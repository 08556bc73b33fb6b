"""What a pod says of itself: believed as far as the status can hold it, and never needed."""

import json
from typing import Any, Self

import pytest
from tests.unit.make import virtually

from retune.decide.facts import PodProgress
from retune.observe.ask import Ask
from retune.observe.projections import pod

LABELS = {"retune.dev/run": "r", "retune.dev/run-uid": "u", "retune.dev/stage": "train", "retune.dev/attempt": "1"}
SAID = {"attempt": 1, "stage": "Training", "step": 12, "steps": 40, "loss": 1.93, "tokensPerSecond": 140.2}


class Session:
    """Answers every GET with `text`, and remembers the address."""

    def __init__(self, text: str) -> None:
        self.text, self.asked = text, []

    def get(self, url: str, **_: Any) -> "Session":
        self.asked.append(url)
        return self

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def json(self, **_: Any) -> Any:
        return json.loads(self.text)


def asked(text: str, ip: str = "10.0.0.9") -> tuple[PodProgress | None, list[str]]:
    session = Session(text)
    state = {"running": {"startedAt": "2026-03-01T12:00:00Z"}}
    running = pod(
        {
            "metadata": {"namespace": "ns", "name": "p", "uid": "1", "resourceVersion": "1", "labels": LABELS},
            "status": {"phase": "Running", "podIP": ip, "containerStatuses": [{"name": "trainer", "state": state}]},
        }
    )
    return virtually(Ask(None, session).progress((running,))), session.asked  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("ip", "url"), [("10.0.0.9", "http://10.0.0.9:9090/progress"), ("fd00::9", "http://[fd00::9]:9090/progress")]
)
def test_the_running_pod_is_asked_where_it_is(ip: str, url: str) -> None:
    found, urls = asked(json.dumps(SAID), ip)
    assert urls == [url]
    assert found == PodProgress(1, "Training", 12, 40, 1.93, 140.2, None)


def test_a_pod_without_an_address_is_not_asked() -> None:
    assert asked(json.dumps(SAID), "") == (None, [])


@pytest.mark.parametrize(
    "text",
    ["", "<html>", "[]", "null", "5", "{}", '{"attempt": "x", "stage": "y"}', '{"attempt": Infinity, "stage": ""}'],
)
def test_an_answer_that_makes_no_sense_is_none(text: str) -> None:
    assert asked(text)[0] is None


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "1e300", '"12"', "[]", "{}", "null"])
@pytest.mark.parametrize("key", ["step", "steps", "loss", "tokensPerSecond", "etaSeconds"])
def test_a_number_that_the_status_cannot_hold_is_not_known(key: str, value: str) -> None:
    found, _ = asked(json.dumps({**SAID, key: "HERE"}).replace('"HERE"', value))
    assert found is not None
    known = {"step": found.step, "steps": found.steps, "loss": found.loss,
             "tokensPerSecond": found.tokens_per_second, "etaSeconds": found.eta_seconds}  # fmt: skip
    assert known.pop(key) is None
    assert all(v == SAID.get(k) for k, v in known.items())
