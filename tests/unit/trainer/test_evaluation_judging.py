"""Answers become comparisons, segments and evaluation.json."""

from __future__ import annotations

import json

import pytest
from tests.unit.trainer.fakes import FakeLearner, run_config

from retune_stores.errors import InputError
from retune_trainer.data import Example
from retune_trainer.evaluation import document, judging
from retune_trainer.evaluation.asking import Answers, QuestionSet
from retune_trainer.learning.interface import Answered, Which
from retune_trainer.metrics import METRICS, configured, json_valid

BOTH = (Which.BASE, Which.CANDIDATE)


def gold(examples, base, candidate, *, stable=None, metric="ExactMatch"):
    """A gold set with what each model said, one text an example."""
    models = BOTH if stable is None else tuple(Which)
    said = {Which.BASE: base, Which.STABLE: stable, Which.CANDIDATE: candidate}
    given = {which: {1: [Answered((text,)) for text in said[which]]} for which in models}
    return Answers(QuestionSet("Gold", examples, {metric: METRICS[metric]}, models), given)


def segmented(**segments):
    """(n, right before, right now) of each segment, as a gold set."""
    examples, base, candidate = [], [], []
    for name, (n, before, now) in segments.items():
        examples += [Example(f"{name} {k}", "yes", segment=name) for k in range(n)]
        base += ["yes"] * before + ["no"] * (n - before)
        candidate += ["yes"] * now + ["no"] * (n - now)
    return gold(examples, base, candidate)


def judge(answers, alpha=0.05, **evaluation):
    config = run_config(evaluation=evaluation, expected={"alpha": alpha})
    return judging.judge(config, [answers])


def test_a_comparison_has_both_scores_the_uplift_and_its_bounds():
    found = judge(segmented(all=(100, 50, 80)))
    (comparison,) = found["comparisons"]
    assert (comparison["reference"], comparison["candidate"], comparison["uplift"]) == (0.5, 0.8, 0.3)
    assert 0.15 < comparison["lower"] < 0.3 < comparison["upper"] < 0.45
    assert found["scores"]["interval"] == [comparison["lower"], comparison["upper"]]
    assert (found["bound"], found["alpha"]) == ("Tango", 0.05)


def test_a_later_look_asks_for_more():
    bounds = [judge(segmented(all=(100, 50, 80)), alpha)["scores"]["interval"] for alpha in (0.05, 0.0005)]
    assert bounds[1][0] < bounds[0][0]
    assert bounds[1][1] > bounds[0][1]


def test_without_a_level_from_the_operator_the_confidence_of_the_spec_holds():
    config = run_config(evaluation={"acceptance": {"confidence": 0.9}})
    assert judging.level(config) == pytest.approx(0.1)


def test_weights_change_the_score_and_the_kind_of_bound():
    dear = [Example(str(n), "yes", weight=4.0 if n < 50 else 1.0) for n in range(200)]
    found = judge(gold(dear, ["yes"] * 200, ["no"] * 50 + ["yes"] * 150))
    assert found["scores"]["candidate"] == pytest.approx(150 / 350, abs=1e-6)
    assert found["bound"] == "Bootstrap"
    assert found["scores"]["interval"][1] < 0


def test_equal_weights_are_no_weights():
    examples = [Example(str(n), "yes", weight=7.0) for n in range(60)]
    found = judge(gold(examples, ["no"] * 60, ["yes"] * 30 + ["no"] * 30))
    assert found["bound"] == "Tango"
    assert found["scores"]["candidate"] == 0.5


def test_a_set_on_which_no_mistake_costs_anything_is_refused():
    free = [Example(str(n), "yes", weight=0.0) for n in range(60)]
    with pytest.raises(InputError) as caught:
        judge(gold(free, ["no"] * 60, ["yes"] * 60))
    assert caught.value.field == "spec.dataset.weightField"


