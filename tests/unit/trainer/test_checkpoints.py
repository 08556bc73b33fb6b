"""A checkpoint is complete or does not exist, and a resume takes the best one of any attempt."""

from __future__ import annotations

import json

import pytest
from tests.unit.trainer.fakes import MemoryStore, run_config

from retune_trainer.attempts import Attempts
from retune_trainer.checkpoints import Checkpoint, Checkpoints
from retune_trainer.errors import SupersededError


def checkpoints(store, attempt=1, uid="uid-1"):
    config = run_config(uid=uid, attempt=attempt)
    return Checkpoints(config, store, Attempts(config, store))


def local(tmp_path, step, **files):
    folder = tmp_path / f"local-{step}"
    folder.mkdir(exist_ok=True)
    for name, content in {"weights": f"after {step}", **files}.items():
        (folder / name.replace("__", ".")).write_text(content)
    return folder


def test_complete_json_is_written_last_and_names_every_file(tmp_path):
    store = MemoryStore()
    checkpoints(store).save(20, local(tmp_path, 20, optimizer__pt="moments"))
    assert store.writes[-1] == "checkpoints/a1/step-20/complete.json"
    complete = json.loads(store.objects[store.writes[-1]])
    assert set(complete["files"]) == {"weights", "optimizer.pt"}
    assert complete["files"]["weights"]["size"] == len("after 20")


def test_pickles_and_what_lies_with_the_base_model_are_left_out(tmp_path):
    store = MemoryStore()
    files = {"training_args__bin": "x", "tokenizer__json": "x", "tokenizer_config__json": "x", "README__md": "x"}
    checkpoints(store).save(2, local(tmp_path, 2, **files))
    assert {path.rpartition("/")[2] for path in store.objects} == {"weights", "complete.json"}


def test_steps_are_compared_as_numbers_over_all_attempts(tmp_path):
    store = MemoryStore()
    checkpoints(store, 1).save(100, local(tmp_path, 100))
    checkpoints(store, 2).save(20, local(tmp_path, 20))
    assert checkpoints(store, 3).found() == [Checkpoint(1, 100), Checkpoint(2, 20)]
    step, folder = checkpoints(store, 3).restore(tmp_path / "restored")
    assert (step, (folder / "weights").read_text()) == (100, "after 100")


def test_of_two_with_the_same_step_the_newer_attempts_is_taken(tmp_path):
    store = MemoryStore()
    checkpoints(store, 9).save(20, local(tmp_path, 20))
    checkpoints(store, 10).save(20, local(tmp_path, 20))
    assert checkpoints(store, 11).found()[0] == Checkpoint(10, 20)


def test_one_without_complete_json_does_not_exist(tmp_path):
    store = MemoryStore()
    checkpoints(store).save(20, local(tmp_path, 20))
    checkpoints(store).save(40, local(tmp_path, 40))
    store.delete(["checkpoints/a1/step-40/complete.json"])
    assert checkpoints(store, 2).restore(tmp_path / "restored")[0] == 20


@pytest.mark.parametrize("damage", [b"after 4x", None])
def test_a_damaged_one_is_passed_over_for_the_one_before(tmp_path, damage):
    store = MemoryStore()
    checkpoints(store).save(20, local(tmp_path, 20))
    checkpoints(store).save(40, local(tmp_path, 40))
    path = "checkpoints/a1/step-40/weights"
    if damage is None:
        store.delete([path])
    else:
        store.objects[path] = damage
    assert checkpoints(store, 2).restore(tmp_path / "restored")[0] == 20


def test_one_of_another_run_of_the_same_name_is_never_resumed_from(tmp_path):
    store = MemoryStore()
    checkpoints(store, uid="deleted").save(40, local(tmp_path, 40))
    assert checkpoints(store).restore(tmp_path / "restored") is None


def test_only_the_newest_two_of_the_own_attempt_are_kept(tmp_path):
    store = MemoryStore()
    checkpoints(store, 1).save(10, local(tmp_path, 10))
    for step in (20, 30, 40):
        checkpoints(store, 2).save(step, local(tmp_path, step))
    assert checkpoints(store, 2).found() == [Checkpoint(2, 40), Checkpoint(2, 30), Checkpoint(1, 10)]
    assert not [path for path in store.objects if "step-20" in path]


def test_a_zombie_uploads_nothing(tmp_path):
    store = MemoryStore()
    Attempts(run_config(attempt=2), store).claim()
    with pytest.raises(SupersededError):
        checkpoints(store, 1).save(20, local(tmp_path, 20))
    assert store.writes == ["attempts/2.json"]
