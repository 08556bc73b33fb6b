"""How the candidate did: the comparison that decides, all comparisons, metrics, segments."""

from rich.console import RenderableType
from rich.text import Text

from retune.cli.objects import Raw, items, part
from retune.cli.view.paper import BAD, GOOD, QUIET, listing
from retune.cli.wording import bounds, gain, score


def headline(run: Raw) -> Text | None:
    """The deciding scores in a line: `ExactMatch 0.100 → 0.800, +0.700 (+0.620 to +0.780), 240 gold examples`."""
    scores = part(run, "status", "scores")
    if not scores or scores.get("candidate") is None:
        return None
    against = "stable" if scores.get("stable") is not None else "base"
    text = Text(f"{scores.get('metric') or ''} {against} {score(scores.get(against))} → ".lstrip())
    text.append(f"candidate {score(scores['candidate'])}", "bold")
    uplift = scores.get("uplift")
    if uplift is not None:
        text.append("  ").append(gain(uplift), GOOD if uplift > 0 else BAD)
    interval = scores.get("interval")
    if interval:
        text.append(f" ({bounds(*interval)})")
    if scores.get("n"):
        text.append(f"  {scores['n']} gold examples", QUIET)
    return text


def comparisons(run: Raw) -> RenderableType | None:
    """The candidate against each other model, with bounds."""
    rows = [
        (
            f"{c.get('set', '')}, {str(c.get('against', '')).lower()}",
            str(c.get("metric") or "-"),
            score(c.get("reference")),
            score(c.get("candidate")),
            _coloured(c.get("uplift")),
            bounds(c.get("lower"), c.get("upper")),
            str(c.get("n") or "-"),
            score(c.get("smallest")),
        )
        for c in items(run, "status", "comparisons")
    ]
    heads = ("AGAINST", "METRIC", "OTHER", "CANDIDATE", "UPLIFT", "INTERVAL", "EXAMPLES", "DETECTABLE")
    return listing(heads, rows, right=("OTHER", "CANDIDATE", "UPLIFT", "EXAMPLES", "DETECTABLE"))


def metrics(run: Raw) -> RenderableType | None:
    """Every metric that was measured."""
    rows = [
        (metric, score(m.get("base")), score(m.get("stable")), score(m.get("candidate")))
        for metric, m in part(run, "status", "metrics").items()
    ]
    return listing(("METRIC", "BASE", "STABLE", "CANDIDATE"), rows, right=("BASE", "STABLE", "CANDIDATE"))


def segments(run: Raw) -> RenderableType | None:
    """How the candidate did on each segment."""
    rows = [
        (
            s["name"],
            str(s.get("n", "-")),
            score(s.get("base")),
            score(s.get("stable")),
            score(s.get("candidate")),
            _coloured(_difference(s)),
            "-" if s.get("p") is None else f"{s['p']:.3g}",
        )
        for s in items(run, "status", "segments")
    ]
    heads = ("SEGMENT", "EXAMPLES", "BASE", "STABLE", "CANDIDATE", "UPLIFT", "P")
    return listing(heads, rows, right=heads[1:])


def _difference(segment: Raw) -> float | None:
    other = segment["stable"] if segment.get("stable") is not None else segment.get("base")
    candidate = segment.get("candidate")
    return None if other is None or candidate is None else candidate - other


def _coloured(value: float | None) -> Text:
    return Text(gain(value), "" if not value else GOOD if value > 0 else BAD)
