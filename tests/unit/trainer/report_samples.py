"""Runs as they end in a bank's support: the status, `preflight.json` and `evaluation.json` that a report is made of.

Everything is drawn from a fixed seed; the numbers hang together (scores are counted from the answers).
"""

from __future__ import annotations

import math
import random
from typing import Any

from tests.unit.trainer.fakes import document, run_config

from retune_trainer.config import RunConfig

UID = "5f0c7a52-8f0e-4d6b-9c1a-2f6f5d1b7e90"
CLASSES = (
    "card_lost",
    "card_declined",
    "card_delivery",
    "transfer_pending",
    "transfer_failed",
    "fee_charged",
    "exchange_rate",
    "login_blocked",
    "pin_change",
    "limit_increase",
    "account_closing",
    "direct_debit",
)
PROMPTS = {
    "card_lost": "I left my card in a taxi last night and cannot reach the driver. What should I do first?",
    "card_declined": "My card was refused at the supermarket although there is enough money in the account.",
    "card_delivery": "I ordered a new card nine days ago and it has still not come.",
    "transfer_pending": "The rent I sent on Friday is still shown as pending. When does my landlord get it?",
    "transfer_failed": "My transfer came back without a reason. The IBAN is correct, I have used it before.",
    "fee_charged": "Why was I charged a fee for a withdrawal that used to be free?",
    "exchange_rate": "Which rate do you use when I pay in Polish zloty?",
    "login_blocked": "The app says my access is blocked after I mistyped the code.",
    "pin_change": "How do I change the PIN of my debit card?",
    "limit_increase": "I want to pay a kitchen, can I raise the daily limit for one day?",
    "account_closing": "Please close my savings account and send the rest to my current account.",
    "direct_debit": "A gym has taken money although I cancelled the contract. Can I take it back?",
}
NEIGHBOUR = {
    "card_lost": "card_declined",
    "card_declined": "limit_increase",
    "card_delivery": "card_lost",
    "transfer_pending": "transfer_failed",
    "transfer_failed": "transfer_pending",
    "fee_charged": "exchange_rate",
    "exchange_rate": "fee_charged",
    "login_blocked": "pin_change",
    "pin_change": "login_blocked",
    "limit_increase": "card_declined",
    "account_closing": "direct_debit",
    "direct_debit": "fee_charged",
}
SPEC = {
    "modelDigest": "sha256:" + "b81e" * 16,
    "operatorVersion": "0.1.0",
    "image": "retune/trainer:0.1.0",
    "trigger": {"kind": "NewExamples", "value": 412, "threshold": 400},
    "stable": {
        "run": "support-triage-6",
        "digest": "sha256:" + "77d0" * 16,
        "uri": "pvc://store/out/ns/job/job-6/adapter",
    },
    "gates": {
        "data": {
            "mode": "Warn",
            "minExamples": 500,
            "maxDuplicateFraction": 0.05,
            "maxConflictFraction": 0.01,
            "productionBalance": {
                "classifiedBy": "label",
                "expected": {"card": 0.45, "transfer": 0.3, "other": 0.25},
                "maxDivergence": 0.2,
            },
        },
        "leakage": {"mode": "Enforce", "maxExact": 0, "maxNearFraction": 0.02},
        "privacy": {"mode": "Enforce", "redact": True},
        "baseline": {"mode": "Enforce", "goodEnough": 0.9},
        "payback": {
            "monthlyRequests": 10000,
            "baselineCostPer1k": "30.00",
            "tunedCostPer1k": "7.50",
            "maxMonths": 24,
        },
    },
    "evaluation": {
        "metrics": [{"name": "Top1"}, {"name": "Top3"}],
        "acceptance": {"metric": "Top1", "minUplift": 0.03, "maxRegression": 0.02, "confidence": 0.95},
        "maxSegmentRegression": 0.05,
        "guard": {"uri": "pvc://store/guard.jsonl", "metric": "TokenF1", "maxDrop": 0.03},
    },
}


def config(uid: str = UID, **spec: Any) -> RunConfig:
    return run_config(uid, **{**SPEC, **spec})


def run_json(uid: str = UID) -> dict[str, Any]:
    return document(uid, **SPEC)


