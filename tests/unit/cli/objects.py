"""A job and its runs as the API server gives them: support/triage, whose third run is in flight at NOW."""

import copy
from datetime import UTC, datetime
from typing import Any

Raw = dict[str, Any]
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DIGEST = "sha256:" + "a" * 64
FIRST, SECOND, THIRD = "triage-1-7f2a", "triage-2-7f2a", "triage-3-7f2a"


def condition(type_: str, status: str, reason: str, message: str = "", at: str = "2026-03-01T11:54:21Z") -> Raw:
    return {"type": type_, "status": status, "reason": reason, "message": message, "lastTransitionTime": at}


SPEC: Raw = {
    "baseModel": {"uri": "s3://models/smollm2-135m-instruct"},
    "dataset": {"train": {"uri": "s3://data/support/train.jsonl"}, "gold": {"uri": "s3://data/support/gold.jsonl"}},
    "gates": {"approvals": {"mode": "Enforce", "required": [{"name": "legal"}, {"name": "dpo"}]}},
    "method": {"type": "LoRA", "lora": {"rank": 16, "alpha": 32, "dropout": 0, "targetModules": ["all-linear"]}},
    "training": {"epochs": 3, "learningRate": 0.001, "gpusPerNode": 1, "maxRetries": 2},
    "evaluation": {
        "metrics": [{"name": "ExactMatch"}, {"name": "TokenF1"}],
        "acceptance": {"metric": "ExactMatch", "minUplift": 0.02, "minimum": 0.7, "confidence": 0.95},
    },
    "artifacts": {"uri": "s3://models/retune", "secretRef": {"name": "store"}},
    "budget": {"currency": "EUR", "total": "50", "perRun": "5"},
    "triggers": {"onChange": True, "haltAfterFruitlessRuns": 3},
}
RESOLVED: Raw = {
    "baseModel": {"uri": "s3://models/smollm2-135m-instruct", "digest": DIGEST},
    "train": {"digest": DIGEST, "examples": 640, "format": "PromptCompletion"},
    "gold": {"digest": "sha256:" + "b" * 64, "examples": 240, "format": "PromptCompletion"},
}
GATES: list[Raw] = [
    {
        "name": "data",
        "verdict": "Passed",
        "reason": "640 examples, 1.2 % of them copies",
        "values": {"examples": 640, "exactDuplicates": 5, "nearDuplicates": 3, "duplicateFraction": 0.0125},
    },
    {"name": "leakage", "verdict": "Passed", "reason": "", "values": {"gold": 240, "exact": 0, "nearFraction": 0.0042}},
    {
        "name": "privacy",
        "verdict": "Warned",
        "reason": "personal data in 3 of 640 rows",
        "values": {"EMAIL_ADDRESS": 3, "rows": 3, "redacted": 0},
        "advice": "Set spec.gates.privacy.redact to true, or remove the rows.",
    },
    {"name": "baseline", "verdict": "Skipped", "reason": "spec.gates.baseline.endpoint is not set"},
    {
        "name": "payback",
        "verdict": "Passed",
        "reason": "earns back what it costs in 2.4 months",
        "values": {"monthlySaving": 512.5, "cost": 1230, "months": 2.4},
    },
]


