"""What users saw, by arm, as a table."""

from collections.abc import Mapping

from hack.load.answers import Summary
from rich import box
from rich.table import Table

COLUMNS = ("requests", "errors", "p50", "p95", "right")


def table(rows: Mapping[str, Summary], title: str = "arm") -> Table:
    """One row for each arm, or for whatever the summaries are of."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 2))
    drawn.add_column(title)
    for name in COLUMNS:
        drawn.add_column(name, justify="right")
    for name, found in rows.items():
        drawn.add_row(name, *cells(found))
    return drawn


def cells(found: Summary) -> tuple[str, ...]:
    """A summary in the order of COLUMNS."""
    return (
        str(found.requests),
        str(found.errors),
        seconds(found.p50),
        seconds(found.p95),
        "-" if found.accuracy is None else f"{found.accuracy:.2f}",
    )


def line(found: Summary) -> str:
    """A summary as one line."""
    return ", ".join(f"{name} {value}" for name, value in zip(COLUMNS, cells(found), strict=True))


def seconds(value: float | None) -> str:
    """A latency: 85 ms, 1.20 s."""
    if value is None:
        return "-"
    return f"{value:.2f} s" if value >= 1 else f"{value * 1000:.0f} ms"
