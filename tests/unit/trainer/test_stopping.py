"""What is held out for early stopping, and when it is enough. Pure: no model is needed to decide."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retune_trainer.data import Example
from retune_trainer.learning import stopping

texts = st.lists(st.sampled_from([f"question {number}" for number in range(30)]), min_size=2, max_size=80)


@given(texts, st.floats(0.01, 0.5))
def test_copies_of_a_question_are_on_one_side(asked, fraction):
    rows = [Example(text.upper() if at % 2 else f" {text}", f"answer {at}") for at, text in enumerate(asked)]
    chosen = stopping.held_out(rows, fraction)
    apart = {asked[number] for number in chosen}
    assert all((asked[number] in apart) == (number in chosen) for number in range(len(rows)))
    assert len(chosen) < len(rows)
    if len(set(asked)) > 1:
        assert chosen


def test_about_as_much_is_held_out_as_was_asked_for():
    rows = [Example(f"question {number}", "answer") for number in range(400)]
    assert len(stopping.held_out(rows, 0.05)) == 20
    # The order of the file is of no matter.
    there = {rows[number].prompt for number in stopping.held_out(rows, 0.05)}
    assert there == {rows[::-1][number].prompt for number in stopping.held_out(rows[::-1], 0.05)}


def test_texts_without_a_question_are_told_apart_by_themselves():
    rows = [Example("", f"text {number}") for number in range(40)]
    assert len(stopping.held_out(rows, 0.1)) == 4


def test_a_large_set_is_not_looked_at_whole():
    rows = [Example(f"question {number}", "answer") for number in range(stopping.MOST * 4)]
    assert len(stopping.held_out(rows, 0.5)) == stopping.MOST


def test_conversations_are_compared_as_a_whole():
    def talk(first):
        return Example("and now?", "well", messages=(("user", first), ("user", "and now?")))

    rows = [talk(f"problem {number}") for number in range(40)]
    assert len(stopping.held_out(rows, 0.1)) == 4


def curve(*losses):
    return [{"step": 10 * at, "heldOut": loss} for at, loss in enumerate(losses, 1)]


def test_the_first_of_equals_is_the_best():
    assert stopping.best(curve(3, 2, 2, 2.5)) == 20
    assert stopping.best([]) is None


def test_enough_is_when_the_last_looks_were_all_no_better():
    assert not stopping.enough(curve(3, 2, 2.1, 2.2), 3)
    assert stopping.enough(curve(3, 2, 2.1, 2.2, 2.0), 3)
    assert not stopping.enough(curve(3, 2, 2.1, 2.2, 1.9), 3)
    assert not stopping.enough([], 1)


def test_a_short_training_is_looked_at_often_enough():
    assert stopping.every(50, 1000) == 50
    assert stopping.every(50, 40) == 4
    assert stopping.every(50, 3) == 1
