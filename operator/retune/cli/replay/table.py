"""Cumulative counters out of a CSV file: read to the end and checked before anything is judged.

Columns: `time,metric,arm,bad,total`, and if there are any `step` and `bucket`, in any order; others are passed over.
"""

import csv
import math
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from retune.cli.replay.trace import ARMS, Key, Sample, Trace, trace
from retune.cli.replay.unusable import UnusableError

if TYPE_CHECKING:
    from _csv import Reader

COLUMNS = ("time", "metric", "arm", "bad", "total")
BUCKETS = 32
_CURE = "write whole, cumulative counts, as the counters themselves show them"


def read_table(path: str, metrics: Collection[str], steps: Collection[str]) -> Trace:
    """The counters in a file.

    Args:
        path: the file; "-" is stdin.
        metrics: names of the stop-losses.
        steps: labels of the rollout's steps, in their order.

    Raises:
        UnusableError: the file cannot be read, or a line of it cannot be meant; says which and what to write.
    """
    if path == "-":
        path = "/dev/stdin"
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file)
            head = [name.strip() for name in next(rows, [])]
            found = trace(_Rows(path, rows, head, metrics, steps).read(), buckets="bucket" in head)
    except OSError as error:
        raise UnusableError(f"{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"{path} is not UTF-8 ({error.reason}); save it as UTF-8") from error
    if not found.polls:
        raise UnusableError(f"{path} has no rows below its header; give it at least two times of each counter")
    return found


class _Rows:
    """Turns rows into samples, and knows on which line it is."""

    def __init__(
        self, path: str, rows: "Reader", head: list[str], metrics: Collection[str], steps: Collection[str]
    ) -> None:
        self._path, self._rows, self._metrics, self._steps = path, rows, metrics, tuple(steps)
        if not any(head):
            raise UnusableError(f"{path} is empty; its first line names the columns: {','.join(COLUMNS)}")
        missing = [column for column in COLUMNS if column not in head]
        if missing:
            raise self._wrong(
                f"the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
                f"{'are' if len(missing) > 1 else 'is'} missing; the first line names {','.join(COLUMNS)}, "
                "and if there are any step and bucket"
            )
        twice = sorted({column for column in head if column and head.count(column) > 1})
        if twice:
            raise self._wrong(f"the column {twice[0]} stands twice; keep one")
        self._width = len(head)
        self._at = {column: head.index(column) for column in (*COLUMNS, "step", "bucket") if column in head}
        self._keys: dict[tuple[str, ...], Key] = {}

    def read(self) -> Iterator[Sample]:
        """Every row, checked."""
        before, seen = -math.inf, set[Key]()
        at = self._at
        names = [at[column] for column in ("metric", "arm", "bucket", "step") if column in at]
        while (row := self._next()) is not None:
            if not any(row):
                continue
            if len(row) != self._width:
                raise self._wrong(f"{len(row)} values, where the header names {self._width} columns")
            time = self._time(row[at["time"]])
            if time < before:
                raise self._wrong(f"time {row[at['time']]} comes after {before:g}; sort the rows by time")
            if time > before:
                before = time
                seen.clear()
            called = tuple(row[column] for column in names)
            key = self._keys.get(called) or self._key(row, called)
            if key in seen:
                raise self._wrong(f"{key.metric} of {key.arm} stands twice at time {time:g}; keep one of the rows")
            seen.add(key)
            bad, total = self._count(row, "bad"), self._count(row, "total")
            if bad > total:
                raise self._wrong(f"bad is {bad} and total only {total}; bad counts a part of total")
            yield Sample(time, key, bad, total)

    def _next(self) -> list[str] | None:
        try:
            return next(self._rows, None)
        except csv.Error as error:
            raise self._wrong(f"this is not CSV: {error}") from error

    def _wrong(self, what: str) -> UnusableError:
        return UnusableError(f"{self._path}, line {self._rows.line_num}: {what}")

    def _time(self, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self._wrong(f'time is "{text}"; write seconds, such as 1790000000 or 12.5')
        return value

    def _count(self, row: list[str], column: str) -> int:
        text = row[self._at[column]]
        try:
            value = int(text)
        except ValueError:
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            if not number.is_integer():  # NaN and infinity are not, either
                raise self._wrong(f'{column} is "{text}"; {_CURE}') from None
            value = int(number)
        if value < 0:
            raise self._wrong(f"{column} is {value}, below nought; {_CURE}")
        return value

    def _key(self, row: list[str], called: tuple[str, ...]) -> Key:
        """What a row counts; checked once for each way of naming it."""
        metric, arm = row[self._at["metric"]].strip(), row[self._at["arm"]].strip()
        if metric not in self._metrics:
            raise self._wrong(
                f'the rollout has no stop-loss "{metric}"; it has: {", ".join(self._metrics)}. '
                "Name one of these, or add it to rollout.stopLoss"
            )
        if arm not in ARMS:
            raise self._wrong(f'arm is "{arm}"; write stable or canary')
        key = Key(metric, arm, self._bucket(row), self._step(row))
        self._keys[called] = key
        return key

    def _bucket(self, row: list[str]) -> int:
        if "bucket" not in self._at:
            return 0
        text = row[self._at["bucket"]].strip()
        if not (text.isdecimal() and int(text) < BUCKETS):
            raise self._wrong(f'bucket is "{text}"; write a whole number from 0 to {BUCKETS - 1}, or drop the column')
        return int(text)

    def _step(self, row: list[str]) -> str:
        if "step" not in self._at:
            return ""
        text = row[self._at["step"]].strip()
        if text not in self._steps:
            known = ", ".join(self._steps)
            raise self._wrong(f'the rollout has no step "{text}"; its steps are: {known}. Or drop the column')
        return text
