"""What each method trains and writes."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from retune_stores.errors import InputError
from retune_trainer.learning import methods
from retune_trainer.learning.interface import Ask, Which
from tests.learning import tiny

FULL = {"type": "Full"}


def test_qlora_without_a_gpu_is_refused_before_anything_is_loaded(tmp_path):
    with pytest.raises(InputError) as caught:
        # There is no model in that folder.
        tiny.learner(tmp_path, tmp_path / "work", method={"type": "QLoRA"})
    assert (caught.value.reason, caught.value.field) == ("MethodNeedsGpu", "spec.method.type")
    assert "gpusPerNode" in caught.value.message
    assert "LoRA" in caught.value.message


def test_a_full_fine_tune_is_a_model_of_its_own_in_the_bases_type(tmp_path):
    base = tiny.base(tmp_path / "base", dtype=torch.bfloat16)
    questions = tiny.examples(60)
    learner = tiny.learner(base, tmp_path / "work", questions, method=FULL, maxSteps=60, learningRate=0.01)
    learner.train(None, tiny.hooks())
    learner.save(tmp_path / "saved")
    assert learner.kind == "model"
    # It trains in fp32: in bf16, small steps are rounded away.
    assert learner.settings["dtype"] == "float32"
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "saved"))
    assert before.keys() == after.keys()
    for name, weight in after.items():
        assert weight.dtype == torch.bfloat16
        assert not torch.equal(weight, before[name]), name
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "saved")
    assert type(model).__name__ == "LlamaForCausalLM"
    saved, own = (AutoTokenizer.from_pretrained(folder) for folder in (tmp_path / "saved", base))
    assert saved("where is my order") == own("where is my order")

    def surprise(which):
        found = learner.answers(which, questions, Ask(best=0, likelihood=True), lambda _: None)
        return sum(each.nll for each in found)

    untouched = surprise(Which.BASE)
    assert surprise(Which.CANDIDATE) < 0.5 * untouched


def test_a_lora_leaves_the_base_as_it_was(base, tmp_path):
    before = (base / "model.safetensors").read_bytes()
    learner = tiny.learner(base, tmp_path / "work")
    wanted = {name: weight.clone() for name, weight in learner._trainer.model.get_base_model().named_parameters()}
    learner.train(None, tiny.hooks())
    model = learner._trainer.model.get_base_model()
    changed = {name for name, weight in model.named_parameters() if not torch.equal(weight, wanted[name])}
    assert changed
    assert all("lora_" in name for name in changed)
    learner.save(tmp_path / "saved")
    assert learner.kind == "adapter"
    assert set(tiny.bytes_of(tmp_path / "saved")) == {"adapter_config.json", "adapter_model.safetensors"}
    assert (base / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize("method", [FULL, {"type": "LoRA", "lora": {"rank": 4}}])
def test_a_training_that_diverged_is_not_saved(base, tmp_path, method):
    learner = tiny.learner(base, tmp_path / "work", method=method, maxSteps=1)
    learner.train(None, tiny.hooks())
    with torch.no_grad():
        next(p for p in learner._trainer.model.parameters() if p.requires_grad)[0] = float("nan")
    with pytest.raises(InputError) as caught:
        learner.save(tmp_path / "saved")
    assert caught.value.reason == "TrainingDiverged"


def test_moments_of_eight_bits_only_where_others_do_not_fit():
    gib = 2**30
    full, lora = (methods.Method.model_validate({"type": name}) for name in ("Full", "LoRA"))
    assert methods.optimizer(full, 500_000_000, 80 * gib) == "adamw_torch_fused"
    assert methods.optimizer(full, 8_000_000_000, 140 * gib) == "adamw_bnb_8bit"
    assert methods.optimizer(full, 8_000_000_000, None) == "adamw_torch_fused"
    assert methods.optimizer(lora, 8_000_000_000, 24 * gib) == "adamw_torch_fused"
