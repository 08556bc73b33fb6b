"""Values with a unit or a shape of their own: durations, money, fractions, times, names.

Pure: types for the models, and functions that turn such values into numbers.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from pydantic import AwareDatetime, Field, PlainSerializer, WithJsonSchema

from retune.api.base import Rule, checked

DURATION_PATTERN = r"^([0-9]+(d|h|m|s))+$"
MONEY_PATTERN = r"^[0-9]{1,9}(\.[0-9]{1,6})?$"
QUANTITY_PATTERN = r"^[0-9]+(\.[0-9]+)?([KMGTPE]i|[numkMGTPE]|[eE][0-9]+)?$"
LABEL_PATTERN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
SUBDOMAIN_PATTERN = r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"

_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}


def shaped(pattern: str, cure: str) -> Rule:
    """Say in words what `pattern` says in signs: the API server's own message only repeats the pattern."""
    return Rule(f"self.matches(r'{pattern}')", cure)


Duration = Annotated[
    str,
    Field(pattern=DURATION_PATTERN, max_length=32),
    checked(shaped(DURATION_PATTERN, "write a duration of whole numbers and units, such as 90s, 30m, 6h or 14d")),
]
"""A span of time as the user writes it, such as `1d12h`; `seconds` gives its length."""

Money = Annotated[
    int | str,
    WithJsonSchema(
        {
            "x-kubernetes-int-or-string": True,
            "pattern": MONEY_PATTERN,
            "minimum": 0,
            "maximum": 999_999_999,
            "maxLength": 16,
        }
    ),
    checked(
        Rule(
            f"string(self).matches(r'{MONEY_PATTERN}')",
            'write an amount of money as a decimal string such as "3.20", or as a whole number',
        )
    ),
]
"""An amount: a decimal string such as `"3.20"`, or a whole number; `decimal` gives its value. Never a float."""

ResourceQuantity = Annotated[
    int | str,
    WithJsonSchema({"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "minimum": 0, "maxLength": 32}),
    checked(
        Rule(
            f"string(self).matches(r'{QUANTITY_PATTERN}')",
            "write an amount of a resource as Kubernetes does, such as 4, 500m or 32Gi",
        )
    ),
]
"""An amount of a resource as Kubernetes writes it, such as `4`, `500m` or `32Gi`."""

Fraction = Annotated[float, Field(ge=0, le=1)]
"""A share, from 0 to 1."""

Confidence = Annotated[float, Field(ge=0.5, lt=1)]
"""How sure a decision must be, from 0.5 to below 1."""

Percent = Annotated[int, Field(ge=1, le=100)]
"""A share of traffic in whole percent."""

Weight = Annotated[int, Field(ge=1, le=99)]
"""The candidate's share of traffic in whole percent; 0 and 100 are no canary."""


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


Time = Annotated[AwareDatetime, PlainSerializer(_rfc3339, return_type=str, when_used="json")]
"""A moment; written as Kubernetes does, in UTC and whole seconds."""

Label = Annotated[
    str,
    Field(pattern=LABEL_PATTERN, max_length=63),
    checked(shaped(LABEL_PATTERN, "use small letters, digits and dashes, with a letter or digit at both ends")),
]
"""A name as a DNS label."""

ObjectName = Annotated[
    str,
    Field(pattern=SUBDOMAIN_PATTERN, max_length=253),
    checked(
        shaped(SUBDOMAIN_PATTERN, "use small letters, digits, dashes and dots, with a letter or digit at both ends")
    ),
]
"""The name of a Kubernetes object."""

FieldName = Annotated[str, Field(min_length=1, max_length=128)]
"""The name of a column of a dataset."""

Line = Annotated[str, Field(max_length=256)]
"""A short text."""

Text = Annotated[str, Field(max_length=1024)]
"""A sentence or two for a reader."""

PromQL = Annotated[str, Field(min_length=1, max_length=4096)]
"""A query in Prometheus' language."""

Image = Annotated[str, Field(max_length=512)]
"""A container image's name, with tag or digest."""

Uri = Annotated[str, Field(max_length=1024)]
"""Where something lies."""

Digest = Annotated[str, Field(max_length=256)]
"""The identity of content, such as `sha256:…` or `hf:<commit>`."""

Currency = Annotated[
    str,
    Field(pattern=r"^[A-Z]{3}$", max_length=3),
    checked(shaped(r"^[A-Z]{3}$", "write the currency as its three capital letters, such as EUR or USD")),
]
"""A currency by its ISO 4217 letters."""

HeaderName = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]*$", max_length=128),
    checked(shaped(r"^[A-Za-z0-9][A-Za-z0-9-]*$", "name an HTTP header of letters, digits and dashes")),
]
"""The name of an HTTP header."""


def seconds(duration: str) -> int:
    """Length of a duration in seconds: `1d12h` is 129,600.

    Raises:
        ValueError: it is not a duration.
    """
    if not re.fullmatch(DURATION_PATTERN.strip("^$"), duration, re.ASCII):
        raise ValueError(f"{duration!r} is not a duration; write whole numbers and units, such as 90s, 30m, 6h or 14d")
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([dhms])", duration))


def decimal(money: int | str) -> Decimal:
    """Value of an amount of money, exactly.

    Raises:
        ValueError: it is neither a whole number nor a decimal string, or it is negative.
    """
    if not re.fullmatch(MONEY_PATTERN.strip("^$"), str(money), re.ASCII) or isinstance(money, bool):
        raise ValueError(
            f'{money!r} is not an amount of money; write a decimal string such as "3.20" or a whole number'
        )
    return Decimal(money)