def gates(**verdicts: str) -> list[dict[str, Any]]:
    """All seven; `verdicts` replaces some."""
    found = [
        {
            "name": "data",
            "verdict": "Warned",
            "reason": "6.2% of the rows are copies of others; gates.data.maxDuplicateFraction allows 5.0%.",
            "advice": "Keep one of each: the report lists the pairs.",
            "values": {
                "examples": 4812,
                "exactDuplicates": 171,
                "nearDuplicates": 127,
                "duplicateFraction": 0.0619,
                "conflicts": 21,
                "conflictFraction": 0.0044,
                "divergence": 0.08,
                "empty": 0,
                "tooLong": 14,
                "tooLongFraction": 0.0029,
                "heldOut": 120,
            },
        },
        {
            "name": "leakage",
            "verdict": "Passed",
            "reason": "Of 240 gold examples 0 are in the training set, 1.2% nearly so.",
            "values": {"gold": 240, "exact": 0, "near": 3, "nearFraction": 0.0125},
        },
        {
            "name": "privacy",
            "verdict": "Passed",
            "reason": "Scrubbed before training: 312 EMAIL_ADDRESS, 118 PHONE_NUMBER, 41 IBAN_CODE in 402 rows.",
            "values": {"EMAIL_ADDRESS": 312, "PHONE_NUMBER": 118, "IBAN_CODE": 41, "rows": 402, "redacted": 1},
        },
        {
            "name": "baseline",
            "verdict": "Passed",
            "reason": "Prompting reaches Top1 0.717 on 240 gold examples, below goodEnough 0.9.",
            "values": {
                "score": 0.7167,
                "n": 240,
                "failed": 0,
                "promptTokens": 51230,
                "completionTokens": 1440,
                "seconds": 93.4,
                "cost": 7.2,
            },
        },
        {
            "name": "payback",
            "verdict": "Passed",
            "reason": "3,500.00 once + 12.41 for training = 3,512.41 EUR; 300.00 - 75.00 + 0.00 = 225.00 EUR a month; "
            "pays back in 15.6 months (maxMonths 24).",
            "values": {
                "monthlyToday": 300,
                "monthlyTuned": 75,
                "monthlyValue": 0,
                "monthlyGain": 225,
                "oneOffCost": 3500,
                "spentOnTraining": 12.41,
                "upfront": 3512.41,
                "maxMonths": 24,
                "months": 15.611,
            },
        },
        {
            "name": "budget",
            "verdict": "Passed",
            "reason": "12.41 EUR spent, 20.00 set aside for this run, 200.00 released.",
            "values": {"spent": 12.41, "committed": 20, "released": 200},
        },
        {
            "name": "approvals",
            "verdict": "Passed",
            "reason": "privacy by maria.keller@bank.example at 2026-03-13 15:02 UTC.",
            "values": {"required": 1, "given": 1},
        },
    ]
    return [{**gate, "verdict": verdicts.get(gate["name"], gate["verdict"])} for gate in found]


def preflight(uid: str = UID, leaked: int = 0) -> dict[str, Any]:
    return {
        "run": {"uid": uid},
        "measured": {gate["name"]: gate["values"] for gate in gates()[:4]},
        "notes": {"baseline": "3 of 240 answers were cut at the model's own limit and count as wrong."},
        "versions": {"trainer": "0.1.0", "python": "3.13.1"},
        "details": {
            "duplicates": {
                "exact": [[12, 845], [12, 2210], [77, 78]],
                "near": [[101, 3310, 0.962], [415, 418, 0.911], [902, 4100, 0.874]],
            },
            "conflicts": [
                {"lines": [340, 2711], "answers": ["fee_charged", "exchange_rate"]},
                {"lines": [518, 519, 3002], "answers": ["card_declined", "limit_increase"]},
            ],
            "leakage": {
                "exact": [[3 * n + 1, 97 * n + 12] for n in range(leaked)],
                "near": [[17, 2044, 0.93], [88, 310, 0.9], [190, 4021, 0.88]],
            },
            "balance": {
                "card": {"expected": 0.45, "found": 0.51},
                "transfer": {"expected": 0.3, "found": 0.22},
                "other": {"expected": 0.25, "found": 0.27},
            },
            "lengths": {"unit": "tokens", "p50": 61, "p95": 214, "p99": 402, "max": 1480},
            "privacy": {
                "EMAIL_ADDRESS": {"occurrences": 312, "rows": 280},
                "PHONE_NUMBER": {"occurrences": 118, "rows": 111},
                "IBAN_CODE": {"occurrences": 41, "rows": 40},
            },
            "empty": [],
        },
    }


def _answers(quality: float, seed: int) -> list[tuple[str, str, str]]:
    """(gold answer, the model's, segment) of 240 examples, 20 of each class; every sixth is German."""
    draw = random.Random(seed)
    found = []
    for i in range(240):
        gold = CLASSES[i % 12]
        easy = quality + (0.08 if gold.startswith("card") else -0.04)
        told = gold if draw.random() < easy else NEIGHBOUR[gold] if draw.random() < 0.8 else draw.choice(CLASSES)
        if draw.random() < 0.01:
            told = "I am not sure"
        found.append((gold, told, "de" if i % 6 == 0 else "en"))
    return found


