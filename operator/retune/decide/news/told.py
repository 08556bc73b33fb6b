"""A piece of news, and what the status keeps of those that are done with.

Pure, and apart from the rules: actions and facts speak of these, too. An entry of `status.told` is one of

    <job uid>/Since/<unix time>             from here on news is told; what was there before is old
    <run or job uid>/<event>/<number>       all who had asked for it have been told, or cannot be
    <run or job uid>/<event>/<number>/<channel>     one of them has; others are still tried
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from retune.api import NotificationEvent

MOST = 64  # entries that the status can hold
_SINCE = "Since"


@dataclass(frozen=True)
class Told:
    """One thing to tell people. `key` is `<run or job uid>/<event>/<number>`, the same however often it is derived."""

    key: str
    event: NotificationEvent
    title: str
    text: str
    link: str


@dataclass(frozen=True)
class Delivery:
    """What became of one piece of news on one channel. `why`: for one that was given up, what was in the way."""

    key: str
    channel: str
    event: NotificationEvent
    why: str = ""


@dataclass(frozen=True)
class Telling:
    """What is known of channels.

    Attributes:
        channels: names of those that there are.
        delivered: of this job's news, what was sent or given up and the status may not know yet.
    """

    channels: frozenset[str] = field(default_factory=frozenset)
    delivered: tuple[Delivery, ...] = ()


def mark(uid: str, now: datetime) -> str:
    """The entry from which on a job's news is told."""
    return f"{uid}/{_SINCE}/{int(now.timestamp())}"


def marked(entries: Sequence[str], uid: str) -> datetime | None:
    """Since when a job's news is told; None: it has not begun."""
    found = [entry.rsplit("/", 1)[1] for entry in entries if entry.startswith(f"{uid}/{_SINCE}/")]
    return datetime.fromtimestamp(int(found[0]), UTC) if found and found[0].isdecimal() else None


def closed(entries: Sequence[str], key: str) -> tuple[str, ...]:
    """`entries` with `key` done with on all channels."""
    return (*(entry for entry in entries if entry != key and not entry.startswith(f"{key}/")), key)


def bounded(entries: Sequence[str], current: frozenset[str]) -> tuple[str, ...]:
    """The entries that there is room for.

    Those about news that could come again (`current`: its keys) go last: without them somebody would hear of it twice.
    """
    kept = list(entries)
    for dispensable in (
        lambda entry: f"/{_SINCE}/" not in entry and _key(entry) not in current,
        lambda entry: _key(entry) != entry,
        lambda entry: f"/{_SINCE}/" not in entry,
    ):
        spare = [entry for entry in kept if dispensable(entry)][: max(len(kept) - MOST, 0)]
        kept = [entry for entry in kept if entry not in spare]
    return tuple(kept)


def _key(entry: str) -> str:
    return "/".join(entry.split("/")[:3])
