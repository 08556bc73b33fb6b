"""The layers that a GPU trains with compute what the libraries' own do. Here in fp32, where rounding hides nothing."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from retune_trainer.learning import collate, fused, loss
from retune_trainer.learning.encoding import Encoder
from retune_trainer.learning.model import load
from tests.learning import tiny


def adapted(base, **lora):
    model, tokenizer = load(base, "cpu")
    torch.manual_seed(3)
    made = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", **lora))
    for name, weight in made.named_parameters():
        # An adapter starts at nothing; only one that says something can say it wrongly.
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return made, collate.padded(Encoder(tokenizer, 128)(tiny.examples(5)), 0)


def learned(model, batch):
    model.zero_grad()
    total = loss.of_answers(model, batch)
    total.backward()
    return total.item(), {
        name: weight.grad.clone() for name, weight in model.named_parameters() if weight.requires_grad
    }


def test_loss_and_gradients_are_the_same(base):
    model, batch = adapted(base)
    plain = learned(model, batch)
    with fused.layers(model, use=True) as replaced:
        found = learned(model, batch)
    # Seven matrices and two norms in each of two layers, and the last norm.
    assert replaced == 2 * 9 + 1
    assert found[0] == pytest.approx(plain[0], rel=1e-5)
    for name, gradient in found[1].items():
        torch.testing.assert_close(gradient, plain[1][name], rtol=1e-3, atol=1e-5, msg=name)


def test_the_models_own_layers_are_back_afterwards(base):
    model, batch = adapted(base)
    with fused.layers(model, use=True):
        pass
    assert not any("forward" in vars(layer) for name, layer in model.named_modules() if "layers." in name)
    assert learned(model, batch)[0] > 0


def test_the_bare_base_is_still_to_be_had(base):
    model, batch = adapted(base)
    with model.disable_adapter():
        wanted = loss.of_answers(model, batch).item()
        with fused.layers(model, use=True):
            assert loss.of_answers(model, batch).item() == pytest.approx(wanted, rel=1e-5)


def test_an_adapter_with_dropout_keeps_its_own_layers(base):
    model, _ = adapted(base, lora_dropout=0.5)
    with fused.layers(model, use=True) as replaced:
        assert replaced == 2 * 2 + 1
