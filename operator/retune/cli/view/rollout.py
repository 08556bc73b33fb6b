"""How a candidate meets its users: the steps of its rollout, what its stop-losses have counted, what it waits for."""

from datetime import datetime, timedelta

from rich.console import RenderableType
from rich.text import Text

from retune.api.phases import RunPhase
from retune.api.quantity import seconds
from retune.cli.objects import Raw, condition, ended, items, moment, part, phase
from retune.cli.view.paper import BAD, CARE, QUIET, listing, painted, sheet, stacked
from retune.cli.view.path import AHEAD, BROKEN, DONE, HERE, ROLLOUT, Line, Step
from retune.cli.wording import clock, hours, rate

_HEADS = ("STOP-LOSS", "STATE", "EVIDENCE", "CANARY", "STABLE", "PHI")
_STATES = {
    "NoTraffic": "no answers of the candidate to judge; the weight is held",
    "SeriesAbsent": "its query finds nothing of stable, so the canary does not start; mend rollout.stopLoss",
    "SourceDown": "what counts it does not answer; evidence and weight are frozen",
    "Invalid": "what counts it says nothing that can be used; evidence and weight are frozen",
    "TargetDown": "no ready pod has the candidate",
    "BaselineUnhealthy": "stable itself is in breach; the weight is held",
}
_INTENTS = {
    "Promote": "the candidate is being promoted",
    "RollBack": "the candidate is being taken back",
    "GiveUp": "the candidate is being taken back, without a verdict",
    "Cancel": "the rollout is being cancelled",
}


def in_rollout(run: Raw | None) -> bool:
    """Whether the run's candidate is on its way to its users."""
    return run is not None and phase(run) in ROLLOUT


def rollout(run: Raw, now: datetime) -> RenderableType | None:
    """The steps, what stands in the way, and what every stop-loss has counted; None if there was no rollout."""
    if not part(run, "status", "rollout"):
        return None
    return stacked((_sheet(run, now), _evidence(run)))


def weights(run: Raw, now: datetime) -> list[Step]:
    """The stages as a way: those behind it, the one it is in with its time, those ahead."""
    asked, stands = part(run, "spec", "rollout"), part(run, "status", "rollout")
    stages = [("Loading", 0, "load")]
    stages += [("Shadow", 0, f"shadow {part(asked, 'shadow').get('percent', 10)} %")] if "shadow" in asked else []
    stages += [("Pilot", 0, "pilot")] if "pilot" in asked else []
    stages += [("Canary", at, f"{one.get('weight')} %") for at, one in enumerate(items(asked, "steps"))]
    stages.append(("Baking", 0, f"bake {asked.get('bakeWeight', 90)} %"))
    if phase(run) == RunPhase.PROMOTED:
        return [Step(said, DONE) for _, _, said in stages]
    stage = str(stands.get("stage") or "")
    here = (stage, _step(run) if stage == "Canary" else 0)
    at = next((at for at, one in enumerate(stages) if one[:2] == here), None)
    if at is None:
        return [Step(said, AHEAD) for _, _, said in stages]
    since = moment(stands.get("since"))
    until = moment(part(run, "status", "endedAt")) if ended(run) else now
    held = max(0.0, (until - since).total_seconds()) if since and until else None
    way = [Step(said, DONE) for _, _, said in stages[:at]]
    way.append(Step(stages[at][2], BROKEN if ended(run) else HERE, held))
    return way if ended(run) else way + [Step(said, AHEAD) for _, _, said in stages[at + 1 :]]


def left(run: Raw, now: datetime) -> float | None:
    """Seconds for which the stage that the run is in must still be held; None if that is not known."""
    asked = part(run, "spec", "rollout")
    steps, step = items(asked, "steps"), _step(run)
    hold = {
        "Shadow": part(asked, "shadow").get("duration"),
        "Pilot": part(asked, "pilot").get("hold"),
        "Canary": steps[step].get("hold") if step < len(steps) else None,
        "Baking": asked.get("bake"),
    }.get(phase(run))
    since = moment(part(run, "status", "rollout").get("since"))
    if not hold or since is None:
        return None
    return max(0.0, seconds(str(hold)) - (now - since).total_seconds())


def then(run: Raw) -> str:
    """What comes after the stage that the run is in."""
    asked, here, step = part(run, "spec", "rollout"), phase(run), _step(run)
    steps = items(asked, "steps")
    if here == RunPhase.LOADING and "shadow" in asked:
        return "copies of requests"
    if here in (RunPhase.LOADING, RunPhase.SHADOW) and "pilot" in asked:
        return "the pilot's cohort"
    if here == RunPhase.BAKING:
        return "promotion"
    coming = step + 1 if here == RunPhase.CANARY else 0
    if coming < len(steps):
        return f"{steps[coming].get('weight')} % of traffic"
    if asked.get("bake") and not seconds(str(asked["bake"])):
        return "promotion"
    return f"the bake at {asked.get('bakeWeight', 90)} % of traffic"


