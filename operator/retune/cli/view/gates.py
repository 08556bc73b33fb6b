"""What the gates said, with their numbers."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from retune.cli.objects import Raw, items
from retune.cli.view.paper import CARE, listing, painted
from retune.cli.wording import reading


def numbers(gate: Raw) -> str:
    """All that a gate measured: `examples 640, near duplicates 12`."""
    return ", ".join(reading(name, value) for name, value in (gate.get("values") or {}).items())


def short(run: Raw) -> Table | None:
    """One line for each gate: its verdict, and why, or what it measured. None if there is none yet."""
    gates = [gate for gate in items(run, "status", "gates") if gate.get("name") != "approvals"]  # has its own line
    if not gates:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for gate in gates:
        table.add_row(gate["name"], painted(gate["verdict"]), gate.get("reason") or numbers(gate))
    return table


def full(run: Raw) -> RenderableType | None:
    """Every gate with its reason, all its numbers and its advice."""
    rows = []
    for gate in items(run, "status", "gates"):
        said = Text("\n").join(
            Text(text, style)
            for text, style in (
                (gate.get("reason") or "", ""),
                (numbers(gate), "dim"),
                (f"→ {gate['advice']}" if gate.get("advice") else "", CARE),
            )
            if text
        )
        rows.append((gate["name"], painted(gate["verdict"]), said))
    return listing(("GATE", "VERDICT", "WHY"), rows)
