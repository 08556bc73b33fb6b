"""Examples that share a row learn what they would learn alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaForCausalLM

from retune_trainer.data import Example
from retune_trainer.learning import attention, collate, loss
from retune_trainer.learning.encoding import Encoded, Encoder
from retune_trainer.learning.model import load
from tests.learning import tiny

# fp32, sums in another order.
ROUNDING = 1e-4


class Forgetful(LlamaForCausalLM):
    """A model that takes positions and does not look at them, as some architectures do."""

    def forward(self, *args, position_ids=None, **kwargs):
        return super().forward(*args, **kwargs)


@pytest.fixture
def model(base):
    return load(base, "cpu")[0]


@pytest.fixture(scope="module")
def rows(base):
    tokenizer = load(base, "cpu")[1]
    return Encoder(tokenizer, 128)(tiny.examples(6, seed=2))


def learned(model, batches):
    """The summed loss of batches, and every weight's gradient."""
    model.zero_grad()
    total = sum(loss.of_answers(model, batch) for batch in batches)
    total.backward()
    return total.item(), {name: weight.grad.clone() for name, weight in model.named_parameters()}


def assert_same(one, other):
    assert one[0] == pytest.approx(other[0], rel=ROUNDING)
    for name, gradient in one[1].items():
        torch.testing.assert_close(gradient, other[1][name], rtol=ROUNDING, atol=ROUNDING, msg=name)


def test_loss_and_gradients_of_a_packed_row_are_those_of_its_examples(model, rows):
    separate = learned(model, [collate.padded([row], 0) for row in rows])
    assert_same(learned(model, [collate.packed(rows)]), separate)


def test_padding_changes_neither_loss_nor_gradients(model, rows):
    separate = learned(model, [collate.padded([row], 0) for row in rows])
    assert_same(learned(model, [collate.padded(rows, 7)]), separate)


def test_without_a_question_no_neighbour_is_taken_for_one(model):
    rows = [Encoded([], [5, 9, 1]), Encoded([], [17, 30, 31, 1])]
    separate = learned(model, [collate.padded([row], 0) for row in rows])
    assert_same(learned(model, [collate.packed(rows)]), separate)
    assert_same(learned(model, [collate.padded(rows, 0)]), separate)
    assert [row.scored for row in rows] == [2, 3]


def test_a_model_that_mixes_neighbours_is_found_out(model, base):
    assert attention.isolated(model)
    assert not attention.isolated(Forgetful.from_pretrained(base))


def test_a_kernel_that_is_given_bounds_computes_the_same(model, rows, monkeypatch):
    # The GPU's kernel stands in here by its documentation: shapes (tokens, heads, size), fewer heads for keys, a window
    # of (-1, 0) for causal. The attention around it is the real one.
    def kernel(query, key, value, bounds, _, longest, __, *, scale, window_size, enable_gqa):
        assert (window_size, enable_gqa) == ((-1, 0), True)
        assert longest == max(len(row) for row in rows)
        parts = []
        for start, end in pairwise(bounds.tolist()):
            part = [tensor[start:end].transpose(0, 1).float() for tensor in (query, key, value)]
            parts.append(scaled_dot_product_attention(*part, is_causal=True, scale=scale, enable_gqa=True))
        return torch.cat(parts, dim=1).transpose(0, 1).to(query.dtype)

    separate = learned(model, [collate.padded([row], 0) for row in rows])
    monkeypatch.setattr(attention, "varlen_attn", kernel)
    model.set_attn_implementation(attention.NAME)
    found = learned(model, [collate.packed(rows)])
    # The kernel computes in 16 bits.
    assert found[0] == pytest.approx(separate[0], rel=0.01)
    for name, gradient in found[1].items():
        assert (gradient - separate[1][name]).norm() <= 0.05 * gradient.norm(), name
    # Without bounds it is transformers' own: padding, and answers.
    assert_same(learned(model, [collate.padded(rows, 7)]), separate)


def test_a_packed_training_on_a_cpu_learns_the_same(base, tmp_path):
    rows = tiny.examples(12)
    packed, plain = (
        tiny.learner(base, tmp_path / str(packing), rows, packing=packing, batchTokens=10000, maxSteps=4)
        for packing in (True, False)
    )
    for each in (packed, plain):
        each.train(None, tiny.hooks())
    assert packed.settings["packing"]
    assert not plain.settings["packing"]
    assert packed.settings["examplesPerStep"] == plain.settings["examplesPerStep"] == 12
    assert [p["loss"] for p in packed.curve] == pytest.approx([p["loss"] for p in plain.curve], rel=1e-3)


def test_packing_is_off_where_the_model_would_mix_examples(base, tmp_path, monkeypatch):
    from retune_trainer.learning import methods

    tokenizer = load(base, "cpu")[1]
    monkeypatch.setattr(methods, "load", lambda *_, **__: (Forgetful.from_pretrained(base), tokenizer))
    assert not tiny.learner(base, tmp_path, packing=True).settings["packing"]


def test_on_a_cpu_nothing_is_packed_unless_asked_for(base, tmp_path):
    assert not tiny.learner(base, tmp_path, [Example("a b\n", "c")] * 3).settings["packing"]
