"""How long an attempt at training may run: what is left of `training.timeout` and of `budget.perRun`. Pure.

The pod itself is given the limit, so that it is stopped (SIGTERM, a checkpoint, the end) even while no operator runs.
"""

from dataclasses import dataclass
from decimal import Decimal

from retune.api import AttemptStage, FineTuneRunStatus, decimal, seconds
from retune.decide.cost import cost
from retune.decide.facts import RunFacts, Stage
from retune.decide.settle import cpus_of

GRACE = 120  # s that a trainer has after SIGTERM to write a checkpoint; it costs, too


@dataclass(frozen=True)
class Limit:
    """Seconds that are left, and which field of the spec says so."""

    seconds: int
    field: str


TIMEOUT, PER_RUN = "spec.training.timeout", "spec.budget.perRun"


def training_limit(facts: RunFacts, status: FineTuneRunStatus) -> Limit:
    """What the next attempt, or the one that runs, may use; 0 if nothing is left.

    The timeout counts the running time of all attempts together; the money, all that the run has cost.
    """
    done = (a for a in status.attempts if a.stage is AttemptStage.TRAIN and a.started_at and a.ended_at)
    used = sum((a.ended_at - a.started_at).total_seconds() for a in done if a.ended_at and a.started_at)
    by_time = Limit(max(int(seconds(facts.spec.training.timeout) - used), 0), TIMEOUT)
    budget = facts.spec.budget
    rate = hourly(facts)
    if budget is None or budget.per_run is None or rate == 0:
        return by_time
    closed = [a for a in status.attempts if a.ended_at and a.stage is not AttemptStage.REPORT]
    left = decimal(budget.per_run) - decimal(cost(closed, facts.spec.prices).amount)
    affordable = max(left / rate * 3600, Decimal(0))
    # The checkpoint at the end costs as well; of a short run it may take a tenth.
    by_money = Limit(int(affordable - min(Decimal(GRACE), affordable / 10)), PER_RUN)
    return min(by_time, by_money, key=lambda limit: limit.seconds)


def hourly(facts: RunFacts) -> Decimal:
    """What an hour of the training pod costs."""
    prices, training = facts.spec.prices, facts.spec.training
    return training.gpus_per_node * decimal(prices.gpu_hour) + cpus_of(facts, Stage.TRAIN) * decimal(prices.cpu_hour)
