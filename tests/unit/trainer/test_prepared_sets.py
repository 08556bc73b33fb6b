"""What is trained on where it is not the source as it is: hold-out, and what preflight leaves in the run's folder."""

from __future__ import annotations

import base64
import json
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.trainer.fakes import rows, run_config, write_rows
from tests.unit.trainer.measured import QUIET, lines, of

from retune_stores.errors import InputError
from retune_trainer import inputs, preflight
from retune_trainer.config import HoldOut, PreparedSet
from retune_trainer.data import Origin
from retune_trainer.measuring import hold_out
from retune_trainer.measuring.sketch import sketch

DAY = 86_400
NOW = 1_717_156_800
REDACT = {"privacy": {"redact": True}}
GATES = {**QUIET, "data": {"mode": "Off"}}


def dated(count, *, days_apart=1.0, text="question {} of them"):
    return [{"text": text.format(n), "label": "a", "at": NOW - int(n * days_apart * DAY)} for n in range(count)]


def held(tmp_path, train, fraction=0.5, newest="14d", **gates):
    dataset = {"timeField": "at", "holdOut": {"fraction": fraction, "newest": newest}}
    return of(tmp_path, train, dataset=dataset, gates={**GATES, **gates})


class TestHoldOut:
    def test_a_share_of_the_newest_becomes_fresh_gold_and_all_else_is_trained_on(self, tmp_path):
        train = dated(100)
        found = held(tmp_path, train, data={}, fraction=0.4)
        kept, fresh = lines(found.prepared.file), lines(found.fresh.file)
        assert len(fresh) == 6  # of the 15 rows of 14 days and the newest
        assert min(row["at"] for row in fresh) >= NOW - 14 * DAY
        assert sorted(row["text"] for row in kept + fresh) == sorted(row["text"] for row in train)
        assert (found.measured["data"]["heldOut"], found.measured["data"]["examples"]) == (6, 94)
        assert (found.fresh.examples, found.prepared.examples) == (6, 94)

    def test_copies_stay_on_the_same_side(self, tmp_path):
        train = [row for n in range(40) for row in dated(1, text=f"matter {n}") * 3]
        found = held(tmp_path, train)
        kept, fresh = ({row["text"] for row in lines(part.file)} for part in (found.prepared, found.fresh))
        assert not kept & fresh
        assert len(fresh) == 20

    def test_a_question_that_was_asked_before_is_no_test_of_tomorrow(self, tmp_path):
        old = [{**row, "at": NOW - 400 * DAY} for row in dated(10, days_apart=0)]
        found = held(tmp_path, old[:9] + dated(10, days_apart=0), fraction=1.0)
        assert [row["text"] for row in lines(found.fresh.file)] == ["question 9 of them"]

    def test_the_choice_depends_on_the_question_only(self, tmp_path):
        train = dated(60, days_apart=0)
        first = {row["text"] for row in lines(held(tmp_path, train).fresh.file)}
        again = {
            row["text"] for row in lines(held(tmp_path, [{**row, "label": "b"} for row in train[::-1]]).fresh.file)
        }
        assert first == again

    def test_the_same_rows_give_the_same_bytes_and_the_digest_is_in_the_name(self, tmp_path):
        first, second = held(tmp_path, dated(30)), held(tmp_path, dated(30))
        assert first.prepared.digest == second.prepared.digest == f"sha256:{_sha256(second.prepared.file)}"
        assert first.prepared.path == f"prepared/train-{_sha256(second.prepared.file)[:12]}.jsonl"
        assert first.fresh.path.startswith("prepared/fresh-")

    def test_fresh_gold_is_scrubbed_like_what_is_trained_on(self, tmp_path):
        train = dated(20, days_apart=0, text="question {} to a@example.com")
        found = held(tmp_path, train, privacy={"redact": True})
        assert all("<EMAIL_ADDRESS>" in row["text"] for row in lines(found.fresh.file) + lines(found.prepared.file))
        # Only what is trained on is counted.
        assert found.measured["privacy"]["rows"] == 10

    def test_nothing_to_train_on_is_refused(self, tmp_path):
        with pytest.raises(InputError) as caught:
            held(tmp_path, dated(5), fraction=1.0)
        assert caught.value.field == "spec.dataset.holdOut.fraction"

    def test_a_column_that_is_not_there_is_refused(self, tmp_path):
        with pytest.raises(InputError) as caught:
            held(tmp_path, [{"text": "a", "label": "b"}])
        assert caught.value.field == "spec.dataset.timeField"

    @pytest.mark.parametrize("value", ["yesterday", None, True, "", [], 1_717_156_800_000, float("inf"), "2024-13-01"])
    def test_a_time_that_cannot_be_read_is_named_with_line_value_and_cure(self, tmp_path, value):
        with pytest.raises(InputError) as caught:
            held(tmp_path, [*dated(3), {"text": "x", "label": "a", "at": value}])
        assert (caught.value.reason, caught.value.field) == ("DatasetMalformed", "spec.dataset.timeField")
        assert (
            f"line 4: 'at' is {str(value)!r}" in caught.value.message
            or f"line 4: 'at' is {value!r}" in caught.value.message
        )
        assert "ISO 8601" in caught.value.message

    @pytest.mark.parametrize(
        "value",
        [
            "2024-05-31T12:00:00Z",
            "2024-05-31 12:00:00",
            "2024-05-31T14:00:00+02:00",
            "1717156800",
            1717156800,
            1717156800.0,
        ],
    )
    def test_iso_8601_and_seconds_are_the_same_moment(self, value):
        assert hold_out.moment(value, "at", 1, Origin("x", "x")) == NOW

    def test_a_day_alone_is_its_beginning(self):
        assert hold_out.moment("20240531", "at", 1, Origin("x", "x")) == NOW - DAY / 2

    @pytest.mark.parametrize(("text", "value"), [("14d", 14 * DAY), ("1d12h", 1.5 * DAY), ("90s", 90), ("30m", 1800)])
    def test_durations_are_as_the_api_has_them(self, text, value):
        assert hold_out.seconds(text) == value

    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 40 * DAY)), min_size=1, max_size=60), st.floats(0, 1))
    def test_no_question_is_ever_on_both_sides_and_none_is_old(self, rows, fraction):
        asked = np.array([n for n, _ in rows], np.uint64)
        times = np.array([t for _, t in rows], np.float64)
        mask = hold_out.choose(asked, times, HoldOut(fraction=fraction, newest="14d"))
        assert not set(asked[mask]) & set(asked[~mask])
        assert (times[mask] >= times.max() - 14 * DAY).all()


