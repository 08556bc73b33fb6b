"""The same seed gives the same weights, to the byte, also where a training was interrupted."""

from __future__ import annotations

import pytest

from tests.learning import tiny

METHODS = {
    "LoRA": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}},
    "LoRA with dropout": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
    "Full": {"type": "Full"},
}


def trained(base, folder, **changes):
    learner = tiny.learner(base, folder / "work", **changes)
    assert learner.train(None, tiny.hooks()) == 6
    learner.save(folder / "saved")
    return tiny.bytes_of(folder / "saved")


@pytest.mark.parametrize("method", METHODS)
def test_two_trainings_with_one_seed_write_the_same_bytes(base, tmp_path, method):
    once, again = (trained(base, tmp_path / name, method=METHODS[method]) for name in "ab")
    assert once == again
    assert trained(base, tmp_path / "c", method=METHODS[method], seed=8) != once


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("packing", [False, True])
def test_interrupted_and_resumed_is_the_same_as_uninterrupted(base, tmp_path, method, packing):
    changes = {"method": METHODS[method], "packing": packing}
    wanted = trained(base, tmp_path / "whole", **changes)
    kept = []
    first = tiny.learner(base, tmp_path / "first", **changes)
    assert first.train(None, tiny.hooks(stop_at=3, kept=kept)) == 3
    second = tiny.learner(base, tmp_path / "second", **changes)
    assert second.train(kept[-1], tiny.hooks()) == 6
    second.save(tmp_path / "saved")
    assert tiny.bytes_of(tmp_path / "saved") == wanted
    assert [point["step"] for point in second.curve] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("method", ["LoRA", "Full"])
def test_a_checkpoint_of_the_end_is_not_trained_on(base, tmp_path, method):
    kept, steps = [], []
    first = tiny.learner(base, tmp_path / "first", method=METHODS[method])
    first.train(None, tiny.hooks(kept=kept))
    first.save(tmp_path / "one")
    second = tiny.learner(base, tmp_path / "second", method=METHODS[method])
    assert second.train(kept[-1], tiny.hooks(steps)) == 6
    second.save(tmp_path / "two")
    assert steps == []
    assert tiny.bytes_of(tmp_path / "one") == tiny.bytes_of(tmp_path / "two")
    assert second.curve == first.curve