class TestSegments:
    def test_the_one_that_most_likely_lost_too_much_comes_first_and_small_ones_are_unknown(self):
        found = judge(
            segmented(steady=(60, 40, 40), worse=(60, 40, 10), won=(60, 20, 50), small=(49, 49, 0)),
            maxSegmentRegression=0.05,
        )
        assert [segment["name"] for segment in found["segments"]] == ["worse", "steady", "won", "small"]
        assert [segment["p"] is None for segment in found["segments"]] == [False, False, False, True]
        assert found["segments"][0]["p"] < 0.001
        assert found["segments"][2]["p"] > 0.9
        assert found["segmentsTested"] == 3
        assert found["segments"][0] | {"p": 0} == {
            "name": "worse",
            "n": 60,
            "base": 0.666667,
            "candidate": 0.166667,
            "p": 0,
        }

    def test_one_answer_that_is_slow_to_check_is_checked_once_for_all_segments(self, monkeypatch):
        monkeypatch.setattr(json_valid, "SECONDS", 0.01)
        examples = [Example(str(n), "1", segment=f"s{n % 30}") for n in range(60)]
        said = ["1"] * 59 + [f'"{"a" * 40}b"']
        schema = {"pattern": "^(a+)+$"}
        asked = QuestionSet("Gold", examples, {"JsonValid": configured("JsonValid", schema)}, BOTH)
        given = {which: {1: [Answered((text,)) for text in said]} for which in BOTH}
        found = judge(Answers(asked, given), maxSegmentRegression=0.1)
        assert len(found["segments"]) == 30
        assert found["scores"]["candidate"] == pytest.approx(59 / 60, abs=1e-6)

    def test_without_a_limit_no_segment_is_tested(self):
        found = judge(segmented(worse=(60, 40, 10)))
        assert (found["segments"][0]["p"], found["segmentsTested"]) == (None, 0)

    def test_they_are_compared_with_the_model_that_serves(self):
        examples = [Example(str(n), "yes", segment="only") for n in range(60)]
        none, all_ = ["no"] * 60, ["yes"] * 60
        served = judge(gold(examples, none, none, stable=all_), maxSegmentRegression=0.05)
        assert served["segments"][0]["stable"] == 1.0
        assert served["segments"][0]["p"] < 0.001
        alone = judge(gold(examples, none, none), maxSegmentRegression=0.05)
        assert alone["segments"][0]["p"] > 0.5


def plain(text):
    return text


class TestWorst:
    def test_what_training_broke_comes_first_then_what_is_still_wrong_then_what_it_mended(self):
        examples = [Example(name, "yes") for name in ("right", "mended", "wrong", "broke")]
        answers = gold(examples, ["yes", "no", "no", "yes"], ["yes", "yes", "no", "no"])
        shown = [each["prompt"] for each in document.worst(answers, plain)]
        assert shown == ["broke", "wrong", "mended", "right"]

    def test_a_mistake_that_costs_more_comes_before_one_that_is_new(self):
        examples = [Example("cheap", "yes"), Example("dear", "yes", weight=5.0)]
        shown = document.worst(gold(examples, ["yes", "no"], ["no", "no"]), plain)
        assert [each["prompt"] for each in shown] == ["dear", "cheap"]

    def test_at_most_50_are_shown_and_no_text_is_a_book(self):
        examples = [Example("word " * 100_000, "yes") for _ in range(60)]
        shown = document.worst(gold(examples, ["yes"] * 60, ["no"] * 60), plain)
        assert len(shown) == 50
        assert len(json.dumps(shown)) < 50 * 10_000


class TestConfusion:
    def test_rows_are_gold_answers_and_the_last_column_is_everything_else(self):
        examples = [Example("q", label) for label in ("cards", "cards", "Billing", "billing")]
        answers = gold(examples, ["cards"] * 4, ["Cards.", "billing", "billing", "I think so"], metric="Top1")
        found = document.confusion(answers, plain)
        assert found["base"] == {"classes": ["billing", "cards"], "counts": [[0, 2, 0], [0, 2, 0]]}
        assert found["candidate"]["counts"] == [[1, 0, 1], [1, 1, 0]]

    def test_answers_that_are_no_classes_have_none(self):
        for count in (41, 4):
            examples = [Example("q", f"answer {n % count}") for n in range(82 if count == 41 else 4)]
            texts = [example.completion for example in examples]
            assert document.confusion(gold(examples, texts, texts), plain) == {"base": None, "candidate": None}


def test_the_document_says_how_it_was_trained_and_what_to_know():
    learner = FakeLearner(None, settings={"packing": True}, curve=[{"step": 1, "loss": 2.0}])
    answers = segmented(all=(100, 50, 80))
    config = run_config(evaluation={})
    built = document.build(config, judging.judge(config, [answers]), answers, learner, ["a note"])
    assert built["training"] == {"settings": {"packing": True}, "curve": [{"step": 1, "loss": 2.0}]}
    assert (built["run"]["uid"], built["notes"]) == ("uid-1", ["a note"])
    assert {"scores", "comparisons", "metrics", "segments", "segmentsTested", "alpha", "bound"} <= built.keys()
