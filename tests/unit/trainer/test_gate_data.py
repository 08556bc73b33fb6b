"""The data gate's numbers: copies, contradictions, agreement, balance, lengths and empty rows."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.trainer.measured import OFF, QUIET, classes, of

from retune_stores.errors import InputError
from retune_trainer.measuring import duplicates, shingles
from retune_trainer.measuring.agreement import Agreement, labels
from retune_trainer.measuring.balance import divergence
from retune_trainer.measuring.lengths import Lengths

WORDS = [
    "card",
    "bank",
    "transfer",
    "money",
    "account",
    "payment",
    "refund",
    "limit",
    "order",
    "address",
    "change",
    "phone",
    "wait",
    "late",
    "lost",
    "top",
]


def sentences(count, seed=0):
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=12)) + f" number {n}" for n in range(count)]


def data_of(tmp_path, rows, **spec):
    return of(tmp_path, rows, gates={**QUIET, **spec.pop("gates", {})}, **spec)


class TestCopies:
    def test_case_spaces_and_unicode_form_make_no_original(self, tmp_path):
        rows = classes(("Where is it?", "a"), ("where  is IT?", "A"), ("\uff37here is it?", "a"), ("Who is it?", "a"))
        found = data_of(tmp_path, rows)
        assert found.measured["data"]["exactDuplicates"] == 2
        assert found.details["duplicates"]["exact"] == [[1, 2], [1, 3]]

    def test_one_word_changed_is_a_near_copy_and_its_lines_are_named(self, tmp_path):
        texts = sentences(30)
        rows = classes(*((text, "a") for text in [*texts, texts[7].replace("number", "numbers")]))
        found = data_of(tmp_path, rows)
        assert (found.measured["data"]["exactDuplicates"], found.measured["data"]["nearDuplicates"]) == (0, 1)
        ((first, second, similarity),) = found.details["duplicates"]["near"]
        assert (first, second) == (8, 31)
        assert 0.8 <= similarity < 1
        assert found.measured["data"]["duplicateFraction"] == round(1 / 31, 6)

    def test_rows_beyond_the_first_of_each_group_are_counted_once(self, tmp_path):
        text, *others = sentences(20)
        rows = classes(*((t, "a") for t in [text, text, text + "!", text.replace("number", "numbers"), *others]))
        numbers = data_of(tmp_path, rows).measured["data"]
        assert (numbers["exactDuplicates"], numbers["nearDuplicates"]) == (1, 2)
        assert numbers["duplicateFraction"] == round(3 / 23, 6)

    def test_a_template_around_every_prompt_makes_no_copies(self, tmp_path):
        before = (
            "Below is an instruction that describes a task. Write a response that completes it.\n### Instruction:\n"
        )
        rows = [{"prompt": f"{before}{t}\n### Response:\n", "completion": t[::-1]} for t in sentences(200)]
        gold = [{"prompt": "x", "completion": "y"}]
        numbers = of(tmp_path, rows, gold, gates=QUIET).measured["data"]
        assert (numbers["exactDuplicates"], numbers["nearDuplicates"]) == (0, 0)

    def test_a_system_prompt_that_all_share_makes_no_copies(self, tmp_path):
        def talk(text):
            turns = [
                ("system", "You are the helpful assistant of a bank. " * 20),
                ("user", text),
                ("assistant", text[::-1]),
            ]
            return {"messages": [{"role": role, "content": content} for role, content in turns]}

        numbers = of(tmp_path, [talk(t) for t in sentences(20)], [talk("x")], gates=QUIET).measured["data"]
        assert (numbers["exactDuplicates"], numbers["nearDuplicates"]) == (0, 0)

    def test_a_thousand_copies_are_found_and_fifty_shown(self, tmp_path):
        found = data_of(tmp_path, classes(*(("the same words again and again", "a"),) * 1000))
        assert found.measured["data"]["exactDuplicates"] == 999
        assert len(found.details["duplicates"]["exact"]) == 50

    def test_many_near_copies_of_one_text_are_one_group(self):
        base = sentences(1)[0] * 3
        texts = [f"{base[:n]}x{base[n:]}" for n in range(0, 200, 2)]
        found = duplicates.near(
            shingles.signatures(texts, np.empty(0, np.uint64)), np.arange(len(texts), dtype=np.uint64)
        )
        assert found.rows == len(texts) - 1
        assert len(found.pairs) == 50

    @settings(max_examples=30, deadline=None)
    @given(st.integers(0, 2**32), st.integers(0, 10))
    def test_the_estimate_is_near_the_true_jaccard_index(self, seed, changes):
        rng = random.Random(seed)
        text = "".join(rng.choices("abcdefgh ", k=400))
        other = list(text)
        for _ in range(changes):
            other[rng.randrange(400)] = "z"
        texts = [text, "".join(other)]
        sets = [{t[i : i + shingles.PIECE] for i in range(len(t) - shingles.PIECE + 1)} for t in texts]
        truth = len(sets[0] & sets[1]) / len(sets[0] | sets[1])
        signed = shingles.signatures(texts, np.empty(0, np.uint64))
        # Six standard errors: sqrt(J (1 - J) / 64).
        assert (
            abs(shingles.similarity(signed[:1], signed[1:])[0] - truth) <= 6 * (truth * (1 - truth) / 64) ** 0.5 + 1e-9
        )

    @given(st.lists(st.text(max_size=30), min_size=1, max_size=8))
    def test_a_batch_gives_what_each_text_gives_alone(self, texts):
        none = np.empty(0, np.uint64)
        together = shingles.signatures(texts, none)
        assert np.array_equal(together, np.concatenate([shingles.signatures([text], none) for text in texts]))

    def test_the_same_rows_always_give_the_same_result(self, tmp_path):
        rows = classes(*((t, "a") for t in sentences(50)), *((t + " more", "a") for t in sentences(50)))
        first, second = data_of(tmp_path, rows), data_of(tmp_path, rows)
        assert (first.measured, first.details) == (second.measured, second.details)


class TestContradictions:
    def test_rows_of_one_question_with_two_answers_are_shown_with_both(self, tmp_path):
        rows = classes(("Is it late?", "yes"), ("Who?", "me"), ("is it  late?", "no"), ("Who?", "Me"))
        found = data_of(tmp_path, rows)
        assert (found.measured["data"]["conflicts"], found.measured["data"]["conflictFraction"]) == (2, 0.5)
        assert found.details["conflicts"] == [{"lines": [1, 3], "answers": ["yes", "no"]}]

    def test_they_are_no_copies_of_each_other(self, tmp_path):
        text = sentences(1)[0] * 5
        numbers = data_of(tmp_path, classes((text, "yes"), (text, "no"))).measured["data"]
        assert (numbers["exactDuplicates"], numbers["nearDuplicates"], numbers["conflicts"]) == (0, 0, 2)

    def test_personal_data_in_a_shown_answer_is_scrubbed_even_if_the_gate_is_off(self, tmp_path):
        rows = classes(("Who can help?", "ask anna@example.com"), ("Who can help?", "nobody"))
        assert data_of(tmp_path, rows).details["conflicts"][0]["answers"] == ["ask <EMAIL_ADDRESS>", "nobody"]

    def test_plain_texts_cannot_contradict_each_other(self, tmp_path):
        numbers = of(tmp_path, [{"text": "a b"}, {"text": "c d"}], [{"text": "e"}], gates=QUIET).measured["data"]
        assert numbers["conflicts"] == 0


class TestEmptyRows:
    def test_they_are_counted_named_and_not_trained_on(self, tmp_path):
        found = data_of(tmp_path, classes(("a", "x"), ("", "x"), ("b", ""), ("c", "y")))
        assert (found.measured["data"]["examples"], found.measured["data"]["empty"]) == (2, 2)
        assert found.details["empty"] == [2, 3]
        assert found.prepared.examples == 2
        assert [json.loads(line)["text"] for line in found.prepared.file.read_text().splitlines()] == ["a", "c"]

    def test_a_set_of_nothing_else_is_empty(self, tmp_path):
        with pytest.raises(InputError) as caught:
            data_of(tmp_path, classes(("", "x"), (" ", "y")))
        assert (caught.value.reason, caught.value.field) == ("DatasetEmpty", "spec.dataset.train.uri")


class TestAgreement:
    def alpha(self, *units):
        agreement = Agreement()
        for unit in units:
            agreement.add([str(label) for label in unit])
        return agreement.alpha()

    def test_krippendorffs_binary_example_of_two_observers(self):
        """Krippendorff 2011, section A: observers Meg and Owen, articles 1 to 10; alpha 0.095."""
        meg, owen = "0100000000", "1110010100"
        assert self.alpha(*zip(meg, owen, strict=True)) == pytest.approx(0.095, abs=5e-4)

    def test_krippendorffs_nominal_example_of_two_observers(self):
        """Krippendorff 2011, section B: observers Ben and Gerry, objects a to l; alpha 0.692."""
        ben, gerry = "aabbdcccedda", "babbbccceddd"
        assert self.alpha(*zip(ben, gerry, strict=True)) == pytest.approx(0.692, abs=5e-4)

    def test_krippendorffs_example_of_four_observers_with_missing_labels(self):
        """Krippendorff 2011, section C: observers A to D, units 1 to 12, `.` missing; nominal alpha 0.743."""
        units = zip("123321412...", "1233224125.3", ".3332342251.", "12332441251.", strict=True)
        assert self.alpha(*([label for label in unit if label != "."] for unit in units)) == pytest.approx(
            0.743, abs=5e-4
        )

    def test_full_agreement_is_one_and_no_variation_says_nothing(self):
        assert self.alpha("aa", "bb") == 1
        assert self.alpha("aa", "aa") is None
        assert self.alpha("a", "b") is None

    @pytest.mark.parametrize("value", [["a", "b", None, ""], "a|b", '["a", "b"]', "a | b|", ("a", "b")])
    def test_a_list_or_a_text_of_labels_is_read(self, value):
        assert [label.strip() for label in labels(value, "votes", 1, None)] == ["a", "b"]

    def test_what_holds_no_labels_is_named_with_its_line(self, tmp_path):
        rows = [{"text": "a", "label": "x", "votes": ["x", "x"]}, {"text": "b", "label": "x", "votes": {"x": 2}}]
        with pytest.raises(InputError) as caught:
            data_of(tmp_path, rows, dataset={"annotatorsField": "votes"})
        assert caught.value.field == "spec.dataset.annotatorsField"
        assert "line 2: 'votes' is dict" in caught.value.message

    def test_the_gate_is_given_alpha_or_told_why_there_is_none(self, tmp_path):
        rows = [{"text": f"t{n}", "label": "x", "votes": "x|x" if n % 2 else "y|y"} for n in range(4)]
        assert data_of(tmp_path, rows, dataset={"annotatorsField": "votes"}).measured["data"]["agreement"] == 1
        rows = [{"text": f"t{n}", "label": "x", "votes": "x"} for n in range(4)]
        found = data_of(tmp_path, rows, dataset={"annotatorsField": "votes"})
        assert "agreement" not in found.measured["data"]
        assert "No agreement" in found.notes["data"]

    def test_a_column_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(InputError) as caught:
            data_of(tmp_path, classes(("a", "b")), dataset={"annotatorsField": "votes"})
        assert caught.value.field == "spec.dataset.annotatorsField"


BALANCE = {"data": {"productionBalance": {"classifiedBy": "label", "expected": {"a": 0.5, "b": 0.5}}}}


class TestBalance:
    def test_the_distance_is_half_the_sum_of_differences(self, tmp_path):
        rows = classes(*((f"t{n}", "a") for n in range(8)), ("u", "b"), ("v", "c"))
        found = data_of(tmp_path, rows, gates=BALANCE)
        assert found.measured["data"]["divergence"] == pytest.approx((0.3 + 0.4 + 0.1) / 2)
        assert found.details["balance"] == {
            "a": {"expected": 0.5, "found": 0.8},
            "b": {"expected": 0.5, "found": 0.1},
            "(other)": {"expected": 0.0, "found": 0.1},
        }

    def test_a_column_that_is_not_there_is_refused(self, tmp_path):
        gates = {"data": {"productionBalance": {"classifiedBy": "region", "expected": {"a": 1}}}}
        with pytest.raises(InputError) as caught:
            data_of(tmp_path, classes(("a", "b")), gates=gates)
        assert caught.value.field == "spec.gates.data.productionBalance.classifiedBy"

    shares = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 100), min_size=1)

    @given(shares, shares)
    def test_it_is_a_distance_between_0_and_1(self, p, q):
        assert 0 <= divergence(p, q) <= 1 + 1e-12
        assert divergence(p, q) == pytest.approx(divergence(q, p))
        assert divergence(p, p) == 0


class TestLengths:
    @pytest.fixture
    def tokenizer(self, tmp_path):
        """Every word is a token."""
        from tokenizers import Tokenizer, models, pre_tokenizers

        made = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
        made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        made.enable_truncation(3)
        path = tmp_path / "tokenizer.json"
        made.save(str(path))
        return path

    def test_the_models_own_tokens_are_counted_with_the_one_that_ends_them(self, tmp_path, tokenizer):
        rows = classes(("one two three", "label"), ("one", "label"), ("one two", "label"))
        found = of(tmp_path, rows, tokenizer=tokenizer, gates=QUIET, training={"epochs": 1, "maxLength": 4})
        assert (found.measured["data"]["tooLong"], found.measured["data"]["tooLongFraction"]) == (1, round(1 / 3, 6))
        assert found.details["lengths"] == {"unit": "tokens", "p50": 4, "p95": 5, "p99": 5, "max": 5}

    @pytest.mark.parametrize("content", [None, "{}", "not json"])
    def test_without_a_tokenizer_lengths_are_estimated_and_said_to_be(self, tmp_path, content):
        path = tmp_path / "broken.json"
        if content is not None:
            path.write_text(content)
        rows = classes(("a" * 38, "b"), ("a" * 4, "b"))
        found = of(
            tmp_path,
            rows,
            tokenizer=path if content is not None else None,
            gates=QUIET,
            training={"epochs": 1, "maxLength": 9},
        )
        assert found.measured["data"]["tooLong"] == 1
        assert found.details["lengths"]["unit"] == "characters/4"
        assert "characters/4" in found.notes["data"]

    def test_a_text_of_megabytes_and_a_lone_surrogate_are_counted(self, tokenizer):
        long, broken = Lengths(tokenizer).count(["word " * 400_000, "a \ud800 b"])
        assert (long, broken) == (400_001, 4)


def test_a_gate_that_is_off_is_not_measured(tmp_path):
    found = of(tmp_path, classes(("a", "b"), ("a", "b")), gates={"data": OFF, "leakage": OFF, "privacy": OFF})
    assert found.measured == {}


def test_off_as_yaml_reads_it_is_off(tmp_path):
    found = of(tmp_path, classes(("a", "b")), gates={gate: {"mode": False} for gate in ("data", "leakage", "privacy")})
    assert found.measured == {}
