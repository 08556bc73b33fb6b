"""What starts a run: a change, the calendar, new data, drift."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from retune.api.base import Model, Rule, checked, keyed
from retune.api.quantity import Duration, Label, PromQL, shaped


def _cron_field(value: str) -> str:
    item = rf"(\*|{value}(-{value})?)(/[1-9][0-9]?)?"
    return f"{item}(,{item})*"


_MONTHS = "JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC"
_DAYS = "MON|TUE|WED|THU|FRI|SAT|SUN"
_CRON = (
    "^"
    + " +".join(
        _cron_field(value)
        for value in (
            "[0-5]?[0-9]",
            "([01]?[0-9]|2[0-3])",
            "([1-9]|0[1-9]|[12][0-9]|3[01])",
            f"([1-9]|0[1-9]|1[0-2]|{_MONTHS})",
            f"([0-7]|{_DAYS})",
        )
    )
    + "$"
)
_TIME_ZONE = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9][A-Za-z0-9_+-]*)*$"


class Schedule(Model):
    """A calendar for retraining."""

    cron: Annotated[
        str,
        Field(max_length=128),
        checked(shaped(_CRON, "write five cron fields: minute hour day month weekday, such as 0 3 * * 1")),
    ] = Field(description="When a run starts: minute, hour, day, month, weekday.")
    time_zone: Annotated[
        str,
        Field(max_length=64),
        checked(shaped(_TIME_ZONE, "write a time zone as the IANA database does, such as Europe/Berlin")),
    ] = Field("UTC", description="Time zone of cron, such as Europe/Berlin.")


class NewExamples(Model):
    """A growing training set starts a run."""

    count: int = Field(ge=1, le=1_000_000_000, description="New examples that start a run.")
    check_every: Duration = Field("1h", description="How often they are counted.")


class DriftBuiltin(StrEnum):
    """Drift that the operator measures by itself."""

    PROMPT_DRIFT = "PromptDrift"
    QUALITY_DROP = "QualityDrop"
    OVERRIDE_RATE = "OverrideRate"


class DriftTrigger(Model):
    """A measure that starts a run when it stays beyond its threshold."""

    RULES: ClassVar = (
        Rule(
            "has(self.query) != has(self.builtin)",
            "a drift trigger needs exactly one of query and builtin; remove one or add one",
            ".query",
        ),
    )

    name: Label = Field(description="Name of the trigger, alone of its kind in the job.")
    query: PromQL | None = Field(None, description="PromQL that gives one sample; exactly one of query and builtin.")
    builtin: DriftBuiltin | None = Field(None, description="A measure of the operator's own: PromptDrift and others.")
    threshold: float = Field(ge=-1e12, le=1e12, description="Value beyond which it has drifted.")
    for_: Duration = Field("30m", alias="for", description="How long it must stay beyond the threshold.")
    min_samples: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        None, description="Fewest requests behind the value; absent: not asked."
    )


class DriftReference(Model):
    """Production prompts that drift is measured against."""

    RULES: ClassVar = (
        Rule(
            # CEL's own duration() knows no days; a number of eight digits is too long in every unit.
            "!self.window.matches('[0-9]{8}') && self.window.findAll('[0-9]+[dhms]').map(part, "
            "int(part.substring(0, size(part) - 1)) * "
            "{'d': 86400, 'h': 3600, 'm': 60, 's': 1}[part.substring(size(part) - 1)]).sum() <= 604800",
            "triggers.reference.window is longer than a week, the most that is kept of prompts; write 7d or less",
            ".window",
            "'triggers.reference.window is ' + self.window + ', longer than a week, the most that is kept of prompts; "
            "write 7d or less'",
        ),
    )

    window: Duration = Field("7d", description="How far back from promotion the reference reaches; a week at most.")
    min_samples: int = Field(500, ge=1, le=1_000_000_000, description="Fewest prompts that make a reference.")


class Probe(Model):
    """Gold questions asked of the serving model."""

    every: Duration = Field("1h", description="How often they are asked.")
    examples: int = Field(50, ge=1, le=10_000, description="How many are asked each time.")


class Triggers(Model):
    """What starts a run."""

    on_change: bool = Field(True, description="A change of what makes the model starts a run.")
    schedule: Schedule | None = Field(None, description="A calendar; absent: none.")
    new_examples: NewExamples | None = Field(None, description="New training examples; absent: they are not counted.")
    drift: Annotated[tuple[DriftTrigger, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="Measures that start a run when they drift."
    )
    reference: DriftReference = Field(
        default_factory=DriftReference, description="Production prompts that drift is measured against."
    )
    probe: Probe = Field(
        default_factory=Probe, description="Gold questions asked of the serving model, for QualityDrop."
    )
    cooldown: Duration = Field("24h", description="Least time from the start of any run to that of an automatic one.")
    max_runs_per_month: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="With so many runs in the last 30 days no automatic one starts; absent: no limit."
    )
    halt_after_fruitless_runs: int = Field(
        3, ge=1, le=100, description="Runs in a row without a promotion that halt the job; Inconclusive does not count."
    )
