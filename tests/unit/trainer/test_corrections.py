"""What people corrected is trained on: which of it, once, never what is gold, and the same in all pods of a run."""

from __future__ import annotations

import json

import pytest
from tests.unit.trainer.fakes import FakeLearner, document, rows, run_config, write_rows

from retune_stores.errors import InputError
from retune_trainer import corrections, preflight, train
from retune_trainer.config import RunConfig
from retune_trainer.progress import Progress
from retune_trainer.reporting import build, gather, page
from retune_trainer.reporting.shapes import Status
from retune_trainer.stop import Stop

POD, OTHER = "6f2d0c1e-0000", "9a41b7d2-0000"
LONG = "My card has not arrived although I ordered it two weeks ago, and nobody answers the telephone"


def chat(question, answer, *before):
    turns = [*before, ("user", question), ("assistant", answer)]
    return {"messages": [{"role": role, "content": text} for role, text in turns]}


def collects(most=5000, **spec):
    return run_config(serving={"modelName": "triage", "corrections": {"collect": True, "maxExamples": most}}, **spec)


def wrote(claim, day, pod, total, *rows):
    """A tap's pod has written these, and with them `total`."""
    folder = claim / "out" / "ns" / "job" / "corrections" / day
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(folder / f"{pod}-{total}.jsonl", rows)


@pytest.fixture
def checked(claim, tmp_path):
    """Preflight's result, and the rows that it prepared to be trained on."""

    def check(config, work="work"):
        found = preflight.run(config, {}, tmp_path / work)
        prepared = found["resolved"].get("prepared")
        path = claim / "out" / "ns" / "job" / "job-1" / prepared["train"]["path"] if prepared else None
        return found, [json.loads(line) for line in path.read_text().splitlines()] if path else []

    return check


def test_a_corrected_answer_is_trained_on_and_counted_as_an_example(claim, checked):
    wrote(claim, "2026-03-01", POD, 2, chat("where is my parcel?", "At the depot."), chat("and now?", "Out."))
    found, trained = checked(collects())
    assert found["resolved"]["train"]["examples"] == len(trained) == 14
    assert found["resolved"]["train"]["corrections"] == found["measured"]["data"]["corrections"] == 2
    assert trained[:12] == rows(12)
    assert {"prompt": "where is my parcel?", "completion": "At the depot."} in trained[12:]


@pytest.mark.parametrize("serving", [None, {}, {"corrections": {"collect": False}}])
def test_without_collect_corrections_change_nothing(claim, checked, serving):
    before, _ = checked(run_config())
    (claim / "out" / "ns" / "job" / "job-1" / "preflight.json").unlink()
    wrote(claim, "2026-03-01", POD, 1, chat("where?", "There."))
    after, trained = checked(run_config(**({"serving": serving} if serving is not None else {})))
    assert after == before
    assert trained == []


def test_the_digest_covers_corrections_and_only_those(claim, checked, tmp_path):
    plain, _ = checked(collects())
    assert "prepared" not in plain["resolved"]
    result = claim / "out" / "ns" / "job" / "job-1" / "preflight.json"
    digests = {plain["resolved"]["train"]["digest"]}
    for total, answer in enumerate(("There.", "Here."), start=1):
        wrote(claim, "2026-03-01", POD, total, chat("where?", answer))
        result.unlink()
        digests.add(checked(collects())[0]["resolved"]["train"]["digest"])
    assert len(digests) == 3
    result.unlink()
    assert checked(collects(), "again")[0]["resolved"]["train"]["digest"] in digests


def test_of_one_conversation_the_latest_correction_counts(claim, checked):
    wrote(claim, "2026-03-02", OTHER, 1, chat("where?", "third"))
    wrote(claim, "2026-03-01", POD, 9, chat("Where?  ", "first"))
    wrote(claim, "2026-03-01", POD, 10, chat("where?", "second"))
    assert [row["completion"] for row in checked(collects())[1][12:]] == ["third"]


def test_within_a_pods_day_ten_comes_after_nine(claim, checked):
    wrote(claim, "2026-03-01", POD, 9, chat("where?", "first"))
    wrote(claim, "2026-03-01", POD, 10, chat("where?", "second"))
    assert [row["completion"] for row in checked(collects())[1][12:]] == ["second"]


