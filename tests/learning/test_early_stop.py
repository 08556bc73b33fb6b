"""Training stops when what is held out gets worse, and what is saved is what was best on it."""

from __future__ import annotations

import pytest

from retune_trainer.data import Example
from retune_trainer.learning import stopping
from retune_trainer.learning.interface import Ask, Which
from tests.learning import tiny

QUESTIONS = [example.prompt for example in tiny.examples(60, seed=4)]
# Which side an example is on depends on its question alone. What is held out is answered otherwise: its loss falls
# while the letters are learned that both answers share, and rises when the training has become sure of the rest.
APART = stopping.held_out([Example(question, "") for question in QUESTIONS], 0.2)
ROWS = [Example(question, "here" if at in APART else "hers") for at, question in enumerate(QUESTIONS)]
RULE = {"earlyStop": {"holdOut": 0.2, "patience": 2}, "maxSteps": 40, "learningRate": 0.01, "checkpointEverySteps": 4}
SHAPE = {"rank": 8, "alpha": 64}


def looks(learner):
    return {point["step"]: point["heldOut"] for point in learner.curve if "heldOut" in point}


def loss_of(learner, rows):
    """What the published candidate loses a token of answer."""
    found = learner.answers(Which.CANDIDATE, rows, Ask(best=0, likelihood=True), lambda _: None)
    return sum(each.nll for each in found) / sum(each.tokens for each in found)


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_the_best_weights_are_saved_and_the_rest_is_not_trained(base, tmp_path, method):
    kind = {"type": method, "lora": SHAPE}
    learner = tiny.learner(base, tmp_path / "work", ROWS, method=kind, **RULE)
    reached = learner.train(None, tiny.hooks())
    seen = looks(learner)
    best = min(seen, key=lambda step: (seen[step], step))
    assert reached == learner.settings["stepsDone"] < learner.steps
    assert learner.settings["stoppedEarly"]
    assert learner.settings["bestStep"] == best < reached
    assert sum(step > best for step in seen) == 2
    learner.save(tmp_path / "saved")
    # By another way than the one that decided.
    assert loss_of(learner, [ROWS[at] for at in APART]) == pytest.approx(seen[best], rel=1e-3)


def test_resumed_it_decides_as_if_it_had_never_been_interrupted(base, tmp_path):
    rule = {**RULE, "method": {"type": "LoRA", "lora": SHAPE}}
    whole = tiny.learner(base, tmp_path / "whole", ROWS, **rule)
    end = whole.train(None, tiny.hooks())
    whole.save(tmp_path / "one")
    best = whole.settings["bestStep"]
    # After the best look: its weights lie in the checkpoint only.
    kept = []
    first = tiny.learner(base, tmp_path / "first", ROWS, **rule)
    assert first.train(None, tiny.hooks(stop_at=best + 1, kept=kept)) == best + 1
    assert not first.settings["stoppedEarly"]
    second = tiny.learner(base, tmp_path / "second", ROWS, **rule)
    assert second.train(kept[-1], tiny.hooks(kept=kept)) == end
    second.save(tmp_path / "two")
    assert tiny.bytes_of(tmp_path / "two") == tiny.bytes_of(tmp_path / "one")
    # Killed after the end: nothing more is trained, and it is the same again.
    steps = []
    third = tiny.learner(base, tmp_path / "third", ROWS, **rule)
    assert third.train(kept[-1], tiny.hooks(steps)) == end
    third.save(tmp_path / "three")
    assert steps == []
    assert tiny.bytes_of(tmp_path / "three") == tiny.bytes_of(tmp_path / "one")
    assert third.settings["stoppedEarly"]


def test_what_is_held_out_is_not_trained_on(base, tmp_path):
    learner = tiny.learner(base, tmp_path, ROWS, **{**RULE, "maxSteps": None, "epochs": 1})
    apart = len(APART)
    assert learner.settings["heldOut"] == apart > 0
    assert len(set(learner._plan.order)) == len(ROWS) - apart


def test_a_training_that_goes_on_getting_better_ends_at_its_end(base, tmp_path):
    rows = tiny.examples(60)
    learner = tiny.learner(base, tmp_path, rows, **{**RULE, "learningRate": 0.002, "maxSteps": 7})
    assert learner.train(None, tiny.hooks()) == 7
    assert not learner.settings["stoppedEarly"]
    # The last step is looked at even if it is none of the regular ones.
    assert 7 in looks(learner)


def test_without_the_rule_nothing_is_held_out(base, tmp_path):
    learner = tiny.learner(base, tmp_path)
    learner.train(None, tiny.hooks())
    assert not looks(learner)
    assert "heldOut" not in learner.settings


def test_one_question_only_cannot_be_held_out(base, tmp_path):
    learner = tiny.learner(base, tmp_path, [Example("where is it\n", "here")] * 8, **{**RULE, "maxSteps": 2})
    assert learner.train(None, tiny.hooks()) == 2
    assert not looks(learner)
