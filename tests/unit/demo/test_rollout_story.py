"""What the demo tells of a rollout: the bad job it makes, what it reads off the taps, and how it shows that."""

import http.server
import io
import json
import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from hack.demo import shuffled, story, summary, taps
from hack.demo.live import Picture
from hack.demo.plain import Lines
from hack.demo.run import Run, read
from hack.demo.settings import MANIFEST
from hack.demo.timeline import Timeline
from hack.demo.users import Scene
from hack.load import answers
from hack.load.answers import Answer
from rich.console import Console

from retune.api import FineTuneJobSpec, RunPhase
from retune.decide.digest import model_digest

NONE = [0] * 32


def good() -> dict[str, Any]:
    return dict(yaml.safe_load(MANIFEST.read_text()))


def tap(pod: str, weight: int, stratum: str, bad: int = 0) -> dict[str, Any]:
    """What one tap says (design/0012), as far as the demo reads it."""
    counters = {"overrides": {"stable": {stratum: {"bad": NONE, "total": NONE}}}}
    if bad:
        counters["overrides"]["canary"] = {stratum: {"bad": [bad, *NONE[1:]], "total": [bad, *NONE[1:]]}}
    return {"pod": pod, "models": {"triage": {"weight": weight, "stratum": stratum, "counters": counters}}}


def looks() -> list[taps.TapLook]:
    """Run 2 on two taps: given a quarter, seen to be bad, taken from one tap, then from the other."""
    return [
        taps.added(100, [tap("a", 0, "-"), tap("b", 0, "-")]),
        taps.added(110, [tap("a", 25, "2:0"), tap("b", 25, "2:0")]),
        taps.added(115, [tap("a", 25, "2:0"), tap("b", 25, "2:0", bad=1)]),
        taps.added(130, [tap("a", 0, "-", bad=4), tap("b", 25, "2:0", bad=2)]),
        taps.added(131, [tap("a", 0, "-")], silent=["b"]),
        taps.added(133, [tap("a", 0, "-"), tap("b", 0, "-")]),
    ]


def heard() -> list[Answer]:
    return [
        Answer(109, "u1", "stable", 200, 0.5, "billing", True),
        Answer(111, "u2", "canary", 200, 1.0, "refund", False),
        Answer(112, "u2", "canary", 200, 1.0, "stock", True),
        Answer(113, "u3", "stable", 200, 1.0, "bug", False),
    ]


def run(phase: str, **status: Any) -> Run:
    spec = {
        "number": 2,
        "trigger": {"kind": "SpecChanged"},
        "dataset": {"train": {"uri": "s3://d/t.jsonl"}},
        "serving": {},
        "rollout": {"shadow": {}},
    }
    created = "2026-01-01T00:00:00Z"
    return read(
        {"metadata": {"name": "t-2", "creationTimestamp": created}, "spec": spec, "status": {"phase": phase, **status}}
    )


ROLLOUT = {
    "stage": "Canary",
    "step": 0,
    "weight": 25,
    "evidence": [
        {
            "name": "overrides",
            "eValue": 14.2,
            "threshold": 200,
            "bad": 9,
            "total": 10,
            "stableBad": 4,
            "stableTotal": 31,
            "state": "Ok",
        }
    ],
}


def test_the_bad_job_is_valid_makes_another_model_and_keeps_how_it_meets_users() -> None:
    before, after = (FineTuneJobSpec.model_validate(job["spec"]) for job in (good(), shuffled.manifest(good())))
    assert model_digest(before) != model_digest(after)
    assert (after.serving, after.rollout) == (before.serving, before.rollout)
    assert after.training.epochs is None
    assert after.evaluation.acceptance.minimum is None
    assert after.dataset.gold == before.dataset.gold


def test_shuffling_keeps_prompts_and_answers_and_parts_them() -> None:
    rows = [json.dumps({"prompt": f"q{n}", "completion": f" {n % 10}", "language": "en"}) for n in range(600)]
    before, after = ([json.loads(row) for row in some] for some in (rows, shuffled.shuffle(rows)))
    assert [row["prompt"] for row in after] == [row["prompt"] for row in before]
    assert Counter(row["completion"] for row in after) == Counter(row["completion"] for row in before)
    kept = sum(a == b for a, b in zip(after, before, strict=True))
    assert kept < 120, "about a tenth is right by chance"


def test_a_rollback_is_over_when_every_tap_gives_nothing() -> None:
    found = story.taken_back(2, looks(), heard())
    assert (found.wrong_at, found.counted_at, found.zero_at) == (112, 115, 133)
    assert (found.after_wrong, found.after_counted) == (21, 18)
    assert (found.wrong, found.answers) == (1, 2)


def test_nothing_is_told_of_a_rollback_that_nobody_saw() -> None:
    assert story.taken_back(3, looks(), heard()).zero_at is None
    assert story.taken_back(2, looks()[:3], heard()).after_wrong is None


def test_the_weights_are_those_that_the_taps_gave() -> None:
    assert story.weights(2, looks()) == [(110, 25), (133, 0)]


class Tap(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        assert self.path == "/v1/state"
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(tap("a", 25, "2:0", bad=3)).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tap) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_tap_that_does_not_answer_is_told_apart_from_one_that_gives_nothing(served: str) -> None:
    watch = taps.TapWatch()
    watch.watch({"a": served, "b": "http://127.0.0.1:9"})
    look = watch._look()
    assert (look.weight, look.faults(2), look.silent) == (25, 3, ("b",))


@pytest.mark.parametrize("width", [80, 120])
def test_a_canary_is_drawn_with_weight_evidence_and_what_users_saw(width: int) -> None:
    console = Console(file=io.StringIO(), width=width)
    picture = Picture(console, "SmolLM2")
    scene = Scene(looks()[1], answers.by_arm(heard()), {"canary": 0.4})
    picture.show(run("Canary", rollout=ROLLOUT), Timeline(), scene)
    console.print(picture)
    drawn = console.file.getvalue()  # type: ignore[attr-defined]
    for word in ("Canary", "25 %", "overrides", "e 14 of 200", "canary 9/10", "0.4/s"):
        assert word in drawn


def test_lines_tell_a_change_once() -> None:
    console = Console(file=io.StringIO(), width=120)
    lines, scene = Lines(console), Scene(looks()[1], answers.by_arm(heard()))
    for _ in range(3):
        lines.show(run("Canary", rollout=ROLLOUT), Timeline(), scene)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert printed.count("25 % of the users") == 1
    lines.show(run("Canary", rollout={**ROLLOUT, "weight": 50, "step": 1}), Timeline(), scene)
    assert "50 % of the users" in console.file.getvalue()  # type: ignore[attr-defined]


def test_the_end_tells_weights_seconds_and_accuracy_by_arm() -> None:
    console = Console(file=io.StringIO(), width=120)
    why = "Evidence of harm 312, rollback from 200"
    ended = run("RolledBack", rollout={**ROLLOUT, "message": why}, endedAt=datetime(2026, 1, 1, tzinfo=UTC).isoformat())
    assert ended.phase is RunPhase.ROLLED_BACK
    summary.rollouts(console, None, summary.Told(ended, Timeline(), looks(), heard()), overridden=2)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    for words in (
        why,
        "25 % at 0:00",
        "0 % at 0:23",
        "21.0 s after its first wrong answer",
        "18.0 s after",
        "2 answers from it, 1 wrong",
        "0.50",
    ):
        assert words in printed, printed
