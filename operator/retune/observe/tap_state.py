"""What a tap's `GET /v1/state` says, held against the contract (design/0012). Pure: text in, a reading out.

A tap runs in a tenant's namespace, so nothing of it is believed that the contract does not allow: what decides over a
rollback must be a number where a number is due.
"""

import json
from collections.abc import Mapping
from typing import Any

from retune.decide.arms import DRIFT
from retune.decide.readings import BUCKETS, ArmState, Series, ServingPod, ShadowCount, TapReading

ARMS = ("stable", "canary")
STATES = ("Ready", "Loading", "Failed")
HELD = ("NotReady", "Patience", "Quota")
MOST = 2**53  # what JSON numbers hold exactly
MOST_METRICS, MOST_STRATA, MOST_WINDOWS, MOST_TEXT = 32, 64, 1000, 512
Said = Mapping[str, Any]


def read_state(text: bytes, pod: ServingPod, model: str) -> TapReading:
    """The reading of one tap.

    Args:
        text: the answer's body.
        pod: who was asked.
        model: the public model name that the job serves.

    Raises:
        ValueError: it is not what the contract says; the message names the place.
    """
    try:
        said = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError("its state is no JSON") from error
    told = _object(said, "state")
    if told.get("podUid") != pod.uid:
        raise ValueError("podUid: another pod answered")
    models = _object(told.get("models"), "models")
    mine = _object(models.get(model, {}), f"models.{model}")  # none before the first document
    quota = _object(mine.get("quota") or {}, "quota")
    held = mine.get("held") or ""
    if held and held not in HELD:
        raise ValueError(f"held: {str(held)[:32]!r} is none of {', '.join(HELD)}")
    return TapReading(
        pod=pod.name,
        pod_uid=pod.uid,
        started=_number(told.get("startedAt"), "startedAt"),
        now=_number(told.get("now"), "now"),
        generation=_count(told.get("generation"), "generation"),
        stratum=_text(mine.get("stratum", "-"), "stratum"),
        weight=_count(mine.get("weight", 0), "weight", 100),
        held=held,
        arms={
            arm: _arm(state, f"arms.{arm}")
            for arm, state in _named(mine.get("arms") or {}, "arms", len(ARMS), ARMS)
            if state is not None
        },
        series=tuple(_series(mine.get("counters") or {})),
        routed={s: _pair(pair, f"routed.{s}") for s, pair in _named(mine.get("routed") or {}, "routed", MOST_STRATA)},
        windows={
            metric: _windows(rows, f"windows.{metric}")
            for metric, rows in _named(mine.get("windows") or {}, "windows", MOST_METRICS)
        },
        fallbacks=_count(mine.get("fallbacks", 0), "fallbacks"),
        heaviest=_number(mine.get("heaviest", 0.0), "heaviest", 1.0),
        quota_requests=_count(quota.get("requests", 0), "quota.requests"),
        quota_bad=_count(quota.get("bad", 0), "quota.bad"),
        p95=_p95(mine.get("latency") or {}),
        timed=_timed(mine.get("latency") or {}),
        shadow=_shadow(mine.get("shadow") or {}),
    )


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def _object(said: object, place: str) -> Said:
    if not isinstance(said, dict):
        raise ValueError(f"{place}: no object")  # noqa: TRY004 - one kind of error for all that is wrong
    return said


def _named(said: object, place: str, most: int, names: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    found = list(_object(said, place).items())
    if len(found) > most:
        raise ValueError(f"{place}: {len(found)} entries, at most {most} are known")
    for name, _ in found:
        if (names and name not in names) or len(name) > MOST_TEXT:
            raise ValueError(f"{place}: {name[:32]!r} is not known")
    return found


def _text(said: object, place: str) -> str:
    if not isinstance(said, str) or len(said) > MOST_TEXT:
        raise ValueError(f"{place}: no text of at most {MOST_TEXT} characters")
    return said


def _count(said: object, place: str, most: int = MOST) -> int:
    if type(said) is not int or not 0 <= said <= most:
        raise ValueError(f"{place}: no whole number from 0 to {most}")
    return said


def _number(said: object, place: str, most: float = MOST) -> float:
    if type(said) not in (int, float) or not 0 <= said <= most:  # type: ignore[operator]
        raise ValueError(f"{place}: no number from 0 to {most:g}")
    return float(said)  # type: ignore[arg-type]


def _counts(said: object, place: str) -> tuple[int, ...]:
    if not isinstance(said, list) or len(said) != BUCKETS:
        raise ValueError(f"{place}: no list of {BUCKETS} numbers")
    if not all(type(n) is int and 0 <= n <= MOST for n in said):
        raise ValueError(f"{place}: no whole numbers from 0 to {MOST}")
    return tuple(said)


def _arm(said: object, place: str) -> ArmState:
    told = _object(said, place)
    if told.get("state") not in STATES:
        raise ValueError(f"{place}.state: none of {', '.join(STATES)}")
    message = str(told.get("message") or "")[:MOST_TEXT]
    return ArmState(_text(told.get("name"), f"{place}.name"), _text(told.get("digest"), f"{place}.digest"),
                    told["state"], message)  # fmt: skip


def _series(said: object) -> list[Series]:
    found = []
    for metric, by_arm in _named(said, "counters", MOST_METRICS):
        for arm, by_stratum in _named(by_arm, f"counters.{metric}", len(ARMS), ARMS):
            for stratum, counts in _named(by_stratum, f"counters.{metric}.{arm}", MOST_STRATA):
                place = f"counters.{metric}.{arm}.{stratum}"
                told = _object(counts, place)
                bad, total = _counts(told.get("bad"), f"{place}.bad"), _counts(told.get("total"), f"{place}.total")
                if any(b > t for b, t in zip(bad, total, strict=True)):
                    raise ValueError(f"{place}: more bad ones than all together")
                if not metric.startswith(DRIFT):  # told by its windows; of a candidate it says nothing
                    found.append(Series(metric, arm, stratum, bad, total))
    return found


def _pair(said: object, place: str) -> tuple[int, int]:
    told = _object(said, place)
    return _count(told.get("stable", 0), f"{place}.stable"), _count(told.get("canary", 0), f"{place}.canary")


def _windows(said: object, place: str) -> tuple[tuple[float, int, int], ...]:
    if not isinstance(said, list) or len(said) > MOST_WINDOWS:
        raise ValueError(f"{place}: no list of at most {MOST_WINDOWS} windows")
    found = []
    for row in said:
        if not isinstance(row, list) or len(row) != 3:
            raise ValueError(f"{place}: a window is [start, bad, total]")
        start, bad, total = _number(row[0], place), _count(row[1], place), _count(row[2], place)
        if bad > total:
            raise ValueError(f"{place}: more bad ones than all together")
        found.append((start, bad, total))
    return tuple(found)


def _p95(said: object) -> dict[str, float]:
    known = {}
    for name, quantiles in _named(said, "latency", 8):
        p95 = _object(quantiles or {}, f"latency.{name}").get("p95")
        if p95 is not None:
            known[name] = _number(p95, f"latency.{name}.p95")
    return known


def _timed(said: object) -> dict[str, int]:
    """A tap that does not say over how many has an older version."""
    named = _named(said, "latency", 8)
    return {name: _count(_object(of or {}, name).get("n", 0), f"latency.{name}.n") for name, of in named}


def _shadow(said: object) -> ShadowCount:
    told = _object(said, "shadow")
    names = ("sent", "dropped", "failed", "agreed", "compared")
    return ShadowCount(*(_count(told.get(name, 0), f"shadow.{name}") for name in names))
