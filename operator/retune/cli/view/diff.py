"""Two runs side by side: what was asked differently, what was found differently, and what came of it."""

import functools
from collections.abc import Callable, Iterator

from rich.console import RenderableType
from rich.text import Text

from retune.cli.objects import Raw, items, name, part, phase
from retune.cli.view import cost
from retune.cli.view.paper import listing, painted, stacked, titled
from retune.cli.wording import bounds, gain, reading, score

# Different in every two runs, or said elsewhere on the page.
_APART = ("number", "jobRef", "trigger", "modelDigest")
ABSENT = "-"
Pair = tuple[str, str, str]


def diff(one: Raw, two: Raw) -> RenderableType:
    """Only what differs, but scores, gates and cost in full."""
    sides = name(one), name(two)
    asked = changes(_without(part(one, "spec")), _without(part(two, "spec")))
    found = changes(part(one, "status", "resolved"), part(two, "status", "resolved"), skip=("sketch",))
    head: list[tuple[str, RenderableType | str, RenderableType | str]] = [
        _pair("number", one, two, lambda run: str(part(run, "spec", "number"))),
        _pair("started by", one, two, lambda run: str(part(run, "spec", "trigger", "kind") or ABSENT)),
        ("phase", painted(phase(one)), painted(phase(two))),
        _pair("cost", one, two, lambda run: cost.of_run(run, limit=False)),
    ]
    return stacked(
        (
            listing(("RUN", *sides), head, fixed=True),
            titled("Spec", listing(("FIELD", *sides), asked, fixed=True) or Text("The specs are the same.")),
            titled("Found by preflight", listing(("FIELD", *sides), found, fixed=True)),
            titled("Scores", listing(("SCORE", *sides), _scores(one, two), fixed=True)),
            titled("Gates", listing(("GATE", *sides), _gates(one, two), fixed=True)),
        )
    )


def changes(one: Raw, two: Raw, skip: tuple[str, ...] = ()) -> list[Pair]:
    """The fields that differ, as (path, in the one, in the other), in the order of the first."""
    left, right = dict(_fields(one)), dict(_fields(two))
    paths = [p for p in dict.fromkeys([*left, *right]) if p.rpartition(".")[2] not in skip]
    return [
        (path, _said(left.get(path)), _said(right.get(path))) for path in paths if left.get(path) != right.get(path)
    ]


def _fields(value: object, path: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of a tree; items of a list are known by their name, where they have one."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _fields(below, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        for item in value:
            rest = {key: below for key, below in item.items() if key != "name"}
            yield f"{path}[{item['name']}]", "present"
            yield from _fields(rest, f"{path}[{item['name']}]")
    else:
        yield path, value


def _said(value: object) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _without(spec: Raw) -> Raw:
    return {key: value for key, value in spec.items() if key not in _APART}


def _pair(label: str, one: Raw, two: Raw, say: Callable[[Raw], str]) -> Pair:
    return label, say(one) or ABSENT, say(two) or ABSENT


def _scores(one: Raw, two: Raw) -> list[Pair]:
    rows = [_pair(key, one, two, functools.partial(_score, key=key)) for key in ("base", "stable", "candidate")]
    rows.append(_pair("uplift", one, two, _uplift))
    decides = {part(run, "status", "scores").get("metric") for run in (one, two)}
    for metric in dict.fromkeys([*part(one, "status", "metrics"), *part(two, "status", "metrics")]):
        rows += [] if decides == {metric} else [_pair(metric, one, two, functools.partial(_metric, metric=metric))]
    return [row for row in rows if row[1:] != (ABSENT, ABSENT)]


def _score(run: Raw, key: str) -> str:
    value = part(run, "status", "scores").get(key)
    return "" if value is None else f"{score(value)} {part(run, 'status', 'scores', 'metric') or ''}".strip()


def _uplift(run: Raw) -> str:
    scores = part(run, "status", "scores")
    if scores.get("uplift") is None:
        return ""
    interval = scores.get("interval")
    return f"{gain(scores['uplift'])}{f' ({bounds(*interval)})' if interval else ''}"


def _metric(run: Raw, metric: str) -> str:
    value = part(run, "status", "metrics", metric).get("candidate")
    return "" if value is None else score(value)


def _gates(one: Raw, two: Raw) -> list[tuple[str, RenderableType, RenderableType]]:
    """Both verdicts on every gate that either run has, and those of its numbers that differ."""
    left, right = ({g["name"]: g for g in items(run, "status", "gates")} for run in (one, two))
    return [
        (gate, _gate(left.get(gate), right.get(gate)), _gate(right.get(gate), left.get(gate)))
        for gate in dict.fromkeys([*left, *right])
    ]


def _gate(gate: Raw | None, other: Raw | None) -> Text:
    if gate is None:
        return Text(ABSENT)
    there = part(other, "values")
    lines = [reading(key, value) for key, value in part(gate, "values").items() if there.get(key) != value]
    return painted(gate["verdict"]).append("".join(f"\n{one}" for one in lines), "dim")
