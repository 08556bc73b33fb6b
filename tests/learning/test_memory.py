"""A shortage of memory makes smaller parts of the same steps."""

from __future__ import annotations

import pytest
import torch

from retune_trainer.learning.memory import batches
from tests.learning import tiny

SETTINGS = {"maxSteps": 3, "batchTokens": 400}


def narrow(learner, most, from_call=0):
    """Make a forward pass with gradients fail as a full GPU does, for more than `most` examples."""
    calls = []

    def check(module, args, kwargs):
        calls.append(len(kwargs["input_ids"]))
        if len(calls) > from_call and torch.is_grad_enabled() and calls[-1] > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    learner._trainer.model.get_base_model().register_forward_pre_hook(check, with_kwargs=True)
    return calls


def trained(learner):
    learner.train(None, tiny.hooks())
    return learner.curve


def test_the_first_step_goes_on_with_a_smaller_micro_batch_and_the_same_examples(base, tmp_path):
    plain, tight = (tiny.learner(base, tmp_path / name, **SETTINGS) for name in "ab")
    batch = plain.settings["examplesPerStep"]
    calls = narrow(tight, 3)
    wanted, found = trained(plain), trained(tight)
    assert batch > 6
    assert tight.settings["examplesPerStep"] == batch
    assert tight.settings["microBatchPlanned"] == plain.settings["microBatch"] == batch
    assert tight.settings["microBatch"] <= 3
    assert tight.settings["accumulation"] == -(-batch // tight.settings["microBatch"])
    assert sum(calls[-tight.settings["accumulation"] :]) == batch
    assert [p["loss"] for p in found] == pytest.approx([p["loss"] for p in wanted], rel=1e-3)


def test_a_later_step_may_run_short_as_well(base, tmp_path):
    plain, tight = (tiny.learner(base, tmp_path / name, **SETTINGS) for name in "ab")
    narrow(tight, 3, from_call=2)
    wanted, found = trained(plain), trained(tight)
    assert [p["step"] for p in found] == [1, 2, 3]
    assert [p["loss"] for p in found] == pytest.approx([p["loss"] for p in wanted], rel=1e-3)


def test_a_micro_batch_that_was_never_short_is_not_spoken_of(base, tmp_path):
    learner = tiny.learner(base, tmp_path, **SETTINGS)
    trained(learner)
    assert "microBatchPlanned" not in learner.settings


def test_not_even_one_example_ends_the_run(base, tmp_path):
    learner = tiny.learner(base, tmp_path, **SETTINGS)
    narrow(learner, 0)
    # The process turns this into the contract's reason OutOfMemory.
    with pytest.raises(torch.OutOfMemoryError):
        trained(learner)
    assert learner.settings["microBatch"] == 1


def test_answers_run_short_too():
    done = []

    def work(rows):
        if len(rows) > 2:
            raise torch.OutOfMemoryError
        done.append(rows)

    batches([3, 9, 4, 7, 5, 6, 8], 1000, work)
    assert max(map(len, done)) == 2
    # Each once, the longest first.
    assert [row for rows in done for row in rows] == [1, 6, 3, 5, 4, 2, 0]
