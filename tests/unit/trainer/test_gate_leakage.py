"""The leakage gate's numbers: gold examples that were trained on."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest
from tests.unit.trainer.measured import OFF, classes, of

from retune_stores.errors import InputError
from retune_trainer.measuring import leakage, shingles

GATES = {"data": OFF, "privacy": OFF}
TEXTS = [
    "My card has not arrived although I ordered it two weeks ago",
    "How do I change the address that statements are sent to",
    "The exchange rate of my transfer to Norway looks wrong to me",
]
OTHER = "Which of the two savings plans pays more interest after five years"


def leakage_of(tmp_path, train, gold, **spec):
    found = of(tmp_path, train, gold, gates=GATES, **spec)
    return found.measured["leakage"], found.details["leakage"]


def test_a_gold_example_that_was_trained_on_is_found(tmp_path):
    train = classes(*((text, "a") for text in TEXTS))
    gold = classes((OTHER, "a"), (TEXTS[1].upper() + "  ", "a"))
    numbers, details = leakage_of(tmp_path, train, gold)
    assert (numbers["gold"], numbers["exact"]) == (2, 1)
    assert details["exact"] == [[2, 2]]


def test_the_question_leaks_whatever_its_answer_in_training(tmp_path):
    numbers, _ = leakage_of(tmp_path, classes((TEXTS[0], "a")), classes((TEXTS[0], "b")))
    assert numbers["exact"] == 1


def test_the_same_answer_alone_is_no_leak(tmp_path):
    answer = "Please contact support through the app and they will help you with it"
    train = [{"prompt": text, "completion": answer} for text in TEXTS]
    numbers, _ = leakage_of(tmp_path, train, [{"prompt": OTHER, "completion": answer}])
    assert (numbers["exact"], numbers["near"]) == (0, 0)


def test_a_near_copy_is_found_with_its_lines_and_is_not_exact_too(tmp_path):
    gold = classes((OTHER, "a"), (TEXTS[2].replace("looks", "look"), "a"), (TEXTS[0], "a"))
    numbers, details = leakage_of(tmp_path, classes(*((text, "a") for text in TEXTS)), gold)
    assert numbers == {"gold": 3, "exact": 1, "near": 1, "nearFraction": round(1 / 3, 6)}
    ((gold_line, train_line, similarity),) = details["near"]
    assert (gold_line, train_line) == (2, 3)
    assert similarity >= 0.8


def test_the_most_alike_training_row_is_named(tmp_path):
    base = " ".join(TEXTS)
    train = classes((base.replace("Norway", "Sweden"), "a"), (base.replace("Norway", "Norwax"), "a"), (OTHER, "a"))
    _, details = leakage_of(tmp_path, train, classes((base, "a")))
    assert details["near"][0][1] == 2


def test_a_conversation_leaks_by_what_is_asked_not_by_its_system_prompt(tmp_path):
    def talk(text, system="You are a bank's assistant. Be brief, polite and precise. " * 5):
        turns = [("system", system), ("user", text), ("assistant", "Certainly.")]
        return {"messages": [{"role": role, "content": content} for role, content in turns]}

    train = [talk(text) for text in TEXTS]
    assert leakage_of(tmp_path, train, [talk(OTHER)])[0]["near"] == 0
    numbers, _ = leakage_of(tmp_path, train, [talk(TEXTS[0], "Another one.")])
    assert (numbers["exact"], numbers["near"]) == (0, 1)


def test_of_plain_texts_the_whole_is_compared(tmp_path):
    numbers, _ = leakage_of(tmp_path, [{"text": t} for t in TEXTS], [{"text": TEXTS[0]}, {"text": OTHER}])
    assert (numbers["exact"], numbers["near"]) == (1, 0)


def test_a_row_that_is_held_out_does_not_leak(tmp_path):
    train = [{"text": t, "label": "a", "at": n} for n, t in enumerate(TEXTS)] + [
        {"text": OTHER, "label": "a", "at": 10**9}
    ]
    dataset = {"timeField": "at", "holdOut": {"fraction": 1.0, "newest": "1d"}}
    numbers, _ = leakage_of(tmp_path, train, classes((OTHER, "a"), ("x", "y")), dataset=dataset)
    assert (numbers["exact"], numbers["near"]) == (0, 0)


def test_hundreds_of_alike_rows_on_both_sides_are_found_with_bounded_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("retune_trainer.measuring.leakage.MOST", 1000)
    train = classes(*((f"{OTHER} {TEXTS[0]} {n}", "a") for n in range(40)))
    gold = classes(*((f"{OTHER} {TEXTS[0]} {n}", "a") for n in range(600, 900)))
    assert leakage_of(tmp_path, train, gold)[0]["near"] == 300


def test_a_row_is_near_gold_by_itself_as_among_all_others():
    none = shingles.common([])
    train = shingles.signatures([f"{TEXTS[n % 3]} {'or not ' * (n % 5)}{n}" for n in range(60)], none)
    gold = shingles.signatures([f"{TEXTS[n % 2]} {n}" for n in range(100, 400)], none)
    found = leakage.Near(gold).beside(train)
    for row in range(60):
        alone = leakage.Near(gold)
        alone.look(train[[row]], np.array([row]))
        assert found[row] == (alone.rows >= 0).any()
    assert 0 < found.sum() < 40


def test_gold_of_long_documents_takes_memory_for_some_of_them_at_a_time(tmp_path):
    document = " ".join(TEXTS) * 250
    gold = classes(*((f"{n} {document}", "a") for n in range(160)))
    tracemalloc.start()
    try:
        leakage_of(tmp_path, classes((OTHER, "b")), gold)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(len(row["text"]) for row in gold) > 5_000_000
    assert peak < 160 << 20


def test_a_template_that_both_sets_share_is_no_leak(tmp_path):
    rng = random.Random(0)
    words = "".join(TEXTS).split()

    def prompts(count):
        template = "Sort this message of a customer into one of our seventy categories, and name the category only:"
        return [{"prompt": f"{template} {' '.join(rng.sample(words, 6))}", "completion": "x"} for _ in range(count)]

    assert leakage_of(tmp_path, prompts(200), prompts(50))[0]["near"] == 0


def test_gold_of_another_format_is_refused(tmp_path):
    with pytest.raises(InputError) as caught:
        leakage_of(tmp_path, classes(("a", "b")), [{"text": "a"}])
    assert (caught.value.reason, caught.value.field) == ("DatasetWrongFormat", "spec.dataset.gold.uri")


def test_the_same_examples_in_another_order_are_refused(tmp_path):
    rows = classes(*((text, "a") for text in TEXTS))
    with pytest.raises(InputError) as caught:
        leakage_of(tmp_path, rows, [{**row, "text": row["text"].upper()} for row in rows[::-1]])
    assert (caught.value.reason, caught.value.field) == ("GoldEqualsTrain", "spec.dataset.gold.uri")