def fewest(run: Raw) -> int:
    """Requests of this step that the candidate has answered, by the stop-loss that has counted most."""
    return max((one.get("total") or 0 for one in items(run, "status", "rollout", "evidence")), default=0)


def _step(run: Raw) -> int:
    return int(part(run, "status", "rollout", "step") or 0)


def _sheet(run: Raw, now: datetime) -> RenderableType | None:
    stands = part(run, "status", "rollout")
    if ended(run):
        return sheet([("rollout", Line(weights(run, now))), ("why", _lines(_ending(run)))])
    told = [f"{stands.get('weight', 0)} % of traffic"]
    told += [f"{stands['taps']} pods do as told"] if stands.get("taps") else []
    told += [f"expected to take {hours(stands['expectedHours'])}"] if stands.get("expectedHours") else []
    told += [gone] if (gone := _timeout(run, now)) else []
    held = str(stands.get("message") or stands.get("heldBecause") or "")
    paused = moment(stands.get("pausedSince"))
    hindered = [
        Text.assemble((f"{one.get('name')} {one.get('state')}", CARE), f": {_STATES[str(one.get('state'))]}")
        for one in items(stands, "evidence")
        if one.get("state") in _STATES
    ]
    return sheet(
        [
            ("rollout", Line(weights(run, now))),
            ("", Text(", ".join(told), QUIET)),
            ("paused", f"for {clock((now - paused).total_seconds())}; the stop-loss stays armed" if paused else ""),
            ("decided", Text(_INTENTS[stands["intent"]], CARE) if stands.get("intent") in _INTENTS else ""),
            ("held", held),
            ("hindered", _lines(hindered)),
            ("may hide", _lines(_hidden(run))),
        ]
    )


def _timeout(run: Raw, now: datetime) -> str:
    """When it ends without a verdict."""
    start = moment(part(run, "status", "rollout").get("startedAt"))
    limit = part(run, "spec", "rollout").get("timeout")
    if start is None or not limit or phase(run) == RunPhase.BAKING:
        return ""
    remaining = (start + timedelta(seconds=seconds(str(limit))) - now).total_seconds()
    return f"Inconclusive if not over in {hours(max(0.0, remaining) / 3600)}"


def _ending(run: Raw) -> list[Text]:
    """Why it ended: in the operator's words, or else the numbers of every stop-loss that was breached."""
    lines = [
        Text.assemble(
            (str(one.get("name")), BAD),
            f": {rate(one.get('bad'), one.get('total'))} of the candidate's answers bad, "
            f"{rate(one.get('stableBad'), one.get('stableTotal'))} of stable's; "
            f"evidence {_number(one.get('eValue'))}, and {_number(one.get('threshold'))} takes it back",
        )
        for one in items(run, "status", "rollout", "evidence")
        if one.get("state") == "Breached"
    ]
    said = part(run, "status", "rollout").get("message") or (condition(run, "Safe") or {}).get("message")
    return [Text(str(said))] if said else lines


def _hidden(run: Raw) -> list[Text]:
    """What harm the counts of this step leave possible."""
    lines = []
    for one in items(run, "status", "rollout", "evidence"):
        harm, margin = one.get("harm"), one.get("margin")
        if not isinstance(harm, int | float) or harm <= 0:
            continue
        text = f"{one.get('name')}: up to {harm * 100:.2g} in 100 answers more that are bad than stable's"
        if isinstance(margin, int | float) and part(run, "spec", "rollout").get("promotion") != "NoHarm":
            text += f"; {margin / _next_share(run) * 100:.2g} may be left when it goes on"
        lines.append(Text(text))
    return lines


def _evidence(run: Raw) -> RenderableType | None:
    """A line for each stop-loss: its evidence of harm, how much takes the candidate back, and the counts behind it."""
    rows = [
        (
            str(one.get("name")),
            painted(str(one.get("state"))),
            "-" if one.get("eValue") is None else f"{_number(one['eValue'])} of {_number(one.get('threshold'))}",
            rate(one.get("bad"), one.get("total")),
            rate(one.get("stableBad"), one.get("stableTotal")),
            "-" if one.get("phi") is None else f"{one['phi']:.1f}",
        )
        for one in items(run, "status", "rollout", "evidence")
    ]
    return listing(_HEADS, rows, right=_HEADS[2:])


def _next_share(run: Raw) -> float:
    """The share of traffic after the stage that the run is in, as a fraction: harm there is what margin limits."""
    asked = part(run, "spec", "rollout")
    coming = [one.get("weight") for one in items(asked, "steps")] + [asked.get("bakeWeight", 90)]
    at = _step(run) + 1
    return (coming[at] or 100) / 100 if phase(run) == RunPhase.CANARY and at < len(coming) else 1.0


def _lines(lines: list[Text]) -> Text | None:
    return Text("\n").join(lines) if lines else None


def _number(value: object) -> str:
    """An e-value or threshold: the digits that count."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.0f}" if 100 <= value < 1e6 else f"{value:.2g}"
