"""The demo's last page: what happened in which order, with times and cost."""

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hack.demo import ending
from hack.demo.change import Change, seen
from hack.demo.ending import Whole
from hack.demo.run import Run, read
from hack.demo.summary import Told
from hack.demo.timeline import Timeline
from hack.load.answers import Answer
from hack.load.questions import Question
from rich.console import Console

from retune.api import FineTuneJobStatus

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()
USUAL, NEW = Question("Where is it?", " delivery"), Question("The sole came off", " repair", taught=True)


def when(seconds: float) -> str:
    return datetime.fromtimestamp(BEGAN + seconds, UTC).isoformat()


def run(number: int, phase: str, begin: float, end: float, cost: str, **trigger: Any) -> Run:
    """A run that began and ended so many seconds after the story's begin."""
    digest = f"sha256:{'0' * 64}"
    resolved: dict[str, Any] = {"digest": digest, "examples": 640, "format": "PromptCompletion"}
    status = {
        "phase": phase,
        "startedAt": when(begin),
        "endedAt": when(end),
        "cost": {"gpuSeconds": 0, "cpuSeconds": 1, "amount": cost, "currency": "EUR"},
        "resolved": {"baseModel": {"uri": "s3://m/b", "digest": digest}, "train": resolved, "gold": resolved},
        "scores": {"metric": "ExactMatch", "n": 240, "base": 0.0, "candidate": 0.79},
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "reason": "Accepted",
                "message": "",
                "lastTransitionTime": when(end - 60),
            }
        ],
    }
    if trigger:
        status["resolved"]["train"] = {**resolved, "examples": 700, "corrections": 60}  # type: ignore[index]
    spec = {
        "number": number,
        "dataset": {"train": {"uri": "s3://data/train.jsonl"}},
        "trigger": trigger or {"kind": "Created"},
    }
    meta = {"name": f"triage-{number}", "creationTimestamp": when(begin)}
    return read({"metadata": meta, "spec": spec, "status": status})


def answer(at: float, question: Question, *, right: bool, arm: str = "stable") -> Answer:
    return Answer(BEGAN + at, "u", arm, 200, 0.1, "", right, question)


ANSWERS = (
    answer(90, USUAL, right=True),
    answer(110, USUAL, right=True),
    answer(110, NEW, right=False),
    answer(120, NEW, right=False, arm="canary"),
    answer(320, USUAL, right=True),
    answer(330, NEW, right=True),
)


def whole() -> Whole:
    good, bad = run(1, "Promoted", 0, 50, "0.0010"), run(2, "RolledBack", 50, 90, "0.0005")
    again = run(3, "Promoted", 160, 300, "0.0020", kind="Drift", name="mix", value=0.4, threshold=0.25)
    job = FineTuneJobStatus.model_validate(
        {
            "drift": [{"name": "mix", "threshold": 0.25, "state": "Ok"}],
            "recovery": {
                "run": "triage-3",
                "noticedAt": when(130),
                "promotedAt": when(300),
                "seconds": 170,
                "cost": "0.0020",
            },
        }
    )
    return Whole(
        Told(good, Timeline(), (), ANSWERS[:2]),
        Told(bad, Timeline(), (), ()),
        Told(again, Timeline(), (), ()),
        Change(BEGAN + 100, {"mix": (BEGAN + 130, 0.41)}),
        seen(ANSWERS, BEGAN + 80, BEGAN + 100),
        seen(ANSWERS, BEGAN + 100, BEGAN + 300),
        seen(ANSWERS, BEGAN + 300, BEGAN + 400),
        job,
    )


def test_what_happened_is_told_in_order_with_its_numbers() -> None:
    told = ending.lines(whole())
    assert [round(line.at - BEGAN) for line in told] == sorted(round(line.at - BEGAN) for line in told)
    assert len(told) <= 10, "ten lines, and one of cost"
    page = "\n".join(f"{line.what}: {line.numbers}" for line in told)
    for words in (
        "triage-2 RolledBack",
        "people ask for something new: users: 1.00 → 0.50 right; the new: 0.00",
        "drift noticed: mix: 0.41 of 0.25, 30 s after it began",
        "triage-3 begins, started by mix: 700 examples, 60 of them corrected by users",
        "Promoted: users: 1.00 right; the new: 1.00",
    ):
        assert words in page, page


def test_what_it_cost_is_the_sum_of_its_runs() -> None:
    console = Console(file=io.StringIO(), width=120)
    ending.tell(console, whole(), ())
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert f"{Decimal('0.0035')} EUR for 3 runs" in printed
    assert "170 s and 0.0020 EUR" in printed


def test_a_candidate_s_answers_do_not_count_as_what_stable_gave() -> None:
    assert seen(ANSWERS, BEGAN + 100, BEGAN + 300).new.judged == 1
