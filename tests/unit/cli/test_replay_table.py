"""Files of counters: what can be read, and what is refused with its line and what to write instead."""

import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.cli.traces import counters, job

from retune.cli.app import verbs
from retune.cli.replay.table import read_table
from retune.cli.replay.trace import Key, Trace
from retune.cli.replay.unusable import UnusableError

HEAD = "time,metric,arm,bad,total"
STEPS = ("0", "1", "bake")


def read(folder: Path, text: str | bytes) -> Trace:
    path = folder / "trace.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(str(path), ("errors", "slow"), STEPS)


def added(trace: Trace) -> list[dict[Key, tuple[int, int]]]:
    return [dict(poll.added) for poll in trace.polls]


STABLE = Key("errors", "stable")


def test_what_was_counted_before_the_first_poll_is_not_evidence(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEAD}\n0,errors,stable,5,100\n5,errors,stable,6,130\n")
    assert added(found) == [{}, {STABLE: (1, 30)}]


def test_a_counter_that_falls_has_started_anew_and_so_have_its_sisters_of_that_arm(tmp_path: Path) -> None:
    text = f"{HEAD},bucket\n0,errors,stable,5,100,0\n0,errors,stable,0,3,1\n5,errors,stable,1,20,0\n"
    found = read(tmp_path, text + "5,errors,stable,2,4,1\n")
    assert added(found)[1] == {Key("errors", "stable", 0): (1, 20), Key("errors", "stable", 1): (2, 4)}


def test_a_counter_that_appears_later_counts_from_nought(tmp_path: Path) -> None:
    found = read(tmp_path, f"{HEAD}\n0,errors,stable,0,9\n5,errors,canary,1,4\n")
    assert added(found)[1] == {Key("errors", "canary"): (1, 4)}


def test_columns_come_in_any_order_with_others_between_and_from_any_editor(tmp_path: Path) -> None:
    plain = read(tmp_path, f"{HEAD}\n0,errors,stable,0,9\n5,errors,stable,1,12\n")
    text = "total, note ,bad,arm,time,metric\r\n9,x,0,stable,0,errors\r\n\r\n12.0,,1,stable,5.0,errors\r\n"
    assert read(tmp_path, b"\xef\xbb\xbf" + text.encode()) == plain


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("time,metric,arm,bad\n", 1, "the column total is missing"),
        (f"{HEAD},bad\n", 1, "bad stands twice"),
        (f"{HEAD}\n0,errors,stable,0\n", 2, "4 values, where the header names 5"),
        (f"{HEAD}\n0,errors,stable,0,9\nsoon,errors,stable,0,9\n", 3, 'time is "soon"'),
        (f"{HEAD}\nnan,errors,stable,0,9\n", 2, "write seconds"),
        (f"{HEAD}\n5,errors,stable,0,9\n0,errors,stable,0,9\n", 3, "sort the rows by time"),
        (f"{HEAD}\n0,errors,stable,NaN,9\n", 2, 'bad is "NaN"'),
        (f"{HEAD}\n0,errors,stable,0,inf\n", 2, 'total is "inf"'),
        (f"{HEAD}\n0,errors,stable,0,9.5\n", 2, "whole, cumulative counts"),
        (f"{HEAD}\n0,errors,stable,,9\n", 2, 'bad is ""'),
        (f"{HEAD}\n0,errors,stable,-1,9\n", 2, "below nought"),
        (f"{HEAD}\n0,errors,stable,10,9\n", 2, "bad is 10 and total only 9"),
        (f"{HEAD}\n0,errors,canari,0,9\n", 2, "write stable or canary"),
        (f"{HEAD}\n0,latency,stable,0,9\n", 2, "it has: errors, slow"),
        (f"{HEAD}\n0,errors,stable,0,9\n0,errors,stable,0,9\n", 3, "stands twice at time 0"),
        (f"{HEAD},step\n0,errors,stable,0,9,7\n", 2, "its steps are: 0, 1, bake"),
        (f"{HEAD},step\n0,errors,stable,0,9,\n", 2, 'no step ""'),
        (f"{HEAD},bucket\n0,errors,stable,0,9,32\n", 2, "from 0 to 31"),
    ],
)
def test_a_line_that_cannot_be_meant_is_named_with_its_cure(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(UnusableError) as refused:
        read(tmp_path, text)
    assert f"trace.csv, line {line}: " in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [("", "is empty"), (f"{HEAD}\n", "no rows below its header"), (b"time\xff\n", "is not UTF-8")],
)
def test_a_file_with_nothing_in_it_is_refused(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(UnusableError, match=said):
        read(tmp_path, text)


def test_a_mistake_at_the_end_is_found_before_anything_is_printed(tmp_path: Path) -> None:
    path = tmp_path / "trace.csv"
    path.write_text("\n".join([*counters(seconds=300), "400,errors,stable,x,9"]))
    done = CliRunner().invoke(verbs, ["replay", "--job", job(tmp_path), "--csv", str(path), "-o", "json"])
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_hundred_thousand_lines_are_read_in_seconds(tmp_path: Path) -> None:
    lines = [f"{at},errors,{arm},{at // 50},{at * 9}" for at in range(50_000) for arm in ("stable", "canary")]
    begun = time.process_time()
    found = read(tmp_path, "\n".join([HEAD, *lines]))
    assert time.process_time() - begun < 6
    assert len(found.polls) == 50_000