def test_within_a_file_the_later_row_wins(claim, checked):
    wrote(claim, "2026-03-01", POD, 2, chat("where?", "first"), chat("where?", "second"))
    assert [row["completion"] for row in checked(collects())[1][12:]] == ["second"]


def test_a_correction_replaces_nothing_of_the_training_set_and_no_copy_is_added(claim, checked):
    copy, other = chat("train question 3", "answer 3"), chat("train question 4", "a better answer")
    wrote(claim, "2026-03-01", POD, 2, copy, other)
    found, trained = checked(collects())
    assert trained[:12] == rows(12)
    assert trained[12:] == [{"prompt": "train question 4", "completion": "a better answer"}]
    assert found["measured"]["data"]["conflicts"] == 2
    assert found["measured"]["data"]["exactDuplicates"] == 0


def test_the_newest_are_taken_when_there_are_too_many(claim, checked):
    for day in range(1, 10):
        wrote(claim, f"2026-03-0{day}", POD, day, chat(f"question of day {day}", "so"))
    found, trained = checked(collects(most=3))
    assert {row["prompt"] for row in trained[12:]} == {f"question of day {day}" for day in (7, 8, 9)}
    assert found["resolved"]["train"]["corrections"] == 3


def asks_in_gold(claim, *questions):
    write_rows(claim / "gold.jsonl", [{"prompt": text, "completion": "x"} for text in (*questions, "something else")])


def test_a_correction_that_asks_a_gold_question_is_left_out_and_told(claim, checked):
    asked = chat(" GOLD question 2", "whatever")
    wrote(claim, "2026-03-01", POD, 3, asked, chat("where?", "there"), chat("gold question 2", "so"))
    found, trained = checked(collects())
    assert trained == [*rows(12), {"prompt": "where?", "completion": "there"}]
    assert found["measured"]["leakage"]["exact"] == 0
    assert found["measured"]["data"]["correctionsInGold"] == 1
    assert found["resolved"]["train"]["corrections"] == found["measured"]["data"]["corrections"] == 1
    assert found["notes"]["data"].startswith("1 corrections ask what the gold set asks")


def test_a_correction_that_asks_nearly_what_gold_asks_is_left_out(claim, checked):
    asks_in_gold(claim, LONG)
    asked = chat(LONG.replace("two weeks", "two weks"), "whatever")
    wrote(claim, "2026-03-01", POD, 2, asked, chat("where?", "there"))
    found, trained = checked(collects())
    assert [row["prompt"] for row in trained[12:]] == ["where?"]
    assert (found["measured"]["leakage"]["exact"], found["measured"]["leakage"]["near"]) == (0, 0)
    assert found["measured"]["data"]["correctionsInGold"] == 1


def test_a_gold_question_under_another_system_prompt_is_left_out(claim, checked):
    write_rows(claim / "train.jsonl", [chat(f"question {n}", "yes") for n in range(12)])
    write_rows(claim / "gold.jsonl", [chat(LONG, "yes"), chat("something else", "no")])
    wrote(claim, "2026-03-01", POD, 1, chat(LONG, "so", ("system", "be short")))
    found, trained = checked(collects())
    assert trained == []
    assert found["measured"]["data"]["correctionsInGold"] == 1


def test_without_the_leakage_gate_only_exact_copies_of_gold_are_left_out(claim, checked):
    asks_in_gold(claim, LONG)
    near = LONG.replace("two weeks", "two weks")
    wrote(claim, "2026-03-01", POD, 2, chat(LONG.upper(), "this"), chat(near, "that"))
    found, trained = checked(collects(gates={"leakage": {"mode": "Off"}}))
    assert trained[12:] == [{"prompt": near, "completion": "that"}]
    assert found["measured"]["data"]["correctionsInGold"] == 1


def test_what_the_training_set_itself_has_of_gold_is_still_found(claim, checked):
    write_rows(claim / "train.jsonl", [*rows(12), {"prompt": "gold question 1", "completion": "x"}])
    wrote(claim, "2026-03-01", POD, 1, chat("gold question 2", "whatever"))
    assert checked(collects())[0]["measured"]["leakage"]["exact"] == 1


