"""What base, stable and candidate answer, and how likely they find the reference."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from retune_stores.errors import InputError
from retune_trainer.learning.interface import Answered, Ask, Which
from tests.learning import tiny

QUESTIONS = tiny.examples(9, seed=11)
BOTH = Ask(likelihood=True)
METHODS = {"LoRA": {"type": "LoRA", "lora": {"rank": 4, "alpha": 8}}, "Full": {"type": "Full"}}


def plain(model, folder, rows):
    """Answers and likelihoods, one example at a time, without any of what makes it fast."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = []
    # As many tokens as the longest reference has, and its end.
    new = max(len(row.completion) for row in rows) + 1
    for row in rows:
        prompt = tokenizer(row.prompt)["input_ids"]
        answer = [*tokenizer(row.completion, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        ids = torch.tensor([prompt + answer])
        with torch.no_grad():
            scores = model(ids).logits[0].float().log_softmax(-1)
        nll = -sum(scores[len(prompt) + at - 1, token].item() for at, token in enumerate(answer))
        said = list(prompt)
        for _ in range(new):
            with torch.no_grad():
                said.append(int(model(torch.tensor([said])).logits[0, -1].argmax()))
            if said[-1] == tokenizer.eos_token_id:
                break
        text = tokenizer.decode(said[len(prompt) :], skip_special_tokens=True)
        found.append(Answered((text,), nll, len(answer)))
    return found


def assert_same(found, wanted):
    assert [each.tokens for each in found] == [each.tokens for each in wanted]
    assert [each.nll for each in found] == pytest.approx([each.nll for each in wanted], rel=1e-3)
    assert [each.texts for each in found] == [each.texts for each in wanted]


def trained(base, folder, seed=7, method="LoRA"):
    learner = tiny.learner(base, folder / "work", seed=seed, method=METHODS[method], maxSteps=12, learningRate=0.02)
    learner.train(None, tiny.hooks())
    learner.save(folder / "saved")
    return learner


def ask(learner, which, how=BOTH):
    counted = []
    found = learner.answers(which, QUESTIONS, how, counted.append)
    assert sum(counted) == len(QUESTIONS)
    return found


def reloaded(base, folder):
    if (folder / "adapter_config.json").exists():
        return PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), folder)
    return AutoModelForCausalLM.from_pretrained(folder)


@pytest.fixture(scope="module")
def stables(base, tmp_path_factory):
    """What earlier runs published: an adapter and a model."""
    folders = {method: tmp_path_factory.mktemp(method) for method in METHODS}
    for method, folder in folders.items():
        trained(base, folder, seed=1, method=method)
    return {method: folder / "saved" for method, folder in folders.items()}


@pytest.mark.parametrize("stable", METHODS)
@pytest.mark.parametrize("method", METHODS)
def test_each_model_answers_as_itself(base, stables, tmp_path, method, stable):
    learner = trained(base, tmp_path / "new", method=method)
    learner.load_stable(stables[stable])
    # Twice each, for there is more than one set.
    found = {which: [ask(learner, which) for _ in range(2)] for which in Which}
    assert all(one == again for one, again in found.values())
    assert_same(found[Which.BASE][0], plain(reloaded(base, base), base, QUESTIONS))
    assert_same(found[Which.STABLE][0], plain(reloaded(base, stables[stable]), base, QUESTIONS))
    assert_same(found[Which.CANDIDATE][0], plain(reloaded(base, tmp_path / "new" / "saved"), base, QUESTIONS))
    # They are three models indeed.
    sums = {round(sum(each.nll for each in answers[0]), 3) for answers in found.values()}
    assert len(sums) == 3
    # And the base is to be had again.
    assert ask(learner, Which.BASE) == found[Which.BASE][0]


def test_what_was_not_saved_is_asked_all_the_same(base, tmp_path):
    saved = trained(base, tmp_path / "a")
    unsaved = tiny.learner(base, tmp_path / "b", maxSteps=12, learningRate=0.02)
    unsaved.train(None, tiny.hooks())
    assert ask(unsaved, Which.CANDIDATE) == ask(saved, Which.CANDIDATE)


def test_the_first_answer_is_the_same_however_many_are_asked_for(base, tmp_path):
    learner = trained(base, tmp_path)
    one, three = (ask(learner, Which.CANDIDATE, Ask(best=best)) for best in (1, 3))
    assert [each.texts[0] for each in one] == [each.texts[0] for each in three]
    assert all(len(each.texts) == 1 for each in one)
    assert all(len(set(each.texts)) == len(each.texts) <= 3 for each in three)
    assert sum(len(each.texts) for each in three) > 2 * len(three)


def test_more_answers_are_more_likely_to_hold_the_right_one(base, tmp_path):
    rows = tiny.examples(60)
    learner = tiny.learner(base, tmp_path, rows, maxSteps=80, learningRate=0.02)
    learner.train(None, tiny.hooks())

    def right(best):
        found = learner.answers(Which.CANDIDATE, rows, Ask(best=best), lambda _: None)
        return sum(row.completion in each.texts for row, each in zip(rows, found, strict=True))

    assert len(rows) / 4 < right(1) <= right(3)


def test_only_what_is_asked_for_is_computed(base, tmp_path):
    learner = trained(base, tmp_path)
    text = ask(learner, Which.BASE, Ask())
    assert all(each.nll is None and each.tokens is None for each in text)
    numbers = ask(learner, Which.BASE, Ask(best=0, likelihood=True))
    assert all(each.texts == () and each.nll > 0 for each in numbers)
    assert learner.answers(Which.BASE, [], BOTH, lambda _: None) == []


def test_a_listener_can_stop_it(base, tmp_path):
    learner = trained(base, tmp_path)

    def stop(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner.answers(Which.BASE, QUESTIONS, Ask(), stop)
    assert len(ask(learner, Which.BASE)) == len(QUESTIONS)


@pytest.mark.parametrize("method", METHODS)
def test_a_stable_of_another_shape_is_refused(base, tmp_path, method):
    other = tiny.base(tmp_path / "other", hidden=64)
    wide = tiny.learner(other, tmp_path / "wide", method=METHODS[method])
    wide.save(tmp_path / "saved")
    learner = tiny.learner(base, tmp_path / "ours")
    with pytest.raises(InputError) as caught:
        learner.load_stable(tmp_path / "saved")
    assert caught.value.reason == "StableUnfit"
    assert "64" in caught.value.message


def nothing(folder):
    for path in folder.iterdir():
        path.unlink()


def cut(folder):
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:50])


def another_kind(folder):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "peft_type": "IA3"}))


@pytest.mark.parametrize(("damage", "said"), [(nothing, "neither"), (cut, "cannot be read"), (another_kind, "IA3")])
def test_a_stable_that_is_none_is_refused(base, stables, tmp_path, damage, said):
    shutil.copytree(stables["LoRA"], tmp_path / "stable")
    damage(tmp_path / "stable")
    with pytest.raises(InputError, match=said):
        tiny.learner(base, tmp_path / "ours").load_stable(tmp_path / "stable")
