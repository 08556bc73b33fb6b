"""Every data set is read to its end or refused with its line, its columns or its byte."""

from __future__ import annotations

import csv as std_csv
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune_stores.errors import InputError
from retune_trainer import data
from retune_trainer.data import Format, Origin, parquet, rows

FIELD = "spec.dataset.train.uri"


def origin(name: str) -> Origin:
    return Origin(f"s3://data/{name}", FIELD)


def read(tmp_path, name, content, wanted=None, segment=None):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    form, found = data.examples(path, origin(name), wanted, segment)
    return form, list(found)


def refused(tmp_path, name, content, wanted=None, segment=None) -> InputError:
    with pytest.raises(InputError) as caught:
        read(tmp_path, name, content, wanted, segment)
    assert caught.value.exit_code == 64
    return caught.value


GOOD = '{"prompt": "a", "completion": "b"}\n'


class TestJsonLines:
    def test_blank_lines_and_a_byte_order_mark_are_no_errors(self, tmp_path):
        form, found = read(tmp_path, "x.jsonl", b"\xef\xbb\xbf" + GOOD.encode() + b"\n  \n" + GOOD.encode())
        assert form is Format.PROMPT_COMPLETION
        assert [(e.prompt, e.completion) for e in found] == [("a", "b")] * 2

    def test_a_last_line_without_newline_counts(self, tmp_path):
        assert len(read(tmp_path, "x.jsonl", GOOD + GOOD.rstrip())[1]) == 2

    @pytest.mark.parametrize(
        ("line", "says"),
        [
            ('{"prompt": "a", "completion": }', "not valid JSON: Expecting value at column 31"),
            ('["a", "b"]', "an array, not an object"),
            ('"text"', "a string, not an object"),
            ("null", "null, not an object"),
            ("17", "a number, not an object"),
            ('{"prompt": "a"}', "has no 'completion'"),
            ('{"prompt": "a", "completion": "b", "n": ' + "1" * 5000 + "}", "a number of thousands of digits"),
            ('{"prompt": "a", "completion": null}', "'completion' is NoneType, not a string"),
            ('{"prompt": 3, "completion": "b"}', "'prompt' is int, not a string"),
        ],
    )
    def test_a_malformed_line_is_named_with_what_is_wrong(self, tmp_path, line, says):
        error = refused(tmp_path, "x.jsonl", GOOD * 6 + line + "\n" + GOOD)
        assert (error.reason, error.field) == ("DatasetMalformed", FIELD)
        assert error.message.startswith("s3://data/x.jsonl, line 7: ")
        assert says in error.message

    def test_bytes_that_are_not_utf8_are_named_with_their_line(self, tmp_path):
        error = refused(tmp_path, "x.jsonl", GOOD.encode() + '{"prompt": "ü"}'.encode("latin-1"))
        assert error.reason == "DatasetMalformed"
        assert "line 2: byte 13 (0xfc) is not UTF-8" in error.message

    def test_a_line_nested_beyond_reason_is_no_crash(self, tmp_path):
        error = refused(tmp_path, "x.jsonl", GOOD + "[" * 200_000)
        assert "line 2: nested too deeply" in error.message

    def test_a_file_without_newlines_is_not_read_into_memory(self, tmp_path, monkeypatch):
        monkeypatch.setattr(rows, "MAX_LINE", 1 << 20)
        error = refused(tmp_path, "x.jsonl", b"x" * (3 << 20))
        assert "line 1: longer than 1 MiB" in error.message

    @pytest.mark.parametrize("content", ["", "\n\n  \n"])
    def test_an_empty_file_is_empty_not_malformed(self, tmp_path, content):
        error = refused(tmp_path, "x.jsonl", content)
        assert (error.reason, error.message) == ("DatasetEmpty", "s3://data/x.jsonl holds no example")

    @given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5))
    def test_whatever_is_written_is_read_again(self, tmp_path_factory, pairs):
        pairs = [(p, c) for p, c in pairs if p.strip() and c.strip()]
        if not pairs:
            return
        content = "".join(json.dumps({"prompt": p, "completion": c}) + "\n" for p, c in pairs)
        _, found = read(tmp_path_factory.mktemp("d"), "x.jsonl", content)
        assert [(e.prompt, e.completion) for e in found] == pairs