def _accuracy(answers: list[tuple[str, str, str]], segment: str | None = None) -> float:
    ours = [a for a in answers if segment in {None, a[2]}]
    return round(sum(a[0] == a[1] for a in ours) / len(ours), 6)


def _confusion(answers: list[tuple[str, str, str]]) -> dict[str, Any]:
    counts = [[0] * (len(CLASSES) + 1) for _ in CLASSES]
    for gold, told, _ in answers:
        counts[CLASSES.index(gold)][CLASSES.index(told) if told in CLASSES else -1] += 1
    return {"classes": list(CLASSES), "counts": counts}


def _comparison(set_: str, against: str, metric: str, reference: float, candidate: float, n: int) -> dict[str, Any]:
    error = math.sqrt(0.3 / n) * 0.75
    uplift = round(candidate - reference, 6)
    return {
        "set": set_,
        "against": against,
        "metric": metric,
        "reference": reference,
        "candidate": candidate,
        "uplift": uplift,
        "lower": round(uplift - 1.96 * error, 6),
        "upper": round(uplift + 1.96 * error, 6),
        "n": n,
        "smallest": round(2.8 * error, 6),
    }


def evaluation(uid: str = UID, quality: float = 0.88) -> dict[str, Any]:
    base, stable, candidate = _answers(0.66, 1), _answers(0.77, 2), _answers(quality, 3)
    b, s, c = _accuracy(base), _accuracy(stable), _accuracy(candidate)
    gold = _comparison("Gold", "Stable", "Top1", s, c, 240)
    wrong = sorted(range(240), key=lambda i: (candidate[i][0] == candidate[i][1], base[i][0] != base[i][1]))[:50]
    segments = [
        {
            "name": name,
            "n": sum(a[2] == name for a in candidate),
            "base": _accuracy(base, name),
            "stable": _accuracy(stable, name),
            "candidate": _accuracy(candidate, name),
            "p": p,
        }
        for name, p in (("en", 0.9986), ("de", None))
    ]
    return {
        "run": {"uid": uid},
        "alpha": 0.0125,
        "bound": "Tango",
        "scores": {
            "metric": "Top1",
            "base": b,
            "stable": s,
            "candidate": c,
            "uplift": gold["uplift"],
            "interval": [gold["lower"], gold["upper"]],
            "n": 240,
        },
        "comparisons": [
            gold,
            _comparison("Gold", "Base", "Top1", b, c, 240),
            _comparison("Fresh", "Stable", "Top1", 0.758333, 0.866667, 120),
            _comparison("Guard", "Base", "TokenF1", 0.5412, 0.5331, 500),
        ],
        "metrics": {
            "Top1": {"base": b, "stable": s, "candidate": c},
            "Top3": {"base": 0.854167, "stable": 0.916667, "candidate": 0.958333},
        },
        "segments": segments,
        "segmentsTested": 1,
        "confusion": {"base": _confusion(base), "candidate": _confusion(candidate)},
        "examples": [
            {
                "prompt": PROMPTS[candidate[i][0]],
                "reference": candidate[i][0],
                "base": base[i][1],
                "stable": stable[i][1],
                "candidate": candidate[i][1],
                "segment": candidate[i][2],
            }
            for i in wrong
        ],
        "training": {
            "settings": {"epochs": 3, "learningRate": 0.0002, "batchTokens": 8192, "rank": 16, "packing": True},
            "curve": _curve(),
        },
        "notes": [],
    }


def _curve() -> list[dict[str, float]]:
    draw = random.Random(4)
    points = []
    for step in range(2, 181, 2):
        point: dict[str, float] = {
            "step": step,
            "loss": round(0.34 + 2.1 * math.exp(-step / 28) + draw.gauss(0, 0.03), 4),
        }
        if step % 30 == 0:
            point["heldOut"] = round(0.47 + 1.5 * math.exp(-step / 30) + max(0, step - 120) * 0.0006, 4)
        points.append(point)
    return points