def job(**status: Any) -> Raw:
    """The FineTuneJob; `status` replaces parts of its status."""
    return {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {
            "namespace": "support",
            "name": "triage",
            "uid": "job-uid",
            "generation": 4,
            "creationTimestamp": "2026-02-20T12:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": copy.deepcopy(SPEC),
        "status": {
            "phase": "Running",
            "observedGeneration": 4,
            "conditions": [
                condition("Valid", "True", "Valid", "The spec can be acted on."),
                condition(
                    "Supported",
                    "False",
                    "FieldsNotImplemented",
                    "This version accepts but does not act on: spec.serving, spec.rollout. See docs/fields.md.",
                ),
                condition("Progressing", "True", "RunInFlight", f"Run {THIRD} is in flight."),
            ],
            "stable": {"run": SECOND, "digest": DIGEST, "since": "2026-02-26T12:00:00Z"},
            "budget": {"released": "20", "spent": "12.4", "committed": "3.1", "currency": "EUR"},
            **status,
        },
    }


def run(number: int = 3, phase: str | None = "Training", spec: Raw | None = None, **status: Any) -> Raw:
    """A run of that job; `status` replaces parts of its status, None takes one away."""
    found = {
        "phase": phase,
        "startedAt": "2026-03-01T11:54:00Z",
        "conditions": [
            condition("GatesPassed", "True", "GatesPassed", "All gates passed or warned."),
            condition("Admitted", "True", "Running", "Pod triage-3-7f2a-t1-abcde runs."),
        ],
        "resolved": RESOLVED,
        "gates": GATES,
        "approvals": [
            {"name": "legal", "by": "lena@example.com", "at": "2026-03-01T11:54:22Z"},
            {"name": "dpo", "by": "dan@example.com", "at": "2026-03-01T11:54:23Z"},
        ],
        "attempts": [
            {
                "stage": "Preflight",
                "number": 1,
                "startedAt": "2026-03-01T11:54:00Z",
                "endedAt": "2026-03-01T11:54:20Z",
                "exit": "Succeeded",
                "cpuSeconds": 20,
            },
            {"stage": "Train", "number": 1, "startedAt": "2026-03-01T11:54:26Z"},
        ],
        "progress": {
            "step": 120,
            "steps": 240,
            "loss": 1.9234,
            "tokensPerSecond": 140.2,
            "eta": "2026-03-01T12:03:10Z",
            "display": "120/240",
        },
        "cost": {"gpuSeconds": 334, "cpuSeconds": 354, "amount": "0.2317", "currency": "EUR"},
        **status,
    }
    return {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {
            "namespace": "support",
            "name": f"triage-{number}-7f2a",
            "uid": f"run-uid-{number}",
            "labels": {"retune.dev/job": "triage"},
            "creationTimestamp": "2026-03-01T11:54:00Z",
        },
        "spec": {
            **copy.deepcopy(SPEC),
            **(spec or {}),
            "jobRef": {"name": "triage", "uid": "job-uid"},
            "number": number,
            "trigger": {"kind": "SpecChanged"},
        },
        "status": {key: value for key, value in found.items() if value is not None},
    }


def promoted(number: int = 2, spec: Raw | None = None, **status: Any) -> Raw:
    """A run that is over and was good."""
    over: Raw = {
        "endedAt": "2026-03-01T12:00:00Z",
        "conditions": [
            condition("GatesPassed", "True", "GatesPassed"),
            condition("Trained", "True", "Trained", "240 steps; the adapter is at s3://models/retune/a"),
            condition("Accepted", "True", "GoodEnough", "ExactMatch 0.800, base 0.100, at least 0.7 was asked for."),
        ],
        "scores": {
            "metric": "ExactMatch",
            "base": 0.1,
            "candidate": 0.8,
            "uplift": 0.7,
            "interval": [0.62, 0.78],
            "n": 240,
        },
        "look": {"number": 2, "alpha": 0.025},
        "comparisons": [
            {
                "set": "Gold",
                "against": "Base",
                "metric": "ExactMatch",
                "reference": 0.1,
                "candidate": 0.8,
                "uplift": 0.7,
                "lower": 0.62,
                "upper": 0.78,
                "n": 240,
                "smallest": 0.081,
            },
            {
                "set": "Guard",
                "against": "Base",
                "metric": "TokenF1",
                "reference": 0.5,
                "candidate": 0.49,
                "uplift": -0.01,
                "lower": None,
                "upper": None,
                "n": 40,
            },
        ],
        "metrics": {"ExactMatch": {"base": 0.1, "candidate": 0.8}, "TokenF1": {"base": 0.21, "candidate": 0.88}},
        "segments": [
            {"name": "de", "n": 120, "base": 0.08, "candidate": 0.75, "p": 0.031},
            {"name": "en", "n": 120, "base": 0.12, "candidate": 0.85},
        ],
        "artifact": {"uri": f"s3://models/retune/support/triage/triage-{number}-7f2a/adapter/cc", "digest": DIGEST},
        "reportUri": f"s3://models/retune/support/triage/triage-{number}-7f2a/report.json",
    }
    return run(number, "Promoted", spec, **{**over, **status})


def event(type_: str, reason: str, message: str, at: str) -> Raw:
    return {
        "metadata": {"name": reason.lower()},
        "type": type_,
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
    }


EVENTS = [
    event("Normal", "RunInFlight", f"Run {THIRD} is in flight.", "2026-03-01T11:54:00Z"),
    event("Normal", "GatesPassed", "All gates passed or warned.", "2026-03-01T11:54:21Z"),
]
