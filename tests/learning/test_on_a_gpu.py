"""What can only be seen on a GPU: 4-bit weights, the variable-length kernel, and the fused layers in 16 bits."""

from __future__ import annotations

import gc

import pytest
import torch

from retune_trainer.learning import attention, collate, fused, loss
from retune_trainer.learning.interface import Ask, Which
from retune_trainer.learning.model import load
from tests.learning import tiny

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A model whose heads have a size that kernels take."""
    return tiny.base(tmp_path_factory.mktemp("wide"), dtype=torch.bfloat16, hidden=256)


def adapted(folder):
    from peft import LoraConfig, get_peft_model

    model, tokenizer = load(folder, "cuda")
    torch.manual_seed(3)
    made = get_peft_model(model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM"))
    for name, weight in made.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.05)
    return made, tokenizer


def rows(tokenizer, count=7):
    from retune_trainer.learning.encoding import Encoder

    return Encoder(tokenizer, 128)(tiny.examples(count, seed=5))


def gradients(model):
    found = {name: p.grad.float().clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def close(one, other, tolerance):
    """Relative to the larger: single entries may differ by more in 16 bits than the whole does."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert (value - other[name]).norm() <= tolerance * max(value.norm(), other[name].norm()), name


def test_the_variable_length_kernel_keeps_examples_apart(wide):
    model, _ = load(wide, "cuda")
    assert attention.varlen_attn is not None
    with attention.chosen(model, varlen=True):
        assert model.config._attn_implementation == attention.NAME
        assert attention.isolated(model)
    assert model.config._attn_implementation == "sdpa"


def test_a_packed_row_teaches_what_its_examples_teach_alone(wide):
    model, tokenizer = adapted(wide)
    found = rows(tokenizer)
    separate = sum(loss.of_answers(model, collate.padded([row], 0).to(model.device)) for row in found)
    separate.backward()
    apart = gradients(model)
    with attention.chosen(model.get_base_model(), varlen=True), fused.layers(model, use=True) as replaced:
        assert replaced > 0
        together = loss.of_answers(model, collate.packed(found).to(model.device))
        together.backward()
    assert together.item() == pytest.approx(separate.item(), rel=0.01)
    close(gradients(model), apart, 0.1)


def test_fused_layers_compute_what_the_librarys_do(wide):
    model, tokenizer = adapted(wide)
    batch = collate.packed(rows(tokenizer)).to(model.device)
    plain = loss.of_answers(model, batch)
    plain.backward()
    wanted = gradients(model)
    with fused.layers(model, use=True):
        found = loss.of_answers(model, batch)
        found.backward()
    assert found.item() == pytest.approx(plain.item(), rel=0.01)
    close(gradients(model), wanted, 0.1)


@pytest.mark.parametrize("method", ["LoRA", "QLoRA", "Full"])
def test_every_method_learns_and_answers(wide, tmp_path, method):
    pytest.importorskip("bitsandbytes") if method == "QLoRA" else None
    questions = tiny.examples(60)
    learner = tiny.learner(
        wide,
        tmp_path / "work",
        questions,
        method={"type": method, "lora": {"rank": 8, "alpha": 16}},
        gpusPerNode=1,
        maxSteps=40,
        batchTokens=800,
        learningRate=0.001 if method == "Full" else 0.01,
    )
    assert learner.settings["packing"]
    learner.train(None, tiny.hooks())
    learner.save(tmp_path / "saved")
    ask = Ask(likelihood=True)
    base, candidate = (
        learner.answers(which, questions, ask, lambda _: None) for which in (Which.BASE, Which.CANDIDATE)
    )
    assert sum(each.nll for each in candidate) < 0.5 * sum(each.nll for each in base)
    assert learner.kind == ("model" if method == "Full" else "adapter")


def test_qlora_keeps_its_weights_in_four_bits(wide, tmp_path):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    learner = tiny.learner(
        wide, tmp_path / "work", method={"type": "QLoRA", "lora": {"rank": 8}}, gpusPerNode=1, maxSteps=2
    )
    layer = learner._trainer.model.get_base_model().model.layers[0].mlp.up_proj.base_layer
    assert isinstance(layer, bitsandbytes.nn.Linear4bit)
    assert layer.weight.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    assert learner.train(None, tiny.hooks()) == 2


def test_memory_that_does_not_suffice_is_made_to(wide, tmp_path):
    # Eight in ten of what is needed: a real shortage, not a made one.
    def run(folder):
        torch.cuda.reset_peak_memory_stats()
        learner = tiny.learner(wide, folder, tiny.examples(400), gpusPerNode=1, maxSteps=2, batchTokens=16000)
        learner.train(None, tiny.hooks())
        return learner, torch.cuda.max_memory_allocated()

    free, peak = run(tmp_path / "one")
    loss_of_first = free.curve[0]["loss"]
    del free
    gc.collect()
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction(0.8 * peak / total)
    try:
        tight, _ = run(tmp_path / "two")
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert tight.settings["microBatch"] < tight.settings["microBatchPlanned"]
    assert tight.curve[0]["loss"] == pytest.approx(loss_of_first, rel=0.02)
