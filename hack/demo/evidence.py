"""A rollout in words and tables: weight, what users saw of each arm, and what the stop-losses make of it."""

import math

from hack.demo.run import Run
from hack.demo.users import Scene
from hack.load import report
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from retune.api import Evidence, EvidenceState, RolloutStatus

BAR = 16


def stage(run: Run, scene: Scene) -> str:
    """The share that was decided, and the one that the taps give while they differ."""
    rollout = run.status.rollout
    if rollout is None:
        return ""
    words = [f"step {rollout.step + 1}"] if rollout.step is not None else []
    words.append(f"{rollout.weight} % of the users")
    if scene.weight is not None and scene.weight != rollout.weight:
        words.append(f"(the taps give {scene.weight} %)")
    if rollout.intent is not None:
        words.append(f"→ {rollout.intent}")
    if rollout.held_because is not None:
        words.append(rollout.held_because)
    return "  ".join(words)


def arms(scene: Scene) -> Table:
    """What users saw in this rollout, by arm."""
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_row(*(Text(name, "dim") for name in ("", "now", *report.COLUMNS)))
    for arm, found in scene.arms.items():
        rate = f"{scene.rates.get(arm, 0.0):.1f}/s"
        table.add_row(Text(arm, "bold" if arm == "canary" else ""), rate, *report.cells(found))
    return table


def evidence(rollout: RolloutStatus) -> Table:
    """Each stop-loss with its e-value on the way to its threshold, and the counts behind it."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for one in rollout.evidence:
        breached = one.state is EvidenceState.BREACHED
        style = "red" if breached else "dim" if one.state is EvidenceState.OK else "yellow"
        bar = ProgressBar(total=1.0, completed=progress(one), width=BAR, complete_style="red" if breached else "cyan")
        table.add_row(one.name, bar, e_value(one), counts(one), Text(str(one.state), style))
    return table


def line(one: Evidence) -> str:
    """A stop-loss as one line."""
    return f"{one.name}: {one.state}, {e_value(one)}, {counts(one)}"


def e_value(one: Evidence) -> str:
    """`e 3.2 of 200`: how strong the evidence of harm is, and how strong it must be."""
    if one.e_value is None:
        return "no evidence yet"
    return f"e {_short(one.e_value)}" + (f" of {_short(one.threshold)}" if one.threshold is not None else "")


def counts(one: Evidence) -> str:
    """`canary 12/30  stable 9/88`: bad answers of all."""
    arms_ = (("canary", one.bad, one.total), ("stable", one.stable_bad, one.stable_total))
    return "  ".join(f"{arm} {bad or 0}/{total}" for arm, bad, total in arms_ if total is not None)


def progress(one: Evidence) -> float:
    """How far an e-value is on its way from 1 to the threshold, on a scale of ratios; in [0, 1]."""
    if not one.e_value or not one.threshold or one.threshold <= 1 or one.e_value <= 1:
        return 0.0
    return min(1.0, math.log(one.e_value) / math.log(one.threshold))


def _short(value: float) -> str:
    """Three digits: 0.42, 3.1, 200, 4.1e+07."""
    return f"{value:.0f}" if 10 <= value < 1e5 else f"{value:.2g}"