def _sha256(path):
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()


class TestSketch:
    def test_it_is_the_64_smallest_hashes_in_order(self):
        keys = np.arange(1000, dtype=np.uint64)[::-1] << np.uint64(32)
        values = struct.unpack(">64I", base64.b64decode(sketch(keys)))
        assert values == tuple(range(64))

    def test_order_and_copies_do_not_matter(self):
        keys = np.random.default_rng(0).integers(0, 2**63, 300, np.uint64)
        assert sketch(keys) == sketch(np.concatenate([keys[::-1], keys]))

    def test_a_small_set_has_a_small_one(self):
        assert len(base64.b64decode(sketch(np.array([1 << 40, 1 << 41], np.uint64)))) == 8


class TestPreflight:
    """The pod's result and what it leaves behind."""

    def out(self, claim):
        return claim / "out/ns/job/job-1"

    def test_prepared_sets_lie_in_the_runs_folder_and_can_be_brought_back(self, claim, tmp_path):
        write_rows(claim / "train.jsonl", [{"prompt": "write to a@example.com", "completion": "yes"}, *rows(3)])
        told = preflight.run(run_config(gates=REDACT), {}, tmp_path / "p")
        train = told["resolved"]["prepared"]["train"]
        assert (train["examples"], told["resolved"]["prepared"]["fresh"]) == (4, None)
        brought = inputs.Sources(run_config(), {}).prepared(PreparedSet.model_validate(train), tmp_path / "t")
        assert lines(brought.path)[0]["prompt"] == "write to <EMAIL_ADDRESS>"
        assert brought.digest == train["digest"]

    def test_a_prepared_set_that_was_changed_or_removed_is_refused(self, claim, tmp_path):
        told = preflight.run(run_config(gates=REDACT), {}, tmp_path / "p")
        train = PreparedSet.model_validate(told["resolved"]["prepared"]["train"])
        path = self.out(claim) / train.path
        for change in (lambda: path.write_text("{}"), path.unlink):
            change()
            with pytest.raises(InputError) as caught:
                inputs.Sources(run_config(), {}).prepared(train, tmp_path / "t")
            assert caught.value.reason == "InputsChanged"

    def test_the_source_is_used_where_nothing_has_to_be_changed(self, claim, tmp_path):
        told = preflight.run(run_config(), {}, tmp_path / "p")
        assert "prepared" not in told["resolved"]
        assert not (self.out(claim) / "prepared").exists()
        assert len(base64.b64decode(told["resolved"]["gold"]["sketch"])) == 4 * 5

    def test_every_gate_that_is_on_is_measured_and_the_details_are_in_the_folder(self, claim, tmp_path):
        write_rows(claim / "train.jsonl", [*rows(12), rows(1)[0]])
        told = preflight.run(run_config(), {}, tmp_path / "p")
        assert set(told["measured"]) == {"data", "leakage", "privacy"}
        assert told["measured"]["data"]["exactDuplicates"] == 1
        document = json.loads((self.out(claim) / "preflight.json").read_text())
        assert {name: document[name] for name in told} == told
        assert document["details"]["duplicates"]["exact"] == [[1, 13]]
        assert document["run"]["uid"] == "uid-1"

    def test_a_second_attempt_answers_without_measuring_again(self, claim, tmp_path, monkeypatch):
        first = preflight.run(run_config(), {}, tmp_path / "p")
        monkeypatch.setattr("retune_trainer.measuring.measure", lambda *_: pytest.fail("measured again"))
        assert preflight.run(run_config(attempt=2), {}, tmp_path / "p2") == first

    @pytest.mark.parametrize(
        "content", ['{"run": {"uid": "another"}, "outcome": "Succeeded"}', "[]", "{", '{"run": 3}']
    )
    def test_what_is_not_of_this_run_is_not_believed(self, claim, tmp_path, content):
        self.out(claim).mkdir(parents=True)
        (self.out(claim) / "preflight.json").write_text(content)
        assert "resolved" in preflight.run(run_config(), {}, tmp_path / "p")

    def test_a_guard_set_that_cannot_be_read_is_found_before_a_gpu_is_asked_for(self, claim, tmp_path):
        (claim / "guard.jsonl").write_text('{"prompt": "a"}\n')
        with pytest.raises(InputError) as caught:
            preflight.run(run_config(evaluation={"guard": {"uri": "pvc://store/guard.jsonl"}}), {}, tmp_path / "p")
        assert caught.value.field == "spec.evaluation.guard.uri"

    def test_a_kind_of_personal_data_nobody_knows_is_refused_before_anything_is_read(self, tmp_path):
        with pytest.raises(InputError) as caught:
            preflight.run(run_config(gates={"privacy": {"entities": ["SHOE_SIZE"]}}), {}, tmp_path)
        assert caught.value.field == "spec.gates.privacy.entities"
