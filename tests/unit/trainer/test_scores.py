"""Answers become scores: per metric, per segment, and for the metric that decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.trainer.fakes import run_config

from retune_trainer import evaluation, report
from retune_trainer.data import Example, Format
from retune_trainer.errors import InputError
from retune_trainer.evaluation import Answer
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


@pytest.mark.parametrize("metric", METRICS)
@given(st.text(), st.text())
def test_every_metric_is_between_0_and_1_symmetric_and_full_for_the_reference(metric, one, other):
    score = METRICS[metric]
    assert 0 <= score(one, other) <= 1
    assert score(one, other) == score(other, one)
    assert score(one, one) == 1


def answers():
    gold = [("a", "de"), ("b", "de"), ("c", "en"), ("d", None)]
    base, candidate = ["a", "x", "x", "x"], ["a", "b", "x", "d"]
    return [
        Answer(Example("q", text, segment=segment), b, c)
        for (text, segment), b, c in zip(gold, base, candidate, strict=True)
    ]


def test_the_judgement_has_scores_metrics_and_segments():
    found = evaluation.judge(answers(), ["ExactMatch", "TokenF1"], "ExactMatch")
    assert found["scores"] == {"metric": "ExactMatch", "base": 0.25, "candidate": 0.75, "uplift": 0.5, "n": 4}
    assert found["metrics"]["TokenF1"] == {"base": 0.25, "candidate": 0.75}
    assert found["segments"] == [
        {"name": "de", "n": 2, "base": 0.5, "candidate": 1.0},
        {"name": "en", "n": 1, "base": 0.0, "candidate": 0.0},
    ]


def test_what_decides_follows_the_format_unless_the_spec_says():
    assert evaluation.acceptance_metric(run_config(evaluation={}), Format.CLASSIFICATION) == "Top1"
    assert evaluation.acceptance_metric(run_config(evaluation={}), Format.MESSAGES) == "TokenF1"
    assert evaluation.acceptance_metric(run_config(), Format.MESSAGES) == "ExactMatch"


def test_a_metric_that_decides_but_is_not_measured_is_refused():
    with pytest.raises(InputError, match="use one of ExactMatch, TokenF1, Top1"):
        evaluation.acceptance_metric(run_config(evaluation={"acceptance": {"metric": "Top3"}}), Format.TEXT)


def test_metrics_not_known_here_are_left_to_the_operator_to_name():
    config = run_config(evaluation={"metrics": [{"name": "JsonValid", "schema": {}}, {"name": "Top1"}]})
    assert evaluation.measured(config, "TokenF1") == ["TokenF1", "Top1"]


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


def test_the_report_shows_first_what_training_broke():
    gold = Example("q", "right")
    broke, wrong, mended = Answer(gold, "right", "x"), Answer(gold, "x", "x"), Answer(gold, "x", "right")
    shown = report.build({}, [mended, wrong, broke], {})["examples"]
    assert [(e["base"], e["candidate"]) for e in shown] == [("right", "x"), ("x", "x"), ("x", "right")]
