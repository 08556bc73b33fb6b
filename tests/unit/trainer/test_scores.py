"""Answers become scores: what each metric makes of an answer, which metrics are measured, and on which examples."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.trainer.fakes import run_config

from retune_stores.errors import InputError
from retune_trainer import evaluation
from retune_trainer.data import Example, Format
from retune_trainer.learning.interface import Answered
from retune_trainer.metrics import METRICS


@pytest.mark.parametrize(
    ("metric", "answer", "reference", "score"),
    [
        ("ExactMatch", " billing\n", "billing", 1.0),
        ("ExactMatch", "Billing", "billing", 0.0),
        ("ExactMatch", "billing please", "billing", 0.0),
        ("Top1", "Card  Arrival.", "card arrival", 1.0),
        ("Top1", "card", "card arrival", 0.0),
        ("TokenF1", "the parcel is late", "The parcel, late!", 6 / 7),
        ("TokenF1", "yes yes", "yes", 2 / 3),
        ("TokenF1", "", "yes", 0.0),
        ("TokenF1", "...", "!", 1.0),
        ("TokenF1", "größe", "GRÖSSE", 1.0),
    ],
)
def test_a_metric_by_hand(metric, answer, reference, score):
    assert METRICS[metric](answer, reference) == pytest.approx(score)


@pytest.mark.parametrize("metric", ["ExactMatch", "TokenF1", "Top1"])
@given(st.text(), st.text())
def test_a_score_of_texts_is_between_0_and_1_symmetric_and_full_for_the_reference(metric, one, other):
    score = METRICS[metric]
    assert 0 <= score(one, other) <= 1
    assert score(one, other) == score(other, one)
    assert score(one, one) == 1


@pytest.mark.parametrize(
    ("texts", "right"), [(("a", "b", "Late."), 1), (("a", "b"), 0), (("a", "b", "c", "late"), 0), (("late",), 1)]
)
def test_top3_looks_at_the_three_best_answers(texts, right):
    assert METRICS["Top3"].contribution(Example("q", "late", weight=2.0), Answered(texts)) == (2.0 * right, 2.0)


def test_perplexity_is_over_all_tokens_of_the_set_and_lower_is_better():
    perplexity = METRICS["Perplexity"]
    cheap, dear = Example("q", "a"), Example("q", "a", weight=3.0)
    each = [
        perplexity.contribution(cheap, Answered((), nll=4.0, tokens=2)),
        perplexity.contribution(dear, Answered((), nll=1.0, tokens=4)),
    ]
    assert perplexity.aggregate(each) == pytest.approx(math.exp((4 + 3) / (2 + 12)))
    assert perplexity.exponential


def test_a_perplexity_too_large_to_be_written_is_unknown_not_infinite():
    assert METRICS["Perplexity"].aggregate([(10_000.0, 1.0)]) is None


def test_a_mean_counts_an_example_by_what_a_mistake_on_it_costs():
    match = METRICS["ExactMatch"]
    right, wrong = Example("q", "a", weight=3.0), Example("q", "a", weight=1.0)
    each = [match.contribution(right, Answered(("a",))), match.contribution(wrong, Answered(("x",)))]
    assert match.aggregate(each) == 0.75
    assert [match.loss(one) for one in each] == [0.0, 1.0]


def test_what_decides_follows_the_format_unless_the_spec_says():
    assert evaluation.acceptance_metric(run_config(evaluation={}), Format.CLASSIFICATION) == "Top1"
    assert evaluation.acceptance_metric(run_config(evaluation={}), Format.MESSAGES) == "TokenF1"
    assert evaluation.acceptance_metric(run_config(), Format.MESSAGES) == "ExactMatch"


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"acceptance": {"metric": "Bleu"}}, "spec.evaluation.acceptance.metric"),
        ({"metrics": [{"name": "Bleu"}]}, "spec.evaluation.metrics"),
        ({"guard": {"uri": "pvc://store/guard.jsonl", "metric": "Bleu"}}, "spec.evaluation.guard.metric"),
    ],
)
def test_a_metric_that_is_not_measured_is_refused_with_those_that_are(spec, field):
    with pytest.raises(InputError, match="use one of ExactMatch, TokenF1, JsonValid, Top1, Top3, Perplexity") as caught:
        evaluation.acceptance_metric(run_config(evaluation=spec), Format.TEXT)
    assert caught.value.field == field


def test_the_deciding_metric_comes_first_and_each_is_measured_once():
    config = run_config(evaluation={"metrics": [{"name": "Top1"}, {"name": "TokenF1"}]})
    assert list(evaluation.metrics_of(config, "TokenF1")) == ["TokenF1", "Top1"]


def test_the_schema_of_the_spec_is_what_answers_are_held_against():
    metrics = [{"name": "JsonValid", "schema": {"type": "array"}}]
    config = run_config(evaluation={"metrics": metrics, "acceptance": {"metric": "JsonValid"}})
    score = evaluation.metrics_of(config, "JsonValid")["JsonValid"]
    assert (score("[]", ""), score("{}", "")) == (1.0, 0.0)


def test_the_same_examples_are_chosen_every_time_and_no_more_than_asked_for():
    examples = [Example(str(n), "a") for n in range(100)]
    chosen = evaluation.choose(examples, 10)
    assert chosen == evaluation.choose(examples, 10)
    assert len(set(chosen)) == 10
    assert evaluation.choose(examples, None) == evaluation.choose(examples, 100) == examples


@given(st.lists(st.text("abc", min_size=1), min_size=1))
def test_a_plain_text_is_asked_by_its_first_half(words):
    example = evaluation.continuation(Example("", " ".join(words)))
    assert (example.prompt + example.completion).split() == words
    assert example.prompt
