"""The generated example set: large enough, fair, and free of what would make a test meaningless."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from examples import support_triage
from tests.unit.trainer import measured


@pytest.fixture(scope="module")
def sets():
    return support_triage.generate()


def texts(rows):
    return [row["prompt"].removesuffix("\nTeam:") for row in rows]


def test_it_is_as_large_as_promised_and_balanced(sets):
    train, gold = sets
    assert (len(train), len(gold)) == (640, 240)
    for rows, each in ((train, 32), (gold, 12)):
        counts = Counter((row["completion"], row["language"]) for row in rows)
        assert len(counts) == 20
        assert set(counts.values()) == {each}


def test_no_gold_text_is_trained_on_whatever_its_case_and_punctuation(sets):
    train, gold = ({support_triage.normalised(text) for text in texts(rows)} for rows in sets)
    assert (len(train), len(gold)) == (640, 240)
    assert not train & gold


def test_it_passes_the_gates_as_they_are_by_default(sets, tmp_path):
    train, gold = sets
    found = measured.of(tmp_path, train, gold).measured
    assert found["data"]["duplicateFraction"] <= 0.01
    assert found["data"]["conflicts"] == 0
    assert (found["leakage"]["exact"], found["leakage"]["nearFraction"]) == (0, 0)
    assert found["privacy"]["rows"] == 0


def test_some_gold_phrasings_never_occur_in_training(sets):
    train = " ".join(texts(sets[0])).casefold()
    unseen = [
        phrasing for by_language in support_triage.PLAIN.values() for p in by_language.values() for phrasing in p[-3:]
    ]
    fixed = [phrasing for phrasing in unseen if "{" not in phrasing]
    assert fixed
    assert not [phrasing for phrasing in fixed if phrasing.casefold() in train]


def test_texts_and_labels_are_short(sets):
    for rows in sets:
        assert max(map(len, texts(rows))) <= support_triage.LONGEST
        assert all(row["completion"].startswith(" ") and len(row["completion"].split()) == 1 for row in rows)
        assert not [text for text in texts(rows) if "{" in text]


def test_typos_small_letters_and_second_topics_occur(sets):
    train = texts(sets[0])
    assert sum(text == text.lower() for text in train) > 60
    hard = [p for by_language in support_triage.HARD.values() for p in by_language["en"][:-1] if "{" not in p]
    assert sum(any(p.casefold().rstrip("?") in text.casefold() for p in hard) for text in train) > 10


def test_the_same_files_come_out_every_time(tmp_path, sets):
    counts = {"train": 640, "gold": 240, "new-first": 120, "new-later": 120}
    assert support_triage.write(tmp_path / "a") == counts
    support_triage.write(tmp_path / "b")
    for name in (f"{name}.jsonl" for name in counts):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    lines = (tmp_path / "a" / "train.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == sets[0]


def test_what_is_asked_later_is_a_kind_of_request_that_neither_set_knows(sets):
    known = {row["completion"] for rows in sets for row in rows}
    first, later = support_triage.newcomers()
    assert not known & {row["completion"] for row in (*first, *later)}
    asked = [{support_triage.normalised(text) for text in texts(rows)} for rows in (first, later, *sets)]
    assert not set.intersection(asked[0], set.union(*asked[1:]))
    assert not set.intersection(asked[1], set.union(asked[0], *asked[2:]))


def test_without_a_folder_it_says_how_it_is_used(capsys):
    assert support_triage.main([]) == 2
    assert "OUT_DIR" in capsys.readouterr().err
