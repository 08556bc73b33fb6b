"""Conditions and Events: what is not as it should be, and what happened last."""

from datetime import datetime

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from retune.cli.objects import Raw, items, moment
from retune.cli.view.paper import BAD, CARE, QUIET, listing, painted
from retune.cli.wording import age

_BAD_NEWS = frozenset({"DriftDetected"})  # conditions that should not be True
_QUIET = frozenset({"Starting", "Running", "Suspended", "Paused", "RunSucceeded"})  # as everybody expects
_TOLD = frozenset({"FieldsNotImplemented"})  # long, and among the conditions anyway
Note = tuple[str, str, str, str]  # colour, type, reason, message


def not_fine(job: Raw | None, run: Raw | None) -> list[Note]:
    """The conditions that a person should read: (colour, type, reason, message)."""
    notes = [note for found in (run, job) for c in items(found, "status", "conditions") if (note := _note(c, run))]
    said: set[str] = set()
    return [n for n in notes if not (n[3] and n[3] in said) and not said.add(n[3])]  # type: ignore[func-returns-value]


def _note(condition: Raw, run: Raw | None) -> Note | None:
    kind, status = str(condition.get("type")), condition.get("status")
    reason, message = str(condition.get("reason", "")), str(condition.get("message", ""))
    if status == ("False" if kind in _BAD_NEWS else "True") or reason in _QUIET:
        return None
    if kind == "Progressing" and run is not None and (status == "Unknown" or reason.startswith("Run")):
        return None  # repeats what the run says of itself
    if kind == "Supported":
        count = len(message.partition(":")[2].split(",")) if ":" in message else 0
        fields = f"{count} fields of the spec are" if count > 1 else "A field of the spec is"
        return QUIET, kind, reason, f"{fields} accepted and not acted on by this version; `describe` lists them."
    return (CARE if status == "Unknown" or kind in _BAD_NEWS else BAD), kind, reason, message


def notes(found: list[Note]) -> RenderableType | None:
    """Those conditions, each with its message in full: the cure stands at its end."""
    if not found:
        return None
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for colour, kind, reason, message in found:
        text = Text.assemble((reason, colour), (f"  {message}" if message else "", QUIET if colour == QUIET else ""))
        table.add_row(Text(kind, colour), text)
    return table


def conditions(found: Raw, now: datetime) -> RenderableType | None:
    """All conditions of one object."""
    rows = [
        (
            str(c.get("type")),
            painted(str(c.get("status"))),
            str(c.get("reason", "")),
            age(moment(c.get("lastTransitionTime")), now),
            str(c.get("message", "")),
        )
        for c in items(found, "status", "conditions")
    ]
    return listing(("CONDITION", "STATUS", "REASON", "AGE", "MESSAGE"), rows)


def events(found: list[Raw], now: datetime, *, most: int) -> RenderableType | None:
    """The newest `most` Events, oldest first."""
    last = sorted((e for e in found if e.get("reason") not in _TOLD), key=_when)[-most:]
    rows = [
        (
            age(moment(_when(e)), now),
            Text(str(e.get("type", "")), CARE if e.get("type") == "Warning" else QUIET),
            str(e.get("reason", "")),
            str(e.get("message", "")),
        )
        for e in last
    ]
    return listing(("AGE", "TYPE", "REASON", "MESSAGE"), rows)


def _when(event: Raw) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