def status(phase: str = "Promoted", **fields: Any) -> dict[str, Any]:
    """The status of a run whose training went well in its second attempt."""
    found = evaluation()
    scores = found["scores"]
    passed = (
        f"Top1 {scores['candidate']:.3f} on 240 gold examples, stable {scores['stable']:.3f}, uplift "
        f"{scores['uplift']:+.3f} (at least {scores['interval'][0]:+.3f}, 98.8% sure at look 2). "
        "Segments of under 50 examples are Unknown: de."
    )
    lost = (
        "Top1 0.792 on 240 gold examples, stable 0.775, uplift +0.017 (at least -0.035, 98.8% sure at look 2); it may "
        "be worse than the serving model by more than evaluation.acceptance.maxRegression (0.02). "
        "So many examples would have shown +0.074."
    )
    said = {"Promoted": ("Accepted", "True", "Accepted", passed), "Rejected": ("Accepted", "False", "Regression", lost)}
    type_, value, reason, message = said.get(phase, ("Trained", "False", "Crashed", "It crashed"))
    return {
        "phase": phase,
        "startedAt": "2026-03-14T07:12:04Z",
        "endedAt": "2026-03-14T09:26:41Z",
        "trigger": SPEC["trigger"],
        "conditions": [
            {
                "type": "GatesPassed",
                "status": "True",
                "reason": "GatesPassed",
                "message": "All gates passed.",
                "lastTransitionTime": "2026-03-14T07:16:30Z",
            },
            {
                "type": type_,
                "status": value,
                "reason": reason,
                "message": message,
                "lastTransitionTime": "2026-03-14T09:26:41Z",
            },
        ],
        "resolved": {
            "baseModel": {"uri": "pvc://store/models/base", "digest": "sha256:" + "9c41" * 16},
            "train": {"digest": "sha256:" + "1fd3" * 16, "examples": 4932, "format": "Classification"},
            "gold": {"digest": "sha256:" + "a05c" * 16, "examples": 240, "format": "Classification"},
            "prepared": {
                "train": {"path": "prepared/train.jsonl", "digest": "sha256:" + "3e77" * 16, "examples": 4812},
                "fresh": {"path": "prepared/fresh.jsonl", "digest": "sha256:" + "c2b9" * 16, "examples": 120},
            },
        },
        "versions": {
            "trainer": "0.1.0",
            "torch": "2.9.1",
            "transformers": "5.1.0",
            "peft": "0.18.0",
            "python": "3.13.1",
        },
        "gates": gates(),
        "approvals": [
            {
                "name": "privacy",
                "by": "maria.keller@bank.example",
                "at": "2026-03-13T15:02:11Z",
                "subject": "sha256:" + "d41d" * 16,
            }
        ],
        "attempts": [
            {
                "stage": "Preflight",
                "number": 1,
                "startedAt": "2026-03-14T07:12:30Z",
                "endedAt": "2026-03-14T07:16:22Z",
                "exit": "Succeeded",
                "cpuSeconds": 464.0,
            },
            {
                "stage": "Train",
                "number": 1,
                "startedAt": "2026-03-14T07:21:10Z",
                "endedAt": "2026-03-14T08:01:55Z",
                "exit": "Disrupted",
                "reason": "Evicted",
                "message": "Pod job-7-a1-x2z was evicted: Preempted by a pod of higher priority",
                "gpuSeconds": 2445.0,
                "cpuSeconds": 9780.0,
            },
            {
                "stage": "Train",
                "number": 2,
                "startedAt": "2026-03-14T08:09:02Z",
                "endedAt": "2026-03-14T09:26:30Z",
                "exit": "Succeeded",
                "gpuSeconds": 4648.0,
                "cpuSeconds": 18592.0,
            },
            {"stage": "Report", "number": 1},
        ],
        "look": {"number": 2, "alpha": 0.0125},
        "scores": found["scores"],
        "comparisons": found["comparisons"],
        "metrics": found["metrics"],
        "segments": found["segments"],
        "segmentsTested": 1,
        "cost": {"gpuSeconds": 7093.0, "cpuSeconds": 28836.0, "amount": "7.2731", "currency": "EUR"},
        "artifact": {"uri": "pvc://store/out/ns/job/job-1/adapter/5b1e0d94c7aa", "digest": "sha256:" + "5b1e" * 16},
        **fields,
    }


def rejected() -> dict[str, Any]:
    """Above what was asked for, but not beyond doubt."""
    found = evaluation(quality=0.78)
    gold = _comparison("Gold", "Stable", "Top1", 0.775, 0.791667, 240)
    comparisons = [gold, *found["comparisons"][1:]]
    scores = {**found["scores"], "stable": 0.775, "candidate": 0.791667, "uplift": gold["uplift"]}
    scores["interval"] = [gold["lower"], gold["upper"]]
    return status("Rejected", scores=scores, comparisons=comparisons, artifact=None)


