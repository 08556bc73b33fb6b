"""Looks at a gold set: each next one must be surer, and a new gold set starts over."""

import base64
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import FineTuneRunStatus, GoldLooks
from retune.decide.looks import SKETCH, new_share, next_look


def sketch(hashes: "set[int]") -> str:
    smallest = sorted(hashes)[:SKETCH]
    return base64.b64encode(struct.pack(f">{len(smallest)}I", *smallest)).decode()


def status(digest: str = "b", sketched: str | None = None) -> FineTuneRunStatus:
    gold = {**make.RESOLVED["gold"], "digest": "sha256:" + digest * 64, "sketch": sketched}
    return FineTuneRunStatus.model_validate({"resolved": {**make.RESOLVED, "gold": gold}})


def known(looks: int, digest: str = "b", sketched: str | None = None) -> GoldLooks:
    return GoldLooks(digest="sha256:" + digest * 64, sketch=sketched, looks=looks)


def test_all_looks_together_spend_no_more_than_the_user_allows() -> None:
    spent = sum(next_look(known(n), status(), 0.95).alpha for n in range(10_000))
    assert 0.0499 < spent <= 0.05


def test_the_first_look_at_a_gold_set_has_half_of_it() -> None:
    look = next_look(None, status(), 0.95)
    assert (look.number, round(look.alpha, 6)) == (1, 0.025)


def test_the_same_gold_set_is_looked_at_again() -> None:
    assert next_look(known(2), status(), 0.95).number == 3


def test_a_gold_set_that_is_not_known_to_be_new_counts_as_the_same() -> None:
    assert next_look(known(2, "c"), status(), 0.95).number == 3


RNG = random.Random(7)
HASHES = RNG.sample(range(2**32), 4000)


@pytest.mark.parametrize(("kept", "number"), [(0.0, 1), (0.3, 1), (0.8, 5), (1.0, 5)])
@pytest.mark.parametrize("size", [40, 240, 2000])
def test_half_of_the_examples_new_starts_over(kept: float, number: int, size: int) -> None:
    old, others = HASHES[:size], HASHES[size : 2 * size]
    share = int(size * kept)
    new = {*old[:share], *others[share:]}
    look = next_look(known(4, "c", sketch(set(old))), status(sketched=sketch(new)), 0.95)
    assert look.number == number


def test_a_gold_set_that_grew_to_twice_its_size_is_half_new() -> None:
    share = new_share(sketch(set(HASHES[:1000])), sketch(set(HASHES[:2000])))
    assert 0.3 < share < 0.7


@given(st.text(max_size=40), st.text(max_size=40))
def test_a_sketch_that_cannot_be_read_makes_nothing_new(old: str, new: str) -> None:
    assert 0 <= new_share(old, new) <= 1
    assert new_share(None, new) == 0