def test_what_people_correct_never_changes_what_the_leakage_gate_says(claim, checked):
    # So many prompts with one beginning would make of it a template, and of the last one a copy of gold.
    asks_in_gold(claim, LONG)
    write_rows(claim / "train.jsonl", rows(60))
    beginning = "Please, dear assistant of our bank, be so kind as to tell this customer in friendly words:"
    before, _ = checked(collects())
    (claim / "out" / "ns" / "job" / "job-1" / "preflight.json").unlink()
    corrected = [chat(f"{beginning} {n * 7919} {chr(97 + n) * 9}", "so") for n in range(25)]
    wrote(claim, "2026-03-01", POD, 26, *corrected, chat(f"{beginning} {LONG}", "whatever"))
    after, trained = checked(collects(), "again")
    assert len(trained) == 86
    assert after["measured"]["leakage"] == before["measured"]["leakage"]


def test_the_training_sets_own_template_makes_no_correction_a_copy_of_gold(claim, checked):
    beginning = "Please, dear assistant of our bank, be so kind as to tell this customer in friendly words:"
    own = [{"prompt": f"{beginning} {n * 7919} {chr(97 + n % 26) * 9}", "completion": "x"} for n in range(60)]
    write_rows(claim / "train.jsonl", own)
    asks_in_gold(claim, f"{beginning} my card is lost")
    wrote(claim, "2026-03-01", POD, 1, chat(f"{beginning} why so dear", "so"))
    found, trained = checked(collects())
    assert len(trained) == 61
    assert "correctionsInGold" not in found["measured"]["data"]


def test_the_digest_covers_no_correction_that_is_left_out(claim, checked):
    result = claim / "out" / "ns" / "job" / "job-1" / "preflight.json"
    plain, _ = checked(collects(), "0")
    result.unlink()
    wrote(claim, "2026-03-01", POD, 2, chat("gold question 2", "so"), chat("train question 3", "answer 3"))
    found, trained = checked(collects(), "1")
    assert trained == []
    assert found["resolved"]["train"] == plain["resolved"]["train"]


def test_what_is_left_out_takes_no_others_place(claim, checked):
    wrote(claim, "2026-03-01", POD, 1, chat("where?", "there"))
    wrote(claim, "2026-03-02", POD, 6, *(chat(f"gold question {n}", "so") for n in range(5)))
    found, trained = checked(collects(most=1))
    assert [row["prompt"] for row in trained[12:]] == ["where?"]
    assert found["measured"]["data"]["correctionsInGold"] == 5


def test_a_gold_question_is_not_held_out_as_fresh_gold_either(claim, checked):
    write_rows(claim / "train.jsonl", [{**row, "at": f"2026-02-{n + 1:02}"} for n, row in enumerate(rows(12))])
    wrote(claim, "2026-03-01", POD, 2, chat("gold question 2", "so"), chat("where?", "there"))
    dataset = {**document()["spec"]["dataset"], "timeField": "at", "holdOut": {"fraction": 1.0, "newest": "1d"}}
    found, _ = checked(collects(dataset=dataset))
    assert found["resolved"]["prepared"]["fresh"]["examples"] == 1
    assert found["measured"]["data"]["heldOut"] == 1


def test_personal_data_in_a_correction_is_found_and_replaced(claim, checked):
    wrote(claim, "2026-03-01", POD, 1, chat("who wrote?", "it was jane.doe@example.org"))
    found, trained = checked(collects(gates={"privacy": {"redact": True, "entities": ["EMAIL_ADDRESS"]}}))
    assert found["measured"]["privacy"]["EMAIL_ADDRESS"] == 1
    assert trained[12]["completion"] == "it was <EMAIL_ADDRESS>"


def test_a_conversation_that_the_format_cannot_express_is_left_out_and_told(claim, checked):
    wrote(claim, "2026-03-01", POD, 2, chat("and?", "so", ("system", "be short")), chat("where?", "there"))
    found, trained = checked(collects())
    assert len(trained) == 13
    assert found["notes"]["data"].startswith("1 corrections are no PromptCompletion")


def test_whole_conversations_are_learned_where_the_training_set_has_them(claim, checked):
    write_rows(claim / "train.jsonl", [chat(f"question {n}", "yes") for n in range(12)])
    write_rows(claim / "gold.jsonl", [chat(f"gold {n}", "yes") for n in range(5)])
    corrected = chat("and?", "so", ("system", "be short"), ("user", "why?"), ("assistant", "because"))
    wrote(claim, "2026-03-01", POD, 1, corrected)
    assert checked(collects())[1][12:] == [corrected]


