"""What views are drawn on, and the few shapes that all of them use.

On a terminal: colours and its width. Elsewhere: no codes, one line for each row however long, no trailing blanks.
"""

import io
from collections.abc import Iterable, Sequence

import click
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

ENDLESS = 4000  # columns where nobody looks: no line is folded
LABEL = 10  # columns of the left edge
GOOD, BAD, CARE, QUIET = "green", "red", "yellow", "dim"
_STYLES = {
    **dict.fromkeys(("Promoted", "Passed", "Succeeded", "True", "Ok"), GOOD),
    **dict.fromkeys(("Failed", "Rejected", "Declined", "RolledBack", "Halted", "Invalid", "Breached"), BAD),
    **dict.fromkeys(("Warned", "Waiting", "Suspended", "Inconclusive", "AwaitingApproval", "Unknown"), CARE),
    **dict.fromkeys(("Skipped", "Cancelled"), QUIET),
}


def show(view: RenderableType) -> None:
    """Print a view on stdout."""
    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal:
        console.print(view)
    else:
        click.echo(plain(view), nl=False)


def plain(view: RenderableType, width: int = ENDLESS) -> str:
    """A view as text."""
    page = io.StringIO()
    Console(file=page, width=width, color_system=None, highlight=False, markup=False, emoji=False).print(view)
    return "".join(f"{line.rstrip()}\n" for line in page.getvalue().splitlines())


def stacked(parts: Iterable[RenderableType | None]) -> RenderableType:
    """The parts that are there, a blank line between each."""
    rows: list[RenderableType] = []
    for part in parts:
        if part is not None:
            rows += [Text(""), part] if rows else [part]
    return Group(*rows)


def sheet(rows: Iterable[tuple[str, RenderableType | str | None]]) -> Table | None:
    """Labels at the left, what they stand for at the right; rows without anything are left out."""
    kept = [(label, Text(said) if isinstance(said, str) else said) for label, said in rows if said not in (None, "")]
    if not kept:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(min_width=LABEL, no_wrap=True, style=QUIET)
    table.add_column(overflow="fold")
    for label, said in kept:
        table.add_row(label, said)
    return table


def titled(title: str, body: RenderableType | None) -> RenderableType | None:
    """A section; None if there is nothing in it."""
    return None if body is None else Group(Text(title, "bold"), Padding(body, (0, 0, 0, 2)))


def listing(
    heads: Sequence[str],
    rows: Iterable[Sequence[RenderableType | str]],
    *,
    right: Sequence[str] = (),
    fixed: bool = False,
) -> Table | None:
    """A table as kubectl prints them: capitals above, three blanks between, the last column folds. None if empty.

    A column that no row fills is left out, unless the columns are `fixed`.
    """
    rows = list(rows)
    if not rows:
        return None
    used = [i for i in range(len(heads)) if fixed or any(str(row[i]) not in ("", "-") for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style=QUIET, show_edge=False)
    for i in used:
        last = i == used[-1]
        justify = "right" if heads[i] in right else "left"
        table.add_column(heads[i], justify=justify, no_wrap=not last, overflow="fold")  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(Text(cell) if isinstance(cell := row[i], str) else cell for i in used))
    return table


def painted(word: str) -> Text:
    """A phase, verdict or status in its colour."""
    return Text(word, _STYLES.get(word, ""))


def command(words: str) -> str:
    """A command to type next, as it stands in a sentence."""
    return f"`kubectl retune {words}`"
