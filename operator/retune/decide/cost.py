"""What attempts cost: seconds of GPUs and CPUs times the run's own price snapshot, in Decimal."""

import re
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal

from retune.api import Attempt, Cost, Prices, decimal

_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(?:([numk])|[eE]([0-9]{1,3}))?$")
_POWERS = {"n": -9, "u": -6, "m": -3, "k": 3}


def cores(quantity: str | int | None) -> Decimal:
    """CPU cores of a Kubernetes quantity: "500m" is 0.5; none is 1, the least that a running pod can be said to use."""
    match = _QUANTITY.match(str(quantity)) if quantity is not None else None
    if match is None:
        return Decimal(1)
    return Decimal(match[1]).scaleb(_POWERS.get(match[2], int(match[3] or 0)))


def cost(attempts: Iterable[Attempt], prices: Prices) -> Cost:
    """The sum over `attempts`, rounded half up to four places.

    The amount is computed from the summed seconds, so that many short attempts do not add up rounding errors.
    """
    attempts = tuple(attempts)
    gpu = sum((Decimal(str(a.gpu_seconds)) for a in attempts), Decimal(0))
    cpu = sum((Decimal(str(a.cpu_seconds)) for a in attempts), Decimal(0))
    amount = (gpu * decimal(prices.gpu_hour) + cpu * decimal(prices.cpu_hour)) / 3600
    return Cost(
        gpu_seconds=float(gpu),
        cpu_seconds=float(cpu),
        amount=str(amount.quantize(Decimal("0.0001"), ROUND_HALF_UP)),
        currency=prices.currency,
    )