def test_a_corrected_class_comes_under_the_training_sets_own_column(claim, checked):
    write_rows(claim / "train.jsonl", [{"text": f"text {n}", "intent": "a"} for n in range(12)])
    write_rows(claim / "gold.jsonl", [{"text": f"gold {n}", "intent": "a"} for n in range(5)])
    wrote(claim, "2026-03-01", POD, 1, chat("a new text\n", " b"))
    assert checked(collects())[1][12:] == [{"text": "a new text", "intent": "b"}]


def test_corrections_have_the_day_they_were_written_as_their_time(claim, checked):
    dated = [{**row, "at": f"2026-02-{n + 1:02}"} for n, row in enumerate(rows(12))]
    write_rows(claim / "train.jsonl", dated)
    wrote(claim, "2026-03-01", POD, 1, chat("where?", "there"))
    dataset = {**document()["spec"]["dataset"], "timeField": "at", "holdOut": {"fraction": 1.0, "newest": "1d"}}
    found, trained = checked(collects(dataset=dataset))
    assert trained == dated
    assert found["resolved"]["prepared"]["fresh"]["examples"] == 1


def test_a_file_that_is_no_correction_is_named_with_the_field(claim, checked):
    folder = claim / "out" / "ns" / "job" / "corrections" / "2026-03-01"
    folder.mkdir(parents=True)
    (folder / f"{POD}-1.jsonl").write_text("{}\n")
    with pytest.raises(InputError, match=f"{POD}-1.jsonl, line 1") as error:
        checked(collects())
    assert error.value.field == corrections.FIELD


def test_training_sees_what_preflight_saw_whatever_was_corrected_since(claim, checked, tmp_path):
    wrote(claim, "2026-03-01", POD, 1, chat("where?", "there"))
    found, _ = checked(collects())
    wrote(claim, "2026-03-02", POD, 2, chat("when?", "then"))
    config = collects(expected={**found["resolved"], "alpha": 0.05})
    learned = []

    def make(config: RunConfig, folder, examples, work, threads):
        learned.extend(examples)
        return FakeLearner(work)

    train.run(config, {}, tmp_path / "train", Progress(1), Stop(), make_learner=make)
    assert [e.prompt for e in learned] == [row["prompt"] for row in rows(12)] + ["where?"]
    manifest = json.loads((claim / "out" / "ns" / "job" / "job-1" / "manifest.json").read_text())
    told = manifest["resolved"]["train"]
    assert (told["digest"], told["examples"], told["corrections"]) == (found["resolved"]["train"]["digest"], 13, 1)


def test_a_second_attempt_at_preflight_answers_with_what_the_first_took(claim, checked):
    wrote(claim, "2026-03-01", POD, 1, chat("where?", "there"))
    first, _ = checked(collects())
    wrote(claim, "2026-03-02", POD, 2, chat("when?", "then"))
    assert checked(collects(), "second")[0] == first


def test_the_report_says_how_many_examples_were_corrections(claim, checked):
    wrote(claim, "2026-03-01", POD, 1, chat("where?", "there"))
    found, _ = checked(collects())
    resolved = json.loads(json.dumps(found["resolved"]))
    del resolved["train"]["corrections"]  # of what the operator keeps
    status = Status.read({"phase": "Declined", "resolved": resolved})
    store = preflight.inputs.Sources(collects(), {}).artifacts()
    report = build.build(collects(), gather.gather(collects(), status, store))
    assert report.lineage.train.corrections == 1
    assert b"1 of them corrected by people" in page.render(report)


def test_corrections_are_counted_over_all_pods_without_opening_a_file(claim):
    wrote(claim, "2026-03-01", POD, 100)
    wrote(claim, "2026-03-02", POD, 130)
    wrote(claim, "2026-03-02", OTHER, 7)
    (claim / "out" / "ns" / "job" / "corrections" / "notes.txt").write_text("mine")
    store = preflight.inputs.Sources(collects(), {}).corrections()
    assert corrections.count(store, 5000) == 137
    assert corrections.count(store, 50) == 50
