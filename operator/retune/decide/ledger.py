"""What a job has cost so far, run by run: plain data in Decimal, its sums, and its text. Knows no rules and no clock.

There is one ledger for each job *name*: it outlives the job, so deleting and creating it again refills nothing. A run's
entry is always set to an absolute value, never added to, so whatever is repeated after a crash changes nothing.
"""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

NOTHING = Decimal(0)
_PLACES = Decimal("0.0001")  # as status.cost.amount of a run


def rounded(amount: Decimal) -> Decimal:
    """`amount` to four places, half up."""
    return amount.quantize(_PLACES, ROUND_HALF_UP)


@dataclass(frozen=True)
class Entry:
    """One run. Sums are in the ledger's currency.

    Attributes:
        amount: what its closed attempts have cost; all that it cost, once it is closed.
        reserved: the most that it may cost in all; nothing once it is closed.
        running_since: since when a training pod of it runs that is not in `amount` yet.
        per_hour: what an hour of that pod costs.
        uid: the run's, once it is known; not worth a write of its own.
    """

    amount: Decimal = NOTHING
    reserved: Decimal = NOTHING
    running_since: datetime | None = None
    per_hour: Decimal = NOTHING
    closed: bool = False
    uid: str = field(default="", compare=False)

    def charge(self, until: datetime) -> Decimal:
        """What the pod that runs has cost by then; nothing if none runs."""
        if self.running_since is None:
            return NOTHING
        ran = Decimal(str(max((until - self.running_since).total_seconds(), 0.0)))
        return rounded(self.per_hour * ran / 3600)

    def so_far(self, now: datetime) -> Decimal:
        """What it has cost, with the whole minutes of the pod that runs: a status that shows it changes so often."""
        if self.running_since is None:
            return self.amount
        ran = max((now - self.running_since).total_seconds(), 0.0)
        return self.amount + rounded(self.per_hour * int(ran // 60) / 60)

    def committed(self, now: datetime) -> Decimal:
        """What it may still cost beyond what it has cost so far."""
        return max(self.reserved - self.so_far(now), NOTHING)


@dataclass(frozen=True)
class Ledger:
    """All runs of a job, in one currency.

    Attributes:
        settled: what closed runs have cost that are no longer listed.
        runs: the others, by name.
        unreadable: why it could not be read. Money that nobody knows of is not spent: such a ledger holds every run.
        version: of the object that it was read from, "" if there is none yet.
    """

    currency: str = ""
    settled: Decimal = NOTHING
    runs: tuple[tuple[str, Entry], ...] = ()
    unreadable: str = ""
    version: str = field(default="", compare=False)

    def get(self, run: str) -> Entry | None:
        """The entry of that run."""
        return next((entry for name, entry in self.runs if name == run), None)

    def put(self, run: str, entry: Entry) -> "Ledger":
        """With that entry in the place of the run's old one."""
        if self.get(run) is None:
            return replace(self, runs=(*self.runs, (run, entry)))
        return replace(self, runs=tuple((name, entry if name == run else old) for name, old in self.runs))

    def drop(self, run: str) -> "Ledger":
        """Without that run, and without what it cost."""
        return replace(self, runs=tuple((name, entry) for name, entry in self.runs if name != run))

    def fold(self, run: str) -> "Ledger":
        """Without that run; what it cost goes into `settled`."""
        entry = self.get(run)
        return replace(self.drop(run), settled=self.settled + entry.amount) if entry is not None else self

    @property
    def open(self) -> tuple[tuple[str, Entry], ...]:
        """Runs that may cost more."""
        return tuple((name, entry) for name, entry in self.runs if not entry.closed)

    @property
    def free(self) -> bool:
        """Nothing has been spent or set aside yet, so any currency will do."""
        return not self.settled and not any(entry.amount or entry.reserved for _, entry in self.runs)

    def spent(self, now: datetime) -> Decimal:
        """What has been spent, to the minute."""
        return self.settled + sum((entry.so_far(now) for _, entry in self.runs), NOTHING)

    def committed(self, now: datetime) -> Decimal:
        """What the runs in flight may still cost."""
        return sum((entry.committed(now) for _, entry in self.runs), NOTHING)


def written(ledger: Ledger, job: str) -> str:
    """The ledger as JSON; `job` is the job's namespace and name."""
    return json.dumps(
        {
            "job": job,
            "currency": ledger.currency,
            "settled": _text(ledger.settled),
            "runs": {name: _entry(entry) for name, entry in ledger.runs},
        },
        separators=(",", ":"),
    )


def read(text: str, version: str) -> Ledger:
    """The ledger from its JSON. One that somebody has broken says so in `unreadable`; nothing is raised."""
    try:
        raw = json.loads(text)
        return Ledger(
            currency=_string(raw["currency"]),
            settled=_amount(raw["settled"]),
            runs=tuple((name, _read(entry)) for name, entry in raw["runs"].items()),
            version=version,
        )
    except (ValueError, KeyError, TypeError, AttributeError, InvalidOperation) as error:
        return Ledger(unreadable=f"{type(error).__name__}: {error}"[:200], version=version)


def _text(amount: Decimal) -> str:
    return format(amount, "f")


def _entry(entry: Entry) -> dict[str, Any]:
    since = entry.running_since
    return {
        "amount": _text(entry.amount),
        "reserved": _text(entry.reserved),
        "runningSince": since.astimezone(UTC).isoformat().replace("+00:00", "Z") if since is not None else None,
        "perHour": _text(entry.per_hour),
        "closed": entry.closed,
        "uid": entry.uid,
    }


def _read(raw: dict[str, Any]) -> Entry:
    since = datetime.fromisoformat(raw["runningSince"]) if raw["runningSince"] is not None else None
    if since is not None and since.tzinfo is None:
        raise ValueError(f"{raw['runningSince']} has no time zone")
    if not isinstance(raw["closed"], bool):
        raise TypeError(f"closed is {raw['closed']!r}")
    return Entry(
        amount=_amount(raw["amount"]),
        reserved=_amount(raw["reserved"]),
        running_since=since,
        per_hour=_amount(raw["perHour"]),
        closed=raw["closed"],
        uid=_string(raw["uid"]),
    )


def _amount(raw: object) -> Decimal:
    amount = Decimal(_string(raw))
    if not amount.is_finite() or amount < 0:
        raise ValueError(f"{raw!r} is not an amount of money")
    return amount


def _string(raw: object) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"{raw!r} is not a text")
    return raw
