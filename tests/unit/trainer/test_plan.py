"""The order of examples is decided before the first step, and every example is seen as often as was asked for."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune_trainer.config import Training
from retune_trainer.learning import plan

lengths = st.lists(st.integers(1, 200), min_size=1, max_size=300)


def make(found, cap=4096, **training):
    return plan.make(found, Training.model_validate(training), max_micro_tokens=cap)


@given(lengths, st.integers(1, 5000), st.integers(1, 4), st.integers(200, 5000))
def test_every_example_is_seen_once_an_epoch_within_one_batch(found, batch_tokens, epochs, cap):
    made = make(found, cap, epochs=epochs, batchTokens=batch_tokens)
    seen = Counter(made.order)
    assert len(made.order) == made.steps * made.batch
    assert 0 <= len(made.order) - epochs * len(found) < made.batch
    assert set(seen) == set(range(len(found)))
    assert max(seen.values()) - min(seen.values()) <= 2


@given(lengths, st.integers(1, 5000), st.integers(200, 5000))
def test_no_micro_batch_exceeds_the_memory_it_may_take(found, batch_tokens, cap):
    made = make(found, cap, epochs=1, batchTokens=batch_tokens)
    assert made.micro == 1 or made.micro * max(found) <= cap
    assert made.batch <= max(1, round(batch_tokens / (sum(found) / len(found))))


@given(lengths, st.integers(1, 2000))
def test_tokens_are_the_real_ones_of_each_step(found, batch_tokens):
    made = make(found, epochs=1, batchTokens=batch_tokens)
    for step, tokens in enumerate(made.tokens):
        rows = made.order[step * made.batch : (step + 1) * made.batch]
        assert tokens == sum(found[row] for row in rows)


def test_the_same_seed_gives_the_same_order_and_another_another():
    found = [n % 17 + 1 for n in range(100)]
    assert make(found, epochs=2, seed=1) == make(found, epochs=2, seed=1)
    assert make(found, epochs=2, seed=1, batchTokens=50).order != make(found, epochs=2, seed=2, batchTokens=50).order


def test_max_steps_goes_round_as_often_as_it_takes():
    made = make([10] * 7, maxSteps=5, batchTokens=30)
    assert (made.steps, made.batch, len(made.order)) == (5, 3, 15)


def test_a_longer_training_begins_like_a_shorter_one():
    found = [n % 31 + 1 for n in range(200)]
    short, long = (make(found, maxSteps=steps, batchTokens=100).order for steps in (20, 50))
    assert long[: len(short)] == short


def test_batches_hold_examples_of_like_length():
    found = [n % 100 + 1 for n in range(800)]
    made = make(found, epochs=1, batchTokens=500)
    padded = sum(
        max(found[row] for row in made.order[at : at + made.batch]) * made.batch for at in range(0, 800, made.batch)
    )
    assert padded < 1.2 * sum(found)


@pytest.mark.parametrize(("epochs", "steps"), [(0.5, 5), (1, 10), (2.5, 25)])
def test_a_fraction_of_an_epoch_is_a_fraction_of_the_steps(epochs, steps):
    assert make([10] * 100, epochs=epochs, batchTokens=100).steps == steps
