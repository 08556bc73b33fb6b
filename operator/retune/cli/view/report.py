"""The report of a run, from its status: what was decided, on what numbers, for how much money."""

from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from retune.api.phases import RunPhase
from retune.cli.objects import Raw, approvals_required, condition, items, last_word, moment, name, part, phase
from retune.cli.view import cost, gates, rollout, scores, trigger
from retune.cli.view.paper import CARE, QUIET, painted, sheet, stacked, titled
from retune.cli.wording import age

_PARTS = ("gates", "look", "scores", "comparisons", "metrics", "segments", "rollout", "cost", "approvals", "attempts")
_PLACES = ("artifact", "reportUri", "resolved", "startedAt", "endedAt", "conditions")


def report(run: Raw, now: datetime) -> RenderableType:
    """The report as sections; those without anything in them are left out."""
    return stacked(
        (
            _head(run),
            titled("Gates", gates.full(run)),
            titled("Candidate", _candidate(run)),
            titled("Metrics", scores.metrics(run)),
            titled("Segments", scores.segments(run)),
            titled("Rollout", rollout.rollout(run, now)),
            titled("Cost and payback", _money(run)),
            titled("Approvals", _approvals(run, now)),
            titled("Made of", _made(run)),
            titled("Files", _files(run)),
        )
    )


def as_data(run: Raw) -> Raw:
    """The same as data: parts of the run's status, under their own names."""
    status = part(run, "status")
    kept = {key: status[key] for key in (*_PARTS, *_PLACES) if key in status}
    job = part(run, "spec", "jobRef", "name")
    return {"run": name(run), "job": job, "number": part(run, "spec", "number"), "phase": phase(run), **kept}


def verdict(run: Raw) -> Text:
    """The run's end and the sentence that explains it."""
    here = phase(run)
    decided = condition(run, "Accepted") if here == RunPhase.PROMOTED else last_word(run)
    text = painted(here)
    if decided:
        text = Text.assemble(text, f"  {decided.get('reason')}: {decided.get('message')}")
    return text


def _head(run: Raw) -> RenderableType | None:
    number, job = part(run, "spec", "number"), part(run, "spec", "jobRef", "name")
    return sheet(
        [
            ("run", Text.assemble((name(run), "bold"), (f"  number {number} of {job}", QUIET))),
            ("started by", trigger.told(run)),
            ("verdict", verdict(run)),
        ]
    )


def _candidate(run: Raw) -> RenderableType | None:
    headline, table = scores.headline(run), scores.comparisons(run)
    if headline is None and table is None:
        return None
    look = part(run, "status", "look")
    said = ""
    if look.get("alpha"):
        said = f"look {look.get('number')} at this gold set; each bound holds with {(1 - look['alpha']) * 100:.4g} %"
    parts = [part for part in (headline, table, Text(said, QUIET) if said else None) if part is not None]
    return Group(*parts)


def _money(run: Raw) -> RenderableType | None:
    gate = next((g for g in items(run, "status", "gates") if g.get("name") == "payback"), {})
    return sheet([("cost", cost.of_run(run)), ("payback", gate.get("reason", ""))])


def _approvals(run: Raw, now: datetime) -> RenderableType | None:
    given = {a.get("name"): a for a in items(run, "status", "approvals")}
    rows: list[tuple[str, RenderableType | str | None]] = []
    for one in dict.fromkeys([*approvals_required(run), *map(str, given)]):
        if one in given:
            since = age(moment(given[one].get("at")), now)
            rows.append((one, f"{given[one].get('by')}, {since} ago"))
        else:
            rows.append((one, Text("missing", CARE)))
    return sheet(rows)


def _made(run: Raw) -> RenderableType | None:
    resolved, artifact = part(run, "status", "resolved"), part(run, "status", "artifact")
    sets = [
        (kind, f"{part(run, 'spec', 'dataset', kind, 'uri')}  {_examples(resolved.get(kind))}")
        for kind in ("train", "gold")
    ]
    base = part(resolved, "baseModel")
    return sheet(
        [
            ("base", f"{base.get('uri') or part(run, 'spec', 'baseModel', 'uri')}  {_short(base.get('digest'))}"),
            *sets,
            ("adapter", f"{artifact['uri']}  {_short(artifact.get('digest'))}" if artifact else ""),
        ]
    )


def _files(run: Raw) -> RenderableType | None:
    uri = part(run, "status", "reportUri")
    if not uri:
        ended = moment(part(run, "status", "endedAt"))
        return Text(
            "no report lies in the store yet" if ended else "written when the run has ended", CARE if ended else ""
        )
    folder, _, last = str(uri).rpartition("/")
    names = ("report.html", "report.json") if last in ("report.html", "report.json") else (last,)
    return Text("\n".join(f"{folder}/{one}" for one in names))


def _examples(resolved: Raw | None) -> str:
    return f"{resolved.get('examples')} examples, {_short(resolved.get('digest'))}" if resolved else ""


def _short(digest: object) -> str:
    kind, _, rest = str(digest or "").partition(":")
    return f"{kind}:{rest[:12]}" if rest else kind