def rolled_back() -> dict[str, Any]:
    """Good on the gold set, bad in its users' eyes: taken back in the canary's second step."""
    message = "Stop-loss overrides: 31 of 402 answers bad, against 9 of 1,198 of stable; evidence 1,204, back at 400."
    whole = status("RolledBack")
    condition = {
        "type": "Safe",
        "status": "False",
        "reason": "StopLoss",
        "message": message,
        "lastTransitionTime": "2026-03-14T11:02:10Z",
    }
    counts = {"bad": 31, "total": 402, "stableBad": 9, "stableTotal": 1198}
    rollout = {
        "stage": "Canary",
        "step": 1,
        "weight": 0,
        "startedAt": "2026-03-14T10:31:00Z",
        "expectedHours": 2.5,
        "heldBecause": "StopLoss",
        "message": message,
        "evidenceAt": "2026-03-14T11:02:10Z",
        "evidence": [
            {"name": "overrides", "state": "Breached", "eValue": 1204.4, "threshold": 400.0, **counts, "harm": 0.112},
            {"name": "errors", "state": "Ok", "eValue": 0.61, "threshold": 400.0, "bad": 0, "total": 402},
        ],
    }
    return {
        **whole,
        "conditions": [*whole["conditions"], condition],
        "rollout": rollout,
        "endedAt": "2026-03-14T11:02:12Z",
    }


def recovered() -> dict[str, Any]:
    """Drift had started it; it met its users and was promoted, in the second try and with one person's yes."""
    whole = status()
    rollout = {
        "stage": "Baking",
        "weight": 0,
        "startedAt": "2026-03-14T08:31:00Z",
        "expectedHours": 1.0,
        "heldBecause": "PromotedByHand",
        "message": "Promoted by its annotation retune.dev/promote: maria.keller@bank.example",
        "before": {"p95Seconds": 1.37, "costPer1k": "0.418200"},
        "after": {"p95Seconds": 0.86, "costPer1k": "0.402600"},
        "evidenceAt": "2026-03-14T09:26:10Z",
        "evidence": [
            {"name": "overrides", "state": "Ok", "eValue": 0.02, "threshold": 400.0, "bad": 9, "total": 2402},
        ],
    }
    recovery = {
        "run": "support-triage-7",
        "noticedAt": "2026-03-14T05:40:00Z",
        "promotedAt": "2026-03-14T09:26:41Z",
        "seconds": 13601,
        "cost": "9.4312",
        "interventions": 2,
    }
    trigger = {"kind": "Drift", "name": "prompts", "value": 0.31, "threshold": 0.2, "samples": 3200}
    return {**whole, "trigger": trigger, "rollout": rollout, "recovery": recovery}


def declined() -> dict[str, Any]:
    """The gold set had leaked; nothing was trained."""
    found = gates(data="Failed", leakage="Failed")
    found[1]["reason"] = "14 of 240 gold examples are in the training set, too; gates.leakage.maxExact allows 0."
    found[1]["advice"] = "Take them out of the training set: the report lists the pairs."
    found[1]["values"] = {"gold": 240, "exact": 14, "near": 3, "nearFraction": 0.0125}
    whole = status("Declined", gates=found)
    condition = {
        "type": "GatesPassed",
        "status": "False",
        "reason": "LeakageFailed",
        "message": found[1]["reason"],
        "lastTransitionTime": "2026-03-14T07:16:41Z",
    }
    kept = ("phase", "startedAt", "trigger", "resolved", "versions", "gates")
    return {
        **{key: whole[key] for key in kept},
        "endedAt": "2026-03-14T07:16:41Z",
        "conditions": [condition],
        "attempts": whole["attempts"][:1],
        "cost": {"cpuSeconds": 464.0, "amount": "0.0052", "currency": "EUR"},
    }


def failed() -> dict[str, Any]:
    """The dataset could not be opened: not even preflight could say anything."""
    message = (
        "spec.dataset.train.uri: pvc://store/trian.jsonl does not exist; upload it or correct spec.dataset.train.uri"
    )
    return {
        "phase": "Failed",
        "startedAt": "2026-03-14T07:12:04Z",
        "endedAt": "2026-03-14T07:12:51Z",
        "conditions": [
            {
                "type": "GatesPassed",
                "status": "False",
                "reason": "DatasetNotFound",
                "message": message,
                "lastTransitionTime": "2026-03-14T07:12:51Z",
            }
        ],
        "attempts": [
            {
                "stage": "Preflight",
                "number": 1,
                "startedAt": "2026-03-14T07:12:30Z",
                "endedAt": "2026-03-14T07:12:48Z",
                "exit": "InputError",
                "reason": "DatasetNotFound",
                "message": message,
                "cpuSeconds": 18,
            }
        ],
        "cost": {"cpuSeconds": 18, "amount": "0.0002", "currency": "EUR"},
    }
