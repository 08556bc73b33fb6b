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


def test_a_correction_that_asks_a_gold_question_is_a_leak(claim, checked):
    wrote(claim, "2026-03-01", POD, 1, chat("gold question 2", "whatever"))
    assert checked(collects())[0]["measured"]["leakage"]["exact"] == 1


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
