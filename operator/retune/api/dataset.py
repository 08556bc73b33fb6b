"""The data a model is made from and judged by."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

from pydantic import Field

from retune.api.base import Model, Rule
from retune.api.quantity import Duration, FieldName, Fraction
from retune.api.source import Source


class DatasetFormat(StrEnum):
    """How an example is written down."""

    MESSAGES = "Messages"
    PROMPT_COMPLETION = "PromptCompletion"
    TEXT = "Text"
    CLASSIFICATION = "Classification"


class HoldOut(Model):
    """Which of the newest examples are kept out of training."""

    fraction: Fraction = Field(0.1, description="Share of the newest examples that is kept apart.")
    newest: Duration = Field("14d", description="How far back the newest examples reach.")


class Dataset(Model):
    """What to train on, and what to be judged by."""

    RULES: ClassVar = (
        Rule(
            "self.gold.uri != self.train.uri",
            "dataset.gold.uri is the same as dataset.train.uri; name a gold set that is never trained on",
            ".gold.uri",
        ),
        Rule(
            "!has(self.holdOut) || has(self.timeField)",
            "dataset.holdOut needs dataset.timeField; name the column that says when an example was made",
            ".timeField",
        ),
    )

    train: Source = Field(description="Examples to train on: JSON Lines, CSV or Parquet.")
    gold: Source = Field(description="Examples to be judged by; required, and never trained on.")
    format: DatasetFormat | None = Field(
        None, description="How an example is written; found from the columns if absent."
    )
    segment_field: FieldName | None = Field(
        None, description="Column whose values are evaluated one by one as segments."
    )
    weight_field: FieldName | None = Field(None, description="Column that says what a mistake on the example costs.")
    annotators_field: FieldName | None = Field(None, description="Column with several people's labels, for agreement.")
    time_field: FieldName | None = Field(None, description="Column that says when the example was made.")
    hold_out: HoldOut | None = Field(
        None, description="Newest examples kept out of training and evaluated as fresh gold."
    )
