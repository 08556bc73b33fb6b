"""The runs of a job, one line each."""

from datetime import datetime

from rich.console import RenderableType
from rich.text import Text

from retune.cli.objects import Raw, began, ended, last_word, moment, name, number, part, phase
from retune.cli.view.paper import listing, painted
from retune.cli.wording import age, clock, gain, money

HEADS = ("N", "NAME", "TRIGGER", "PHASE", "PROGRESS", "UPLIFT", "COST", "TOOK", "AGE", "WHY")


def runs(found: list[Raw], job: Raw | None, now: datetime) -> RenderableType:
    """A table, oldest first; the run that serves is marked."""
    stable = part(job, "status", "stable", "run")
    rows = [_row(run, now, serves=name(run) == stable) for run in found]
    return listing(HEADS, rows, right=("N", "UPLIFT", "COST", "TOOK"), fixed=True) or Text("No runs yet.")


def _row(run: Raw, now: datetime, *, serves: bool) -> list[RenderableType | str]:
    cost, uplift = part(run, "status", "cost"), part(run, "status", "scores", "uplift")
    begin, end = began(run), moment(part(run, "status", "endedAt"))
    why = last_word(run) if ended(run) and phase(run) != "Promoted" else None
    return [
        str(number(run)),
        name(run),
        str(part(run, "spec", "trigger", "kind") or "-"),
        painted(phase(run)),
        "-" if ended(run) else str(part(run, "status", "progress", "display") or "-"),
        gain(uplift if isinstance(uplift, int | float) else None),
        money(cost.get("amount", "0"), cost.get("currency", "")) if cost else "-",
        clock(((end or now) - begin).total_seconds()) if begin else "-",
        age(begin, now),
        Text("serves", "green") if serves else str((why or {}).get("reason", "-")),
    ]
