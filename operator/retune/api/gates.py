"""Gates: what must be true before a GPU starts."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field, WithJsonSchema

from retune.api.base import UNIQUE, Model, Rule, checked, keyed
from retune.api.quantity import FieldName, Fraction, Label, Money
from retune.api.source import HttpUrl, SecretRef


class GateMode(StrEnum):
    """What a gate's verdict does."""

    ENFORCE = "Enforce"
    WARN = "Warn"
    OFF = "Off"


def _off(value: object) -> object:
    return GateMode.OFF if value is False else value


_Mode = Annotated[
    GateMode,
    # YAML 1.1, which kubectl and Helm read, takes a bare `Off` for the boolean false.
    BeforeValidator(_off),
    WithJsonSchema({"x-kubernetes-preserve-unknown-fields": True, "enum": [*(mode.value for mode in GateMode), False]}),
]


class Gate(Model):
    """What all gates have."""

    mode: _Mode = Field(GateMode.ENFORCE, description="Enforce ends the run, Warn only says so, Off does not look.")


class ProductionBalance(Model):
    """What production looks like, to compare the training set with."""

    RULES: ClassVar = (
        Rule(
            "self.expected.map(k, self.expected[k]).sum() > 0.98 && "
            "self.expected.map(k, self.expected[k]).sum() < 1.02",
            "productionBalance.expected must add up to 1; give every class its share",
            ".expected",
        ),
    )

    classified_by: FieldName = Field(description="Column whose values are counted.")
    expected: Annotated[Mapping[str, Fraction], Field(min_length=1, max_length=64)] = Field(
        description="Share of each value in production; together 1."
    )
    max_divergence: Fraction = Field(0.2, description="Largest total variation distance allowed.")


class DataGate(Gate):
    """Is there enough data, and is it clean."""

    min_examples: int = Field(500, ge=1, le=1_000_000_000, description="Fewest examples to train on.")
    max_duplicate_fraction: Fraction = Field(0.05, description="Largest share of duplicates.")
    max_conflict_fraction: Fraction = Field(0.01, description="Largest share of equal inputs with different answers.")
    min_label_agreement: Annotated[float, Field(ge=-1, le=1)] | None = Field(
        None, description="Least Krippendorff's alpha among the annotators."
    )
    production_balance: ProductionBalance | None = Field(None, description="What production looks like, by class.")


class LeakageGate(Gate):
    """Is the gold set in the training set."""

    max_exact: int = Field(
        0, ge=0, le=1_000_000_000, description="Most gold examples that also are in the training set."
    )
    max_near_fraction: Fraction = Field(
        0.02, description="Largest share of gold examples with a near copy in training."
    )


_ENTITIES = (
    *("AU_TFN", "CREDIT_CARD", "CRYPTO", "DATE_TIME", "DE_TAX_ID", "EMAIL_ADDRESS", "ES_NIE", "ES_NIF"),
    *("FI_PERSONAL_IDENTITY_CODE", "IBAN_CODE", "IN_AADHAAR", "IN_PAN", "IP_ADDRESS", "IT_FISCAL_CODE", "MAC_ADDRESS"),
    *("MEDICAL_LICENSE", "PERSON", "PHONE_NUMBER", "PL_PESEL", "SE_PERSONNUMMER", "SG_NRIC_FIN", "UK_NHS", "UK_NINO"),
    *("URL", "US_BANK_NUMBER", "US_DRIVER_LICENSE", "US_ITIN", "US_PASSPORT", "US_SSN"),
)
"""Kinds of personal data that the gate and the taps can find, as `retune_stores.privacy.KNOWN`."""


class PrivacyGate(Gate):
    """Is there personal data in the training set."""

    redact: bool = Field(False, description="Train on the scrubbed set; without it personal data fails the gate.")
    entities: Annotated[
        tuple[
            Annotated[
                str,
                Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64),
                # A name that nobody knows would end runs, and keep taps from writing any correction.
                checked(
                    Rule(
                        f"self in {list(_ENTITIES)}",
                        f"gates.privacy.entities has a kind that cannot be found; use any of {', '.join(_ENTITIES)}",
                        told="'gates.privacy.entities has ' + self + ', which cannot be found; use any of "
                        f"{', '.join(_ENTITIES)}'",
                    )
                ),
            ],
            ...,
        ],
        Field(max_length=64),
        UNIQUE,
    ] = Field((), description="Kinds of personal data looked for; absent: the usual ones.")


class BaselineEndpoint(Model):
    """A prompted model behind an OpenAI-compatible API."""

    url: HttpUrl = Field(description="Base URL of the API, such as http://gateway:8000/v1.")
    model: Annotated[str, Field(min_length=1, max_length=256)] = Field(description="Model name to ask for.")
    prompt_template: Annotated[str, Field(max_length=8192)] | None = Field(
        None, description="Prompt around an example's {{ prompt }}; absent: the prompt alone."
    )
    secret_ref: SecretRef | None = Field(None, description="Secret with the API key.")


class BaselineGate(Gate):
    """Is a prompted model already good enough."""

    endpoint: BaselineEndpoint | None = Field(None, description="The prompted model that serves today.")
    good_enough: Fraction = Field(0.9, description="Score of the prompted model from which training is declined.")


class PaybackGate(Gate):
    """Does the model ever earn what it costs."""

    monthly_requests: int = Field(ge=0, le=1_000_000_000_000, description="Requests a month.")
    baseline_cost_per_1k: Money = Field(
        alias="baselineCostPer1k", description="What a thousand requests cost with the model of today."
    )
    tuned_cost_per_1k: Money = Field(
        alias="tunedCostPer1k", description="What a thousand requests will cost with the tuned model."
    )
    monthly_value: Money = Field("0", description="What better answers are worth a month, beside the saving.")
    one_off_cost: Money = Field("0", description="What labelling, training and work cost once.")
    max_months: int = Field(24, ge=1, le=120, description="Longest time to earn the cost back, in months.")


class RequiredApproval(Model):
    """One person's yes."""

    name: Label = Field(description="Name of the approval, such as legal.")


class ApprovalsGate(Gate):
    """Have the people who must agree agreed."""

    required: Annotated[tuple[RequiredApproval, ...], Field(max_length=16), keyed("name")] = Field(
        (), description="Approvals to wait for."
    )


class Gates(Model):
    """What must be true before a GPU starts; a gate without its inputs is skipped and says so."""

    data: DataGate = Field(default_factory=DataGate, description="Enough data, and clean.")
    leakage: LeakageGate = Field(default_factory=LeakageGate, description="No gold example in the training set.")
    privacy: PrivacyGate = Field(default_factory=PrivacyGate, description="No personal data in the training set.")
    baseline: BaselineGate = Field(
        default_factory=BaselineGate, description="No prompted model that is good enough already."
    )
    payback: PaybackGate | None = Field(None, description="The model earns back what it costs; absent: not asked.")
    approvals: ApprovalsGate | None = Field(None, description="People have agreed; absent: nobody is asked.")


Reading = Annotated[Mapping[str, float], Field(max_length=32)]
"""Numbers a gate measured, by name."""


class GateVerdict(StrEnum):
    """What a gate said."""

    PASSED = "Passed"
    FAILED = "Failed"
    WARNED = "Warned"
    WAITING = "Waiting"
    SKIPPED = "Skipped"
