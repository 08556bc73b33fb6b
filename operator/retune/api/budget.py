"""What a job may cost, and what it must show before more money is released."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from retune.api.base import WHOLE, Model, Rule
from retune.api.evaluation import MetricName
from retune.api.quantity import Currency, Money, Time


class Unlock(Model):
    """A score that releases money."""

    metric: MetricName = Field(description="Metric that must be reached.")
    minimum: float = Field(ge=0, le=1_000_000, description="Score that stable must reach on the gold set.")


class Milestone(Model):
    """A sum that is released once a score is reached."""

    amount: Money = Field(description="Sum released in all, when this milestone is reached.")
    unlock: Unlock | None = Field(None, description="Score that releases it; the first needs none.")


class Budget(Model):
    """What the job may cost."""

    RULES: ClassVar = (
        Rule(
            "!has(self.milestones) || size(self.milestones) == 0 || has(self.total)",
            "budget.milestones needs budget.total; set total to the last milestone's amount",
            ".total",
        ),
        Rule(
            "!has(self.milestones) || !has(self.total) || size(self.milestones) == 0 || "
            "double(string(self.milestones[size(self.milestones) - 1].amount)) == double(string(self.total))",
            "the last of budget.milestones must have the amount of budget.total; make the two equal",
            ".milestones",
        ),
        Rule(
            "!has(self.milestones) || self.milestones.map(m, double(string(m.amount))).isSorted() && "
            "self.milestones.map(m, double(string(m.amount))).all(a, "
            "self.milestones.map(m, double(string(m.amount))).exists_one(b, a == b))",
            "amounts of budget.milestones must rise; each is what has been released in all",
            ".milestones",
        ),
        Rule(
            "!has(self.milestones) || size(self.milestones) < 2 || "
            "self.milestones.filter(m, !has(m.unlock)).size() <= (has(self.milestones[0].unlock) ? 0 : 1)",
            "each of budget.milestones but the first needs unlock; name the metric and score that release it",
            ".milestones",
        ),
        Rule(
            "!has(self.perRun) || !has(self.total) || double(string(self.perRun)) <= double(string(self.total))",
            "budget.perRun is above budget.total; lower perRun or raise total",
            ".perRun",
        ),
    )

    currency: Currency | None = Field(
        None, description="Currency of all sums; absent: that of the operator's price list."
    )
    total: Money | None = Field(None, description="Most that the job may cost in its life; absent: no limit.")
    per_run: Money | None = Field(None, description="Most that one run may cost; absent: no limit.")
    gpu_hour_price: Money | None = Field(
        None, description="Price of a GPU hour; never below the operator's price list."
    )
    milestones: Annotated[tuple[Milestone, ...], Field(max_length=12), WHOLE] = Field(
        (), description="Sums released step by step; amounts rise, the last is the total."
    )
    ends_at: Time | None = Field(None, description="Kill date: nothing starts after it.")