class TestCsv:
    def test_quotes_commas_and_newlines_inside_a_field(self, tmp_path):
        content = 'prompt,completion\r\n"a, ""b""\nc",d\r\n'
        _, found = read(tmp_path, "x.csv", content)
        assert [(e.prompt, e.completion) for e in found] == [('a, "b"\nc', "d")]

    def test_a_row_with_too_many_fields_is_named(self, tmp_path):
        error = refused(tmp_path, "x.csv", "text,label\na,b\nc,d,e\n")
        assert error.reason == "DatasetMalformed"
        assert "line 3: 3 fields, but the header has 2" in error.message

    def test_an_open_quote_is_named(self, tmp_path):
        error = refused(tmp_path, "x.csv", 'text,label\na,b\n"c,d\n')
        assert error.reason == "DatasetMalformed"
        assert "not valid CSV" in error.message

    def test_a_header_that_names_a_column_twice_is_refused(self, tmp_path):
        assert "line 1: the header names 'text' twice" in refused(tmp_path, "x.csv", "text,text\na,b\n").message

    def test_a_header_alone_is_empty(self, tmp_path):
        assert refused(tmp_path, "x.csv", "text,label\n").reason == "DatasetEmpty"

    def test_semicolons_show_as_one_column(self, tmp_path):
        error = refused(tmp_path, "x.csv", "text;label\na;b\n")
        assert error.reason == "DatasetWrongFormat"
        assert "found the columns text;label" in error.message

    @given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5))
    def test_whatever_pythons_own_writer_writes_is_read_again(self, tmp_path_factory, pairs):
        pairs = [(p, c) for p, c in pairs if p.strip() and c.strip() and "\0" not in p + c and "\r" not in p + c]
        if not pairs:
            return
        out = io.StringIO(newline="")
        std_csv.writer(out).writerows([("prompt", "completion"), *pairs])
        content = out.getvalue().encode("utf-8", "replace").decode()
        _, found = read(tmp_path_factory.mktemp("d"), "x.csv", content)
        assert [(e.prompt, e.completion) for e in found] == [
            tuple(t.encode("utf-8", "replace").decode() for t in pair) for pair in pairs
        ]


class TestParquet:
    def write(self, tmp_path, columns):
        pq.write_table(pa.table(columns), tmp_path / "x.parquet")
        return (tmp_path / "x.parquet").read_bytes()

    def test_rows_over_several_batches_are_read(self, tmp_path):
        content = self.write(tmp_path, {"text": [f"t{n}" for n in range(3000)], "label": list(range(3000))})
        form, found = read(tmp_path, "x.parquet", content)
        assert form is Format.CLASSIFICATION
        assert (len(found), found[2999].completion) == (3000, "2999")

    def test_a_missing_value_is_named_with_its_row(self, tmp_path):
        error = refused(tmp_path, "x.parquet", self.write(tmp_path, {"text": ["a", None], "label": ["b", "c"]}))
        assert (error.reason, "row 2: 'text' is NoneType" in error.message) == ("DatasetMalformed", True)

    def test_conversations_are_read(self, tmp_path):
        messages = [[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]]
        form, found = read(tmp_path, "x.parquet", self.write(tmp_path, {"messages": messages}))
        assert (form, found[0].completion) == (Format.MESSAGES, "ho")

    def test_rows_of_a_megabyte_come_in_small_batches(self, tmp_path, monkeypatch):
        monkeypatch.setattr(parquet, "BATCH_BYTES", 4000)
        content = self.write(tmp_path, {"text": [f"{n:01000}" for n in range(50)], "label": ["a"] * 50})
        assert len(read(tmp_path, "x.parquet", content)[1]) == 50

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([1_700_000_000_000_000_001], pa.timestamp("ns")),
            pa.array([10**17], pa.timestamp("ms")),
            pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xff")),
        ],
        ids=["nanoseconds", "a year Python has no date for", "text that is not UTF-8"],
    )
    def test_a_value_that_python_cannot_hold_is_malformed_not_a_crash(self, tmp_path, column):
        error = refused(tmp_path, "x.parquet", self.write(tmp_path, {"text": ["a"], "label": ["b"], "at": column}))
        assert (error.reason, ", row 1: " in error.message) == ("DatasetMalformed", True)

    def test_what_is_no_parquet_is_malformed(self, tmp_path):
        assert refused(tmp_path, "x.parquet", b"PAR1 not really").reason == "DatasetMalformed"


