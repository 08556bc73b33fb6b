"""What the operator reads: `GET /v1/state`, as raw as it is counted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from retune_tap.arms import Arm
from retune_tap.served import Served
from retune_tap.tap import Tap


def state(tap: Tap, since: float | None) -> dict[str, Any]:
    """The whole state; `since` (Unix seconds) asks for the windows that start after it."""
    return {
        **identity(tap),
        "generation": tap.desk.generation,
        "shared": False,
        "models": {name: _model(tap, served, since) for name, served in tap.models.items()},
    }


def identity(tap: Tap) -> dict[str, Any]:
    """Who answers, and what time it is there."""
    settings = tap.settings
    return {"pod": settings.pod, "podUid": settings.pod_uid, "startedAt": tap.started_at, "now": tap.wall()}


def _model(tap: Tap, served: Served, since: float | None) -> dict[str, Any]:
    plan = served.plan
    return {
        "stage": plan.stage,
        "stratum": plan.stratum,
        "weight": served.weight(),
        "held": served.held(),
        "arms": {label: _arm(tap, arm) for label, arm in served.arms.items()},
        "counters": served.counters.counters(),
        "routed": served.counters.routes(),
        "fallbacks": served.fallback.total,
        "heaviest": served.heaviest.share(tap.clock()),
        "quota": {"requests": served.exposure.requests, "bad": served.exposure.bad},
        "shadow": asdict(served.shadows),
        "latency": {
            "firstToken": _quantiles(served.first_tokens),
            "response": _quantiles(served.responses),
            "candidate": _quantiles(served.candidates_responses),
        },
        "windows": {} if since is None else served.counters.windows(since, tap.wall()),
    }


def _arm(tap: Tap, arm: Arm) -> dict[str, Any]:
    standing = tap.loading.standing(arm)
    return {
        "name": arm.name or arm.model,
        "digest": arm.digest,
        "state": standing.state,
        "message": standing.message,
    }


def _quantiles(samples: Iterable[float]) -> dict[str, float | int | None]:
    ordered = sorted(samples)

    def quantile(fraction: float) -> float | None:
        return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))] if ordered else None

    return {"n": len(ordered), "p50": quantile(0.5), "p95": quantile(0.95)}