class TestFormats:
    @pytest.mark.parametrize(
        ("row", "form"),
        [
            ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, Format.MESSAGES),
            ({"prompt": "q", "completion": "a"}, Format.PROMPT_COMPLETION),
            ({"text": "q", "label": "a"}, Format.CLASSIFICATION),
            ({"text": "q", "category": "a"}, Format.CLASSIFICATION),
            ({"text": "q"}, Format.TEXT),
        ],
    )
    def test_the_columns_tell_the_format(self, tmp_path, row, form):
        assert read(tmp_path, "x.jsonl", json.dumps(row))[0] is form

    def test_unknown_columns_name_those_found_and_those_wanted(self, tmp_path):
        error = refused(tmp_path, "x.jsonl", '{"question": "a", "answer": "b"}')
        assert error.reason == "DatasetWrongFormat"
        assert (
            "found the columns question, answer; wanted messages (Messages); or prompt and completion" in error.message
        )

    def test_a_format_the_columns_do_not_have_is_refused(self, tmp_path):
        error = refused(tmp_path, "x.jsonl", GOOD, wanted="Messages")
        assert error.reason == "DatasetWrongFormat"
        assert "found the columns prompt, completion; spec.dataset.format Messages wants messages" in error.message

    def test_text_may_be_wanted_of_labelled_rows(self, tmp_path):
        form, found = read(tmp_path, "x.jsonl", '{"text": "a b", "label": "c"}', wanted="Text")
        assert (form, found[0].prompt, found[0].completion) == (Format.TEXT, "", "a b")

    def test_a_class_may_be_a_number_but_not_a_boolean(self, tmp_path):
        assert read(tmp_path, "x.jsonl", '{"text": "a", "label": 3}')[1][0].completion == "3"
        assert "'label' is bool" in refused(tmp_path, "x.jsonl", '{"text": "a", "label": true}').message

    def test_an_unknown_ending_names_those_that_are_read(self, tmp_path):
        error = refused(tmp_path, "x.xlsx", b"PK")
        assert (error.reason, error.field) == ("DatasetWrongFormat", FIELD)
        assert ".xlsx is not read; use .jsonl, .ndjson, .csv, .parquet" in error.message

    @pytest.mark.parametrize(
        ("messages", "says"),
        [
            ([], "'messages' is not a list of messages"),
            ("hi", "'messages' is not a list of messages"),
            ([{"role": "user", "content": "q"}], "the last message is of role 'user'"),
            ([{"role": "assistant", "content": "a"}], "nothing stands before the assistant's answer"),
            ([{"role": "bot", "content": "q"}, {"role": "assistant", "content": "a"}], "message 1 has the role 'bot'"),
            ([{"role": "user", "content": "q"}, {"role": "assistant"}], "the content of message 2"),
            (["hi", {"role": "assistant", "content": "a"}], "message 1 is not an object"),
        ],
    )
    def test_a_conversation_that_teaches_nothing_is_malformed(self, tmp_path, messages, says):
        error = refused(tmp_path, "x.jsonl", json.dumps({"messages": messages}))
        assert (error.reason, says in error.message) == ("DatasetMalformed", True), error.message

    def test_the_answer_is_the_last_turn_and_all_before_is_asked(self, tmp_path):
        turns = [("system", "be brief"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")]
        row = {"messages": [{"role": role, "content": text} for role, text in turns]}
        example = read(tmp_path, "x.jsonl", json.dumps(row))[1][0]
        assert (example.messages, example.completion) == (tuple(turns[:-1]), "4")

    def test_a_segment_field_groups_examples_and_missing_values_have_a_group(self, tmp_path):
        lines = ['{"prompt": "a", "completion": "b", "lang": "de"}', '{"prompt": "a", "completion": "b"}']
        _, found = read(tmp_path, "x.jsonl", "\n".join(lines), segment="lang")
        assert [e.segment for e in found] == ["de", "(none)"]

    def test_a_segment_field_that_no_column_has_is_refused(self, tmp_path):
        error = refused(tmp_path, "x.jsonl", GOOD, segment="lang")
        assert (error.reason, error.field) == ("DatasetWrongFormat", "spec.dataset.segmentField")
        assert "found the columns prompt, completion" in error.message


class TestEmptyRows:
    @pytest.mark.parametrize(
        "row",
        [
            {"prompt": "a", "completion": ""},
            {"prompt": " \n", "completion": "b"},
            {"text": "a", "label": ""},
            {"text": "", "label": "b"},
            {"text": "\t"},
            {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " "}]},
            {"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}]},
        ],
    )
    def test_a_row_without_question_or_answer_is_left_out_and_no_error(self, tmp_path, row):
        full = {name: "x" if isinstance(value, str) else value for name, value in row.items()}
        if "messages" in row:
            full = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
        content = "\n".join(json.dumps(each) for each in (row, full, row))
        assert len(read(tmp_path, "x.jsonl", content)[1]) == 1

    def test_their_lines_are_known(self, tmp_path):
        path = tmp_path / "x.csv"
        path.write_text('text,label\n"a\nb",c\n"",c\nd,\n')
        table = data.open_table(path, origin("x.csv"))
        assert [(record.line, record.example is None) for record in table.records] == [(3, False), (4, True), (5, True)]


class TestWeights:
    def weights(self, tmp_path, *values):
        path = tmp_path / "x.jsonl"
        path.write_text("\n".join(json.dumps({"text": "a", "label": "b", "cost": value}) for value in values))
        return [e.weight for e in data.examples(path, origin("x.jsonl"), weight_field="cost")[1]]

    def test_numbers_and_numbers_as_text_are_read_and_none_is_one(self, tmp_path):
        assert self.weights(tmp_path, 2, 0.5, "3", None, "", 0) == [2, 0.5, 3, 1, 1, 0]

    @pytest.mark.parametrize("value", ["high", -1, True, "nan", [1]])
    def test_what_is_no_cost_is_named_with_its_line(self, tmp_path, value):
        with pytest.raises(InputError) as caught:
            self.weights(tmp_path, 1, value)
        assert caught.value.field == "spec.dataset.weightField"
        assert "line 2: 'cost' is " in caught.value.message

    def test_where_weights_may_be_absent_those_that_come_later_in_the_file_count(self, tmp_path):
        path = tmp_path / "x.jsonl"
        path.write_text('{"text": "a", "label": "b"}\n{"text": "c", "label": "d", "cost": 5}\n')
        found = data.examples(path, origin("x.jsonl"), weight_field="cost", weighted=False)[1]
        assert [e.weight for e in found] == [1, 5]

    def test_a_column_that_is_not_there_is_refused_at_once(self, tmp_path):
        path = tmp_path / "x.jsonl"
        path.write_text(GOOD)
        with pytest.raises(InputError) as caught:
            data.examples(path, origin("x.jsonl"), weight_field="cost")
        assert caught.value.field == "spec.dataset.weightField"
