"""What a person sees of a run that has ended: `report.html`, for every end, and with hostile texts in it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from tests.unit.trainer import report_samples as samples

from retune_trainer.reporting import page, wording
from retune_trainer.reporting.build import Report, build
from retune_trainer.reporting.gather import Material
from retune_trainer.reporting.plain import storable
from retune_trainer.reporting.shapes import Evaluation, Preflight, Status

VOID = frozenset({"meta", "br", "hr", "img", "input", "link", "base", "wbr", "col"})
ENDS = {
    "promoted": (samples.status(), samples.preflight(), samples.evaluation()),
    "rejected": (samples.rejected(), samples.preflight(), samples.evaluation(quality=0.78)),
    "declined": (samples.declined(), samples.preflight(leaked=14), None),
    "recovered": (samples.recovered(), samples.preflight(), samples.evaluation()),
    "rolled back": (samples.rolled_back(), samples.preflight(), samples.evaluation()),
    "failed": (samples.failed(), None, None),
    "minimal": ({}, None, None),
}
HOSTILE = (
    '<script>alert(1)</script></style></title><img src=x onerror=alert(2)>" onmouseover="alert(3) '
    "' {{ 7*7 }} {% raw %} --> ]]> <svg onload=alert(4)> javascript:alert(5) \x00 \u202egnp.exe\u202c \ud800 \u0007end"
)


class Page(HTMLParser):
    """Tags, attributes and text, and whether every tag that is opened is closed in turn."""

    def __init__(self, content: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.problems: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.feed(content.decode())
        self.close()
        self.problems += [f"<{tag}> is not closed" for tag in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()} closes nothing")

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def report(status, preflight=None, evaluation=None, **spec) -> Report:
    material = Material(
        Status.read(storable(status)),
        None if preflight is None else Preflight.read(storable(preflight)),
        None if evaluation is None else Evaluation.read(storable(evaluation)),
    )
    return build(samples.config(**spec), material)


def shown(status, preflight=None, evaluation=None, **spec) -> Page:
    return Page(page.render(report(status, preflight, evaluation, **spec)))


@pytest.mark.parametrize("end", ENDS)
def test_every_end_of_a_run_has_a_well_formed_page(end):
    found = shown(*ENDS[end])
    assert found.problems == []
    assert [tag for tag in found.tags if tag in {"h1", "main"}] == ["h1", "main"]
    named = [value for _, name, value in found.attributes if name == "id"]
    assert len(named) == len(set(named))
    referred = {v[1:] for _, name, v in found.attributes if name == "href"}
    referred |= {one for _, name, value in found.attributes if name == "aria-labelledby" for one in value.split()}
    assert referred <= set(named)


@pytest.mark.parametrize("end", ENDS)
def test_the_page_loads_nothing_and_runs_nothing(end):
    content = page.render(report(*ENDS[end]))
    found = Page(content)
    assert not {"script", "link", "iframe", "object", "embed", "img", "form", "base"} & set(found.tags)
    assert not [a for a in found.attributes if a[1] in {"src", "srcset", "action", "data"} or a[1].startswith("on")]
    assert all(value.startswith("#") for _, name, value in found.attributes if name in {"href", "xlink:href"})
    assert b"url(" not in content
    assert b"@import" not in content
    policy = next(v for _, name, v in found.attributes if name == "content" and "default-src" in v)
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


@pytest.mark.parametrize("end", ["promoted", "rejected", "declined"])
def test_every_gate_is_shown_with_its_verdict_its_reason_and_its_advice(end):
    status = ENDS[end][0]
    text = shown(*ENDS[end]).text
    for gate in status["gates"]:
        assert f"{gate['name']} {gate['verdict']} {gate['reason']}" in text
        assert gate.get("advice", "") in text


def test_the_headline_says_how_it_ended_why_and_what_to_do():
    text = shown(*ENDS["declined"]).text
    headline = text[text.index("Declined: ") : text.index("Cost of the run")]
    assert "14 of 240 gold examples are in the training set" in headline
    assert "Take them out of the training set" in headline


def test_a_rollout_shows_what_each_stop_loss_counted_and_why_it_ended():
    text = shown(*ENDS["rolled back"]).text
    told = text[text.index("Rollout Stop-loss") :]
    assert told.startswith("Rollout Stop-loss overrides: 31 of 402 answers bad, against 9 of 1,198 of stable")
    assert "Last stage: Canary, step 2. The rollout took 31 min" in told
    assert "expected before it began: 2 h 30 min" in told
    assert "overrides Breached 1,204.400 (back at 400) 31 bad of 402 9 bad of 1,198" in told
    assert "Rollout" not in shown(*ENDS["rejected"]).text, "nobody has met it"


def test_a_recovery_tells_its_time_its_cost_and_how_often_people_stepped_in():
    text = shown(*ENDS["recovered"]).text
    told = text[text.index("Recovery Drift") :]
    assert told.startswith("Recovery Drift (prompts) was noticed at 2026-03-14 05:40 UTC, and this run was promoted at")
    assert "From drift noticed to promotion 3 h 46 min" in told
    assert "Cost of all runs in that time EUR 9.43" in told
    assert "Interventions by people 2" in told
    assert "Recovery" not in shown(*ENDS["promoted"]).text, "new examples had started it"


def test_a_rollout_tells_what_answers_took_and_cost_before_and_after():
    told = shown(*ENDS["recovered"]).text
    assert "p95 of the whole answer 1.37 s 860 ms" in told
    assert "Serving cost per 1,000 answers EUR 0.42 EUR 0.40" in told
    taken_back = {**samples.rolled_back()["rollout"], "before": {"p95Seconds": 1.37}}
    told = shown({**samples.rolled_back(), "rollout": taken_back}).text
    assert f"p95 of the whole answer 1.37 s {wording.DASH}" in told
    assert f"Serving cost per 1,000 answers {wording.DASH} {wording.DASH}" in told
    assert "Before and after" not in shown(*ENDS["rolled back"]).text, "nothing of it is known"


def test_a_recovery_without_serving_leads_nowhere():
    status = samples.recovered()
    del status["rollout"]
    found = shown(status)
    assert "Interventions by people 2" in found.text
    assert "#rollout" not in [value for _, name, value in found.attributes if name == "href"]


def test_the_figures_that_decide_come_first_with_their_units():
    text = shown(*ENDS["rejected"]).text
    first = text[: text.index("Gates")]
    for figure in ("+1.7 pp", "\N{MINUS SIGN}3.5 to +6.9 pp", "240", "EUR 7.27", "15.6 months", "2 h 14 min"):
        assert figure in first


@pytest.mark.parametrize(
    ("alpha", "told"), [(0.05, "95.0"), (0.01, "99.0"), (0.05 / 420, "99.988"), (1.2e-6, "99.99988")]
)
def test_no_bound_is_told_to_be_certain(alpha, told):
    assert wording.sureness(alpha) == f"{told}{wording.THIN}%"


def test_the_smallest_effect_that_could_have_been_shown_is_said():
    text = shown(*ENDS["rejected"]).text
    assert "smallest effect that could have been shown, with 80 % power: 7.4 pp against stable with the 240" in text


def test_a_segment_of_under_50_examples_is_unknown():
    text = shown(*ENDS["promoted"]).text
    assert re.search(r"de 40 [0-9. ]+ .[0-9.]+ pp Unknown \(under 50 examples\)", text)


def test_every_count_of_the_confusion_matrix_is_shown():
    found = shown(*ENDS["promoted"])
    for model in ("candidate", "base"):
        whole = samples.evaluation()["confusion"][model]
        right = sum(whole["counts"][i][i] for i in range(12))
        assert f"{model.capitalize()}: {right} of 240 on the diagonal" in found.text


HOSTILE_PLACES = {
    "prompt": lambda s, p, e: e["examples"][0].update(prompt=HOSTILE),
    "answer": lambda s, p, e: e["examples"][0].update(candidate=HOSTILE),
    "segment": lambda s, p, e: e["segments"][0].update(name=HOSTILE),
    "metric": lambda s, p, e: [c.update(metric=HOSTILE) for c in s["comparisons"]],
    "set of a chart": lambda s, p, e: s["comparisons"][0].update(set=HOSTILE),
    "class": lambda s, p, e: e["confusion"]["candidate"]["classes"].__setitem__(0, HOSTILE),
    "condition": lambda s, p, e: s["conditions"][-1].update(message=HOSTILE),
    "phase": lambda s, p, e: s.update(phase=HOSTILE),
    "gate's name": lambda s, p, e: s["gates"][0].update(name=HOSTILE),
    "gate's verdict": lambda s, p, e: s["gates"][0].update(verdict=HOSTILE),
    "gate's number": lambda s, p, e: s["gates"][0]["values"].update({HOSTILE: 3}),
    "gate's note": lambda s, p, e: p["notes"].update(baseline=HOSTILE),
    "attempt": lambda s, p, e: s["attempts"][0].update(message=HOSTILE),
    "approval": lambda s, p, e: s["approvals"][0].update(by=HOSTILE),
    "digest": lambda s, p, e: s["artifact"].update(digest=HOSTILE),
    "version": lambda s, p, e: s["versions"].update({HOSTILE: "1"}),
    "conflicting answer": lambda s, p, e: p["details"]["conflicts"][0].update(answers=[HOSTILE, "b"]),
    "class of the mix": lambda s, p, e: p["details"]["balance"].update({HOSTILE: {"expected": 0.1, "found": 0.2}}),
    "kind of personal data": lambda s, p, e: p["details"]["privacy"].update({HOSTILE: {"occurrences": 1, "rows": 1}}),
    "setting": lambda s, p, e: e["training"]["settings"].update(name=HOSTILE, many=[HOSTILE]),
    "note": lambda s, p, e: e.update(notes=[HOSTILE]),
    "stop-loss": lambda s, p, e: s.update(rollout={"message": HOSTILE, "evidence": [{"name": HOSTILE}]}),
    "currency": lambda s, p, e: s["cost"].update(currency=HOSTILE),
}


@pytest.mark.parametrize("place", HOSTILE_PLACES)
def test_hostile_text_is_shown_as_text_wherever_it_comes_from(place):
    status, preflight, evaluation = samples.status(), samples.preflight(), samples.evaluation()
    HOSTILE_PLACES[place](status, preflight, evaluation)
    content = page.render(report(status, preflight, evaluation))
    found = Page(content)
    assert found.problems == []
    assert not {"script", "img"} & set(found.tags)
    assert not [a for a in found.attributes if a[1].startswith("on")]
    assert found.tags.count("title") == found.tags.count("desc") + 1
    assert not set(content.decode()) & {"\x00", "\x07", "\u202e", "\u202c"}
    assert "alert(1)" in content.decode()


def test_characters_that_hide_or_reorder_are_written_out():
    status, preflight, evaluation = samples.status(), samples.preflight(), samples.evaluation()
    evaluation["examples"][0]["candidate"] = "a\x00b \u202egnp.exe\u202c pay\u200bpal نمی‌بینم"
    text = shown(status, preflight, evaluation).text
    assert "a[U+0000]b [U+202E]gnp.exe[U+202C] pay[U+200B]pal نمی‌بینم" in text


def test_a_very_long_answer_is_cut_and_says_so():
    status, preflight, evaluation = samples.status(), samples.preflight(), samples.evaluation()
    evaluation["examples"][0]["candidate"] = "x" * 9000
    text = shown(status, preflight, evaluation).text
    assert f"{'x' * 4000}… [5,000 more characters]" in text
    assert "x" * 4001 not in text


def test_a_page_of_too_much_of_everything_stays_below_a_megabyte():
    status, preflight, evaluation = samples.status(), samples.preflight(), samples.evaluation()
    worst = '"' * 20_000
    evaluation["examples"] = [
        dict.fromkeys(("prompt", "reference", "base", "stable", "candidate", "segment"), worst) for _ in range(80)
    ]
    evaluation["segments"] = [{"name": f"{worst}{n}", "n": 60, "base": 0.5, "candidate": 0.6} for n in range(2000)]
    evaluation["training"]["curve"] = [{"step": n, "loss": 1 / n, "heldOut": 2 / n} for n in range(1, 20_000)]
    classes = [f"class {n}" for n in range(40)]
    matrix = {"classes": classes, "counts": [[123_456] * 41 for _ in classes]}
    evaluation["confusion"] = {"base": matrix, "candidate": matrix}
    preflight["details"]["duplicates"]["near"] = [[n, n + 1, 0.9] for n in range(2000)]
    preflight["details"]["conflicts"] = [{"lines": [1] * 90, "answers": [worst] * 20}] * 80
    status["attempts"] = [{"stage": "Train", "number": n, "message": worst} for n in range(64)]
    status["gates"] = [{"name": f"g{n}", "verdict": "Failed", "reason": worst, "advice": worst} for n in range(16)]
    content = page.render(report(status, preflight, evaluation))
    assert len(content) <= page.LARGEST
    assert Page(content).problems == []


def test_a_chart_says_in_words_what_it_draws():
    found = shown(*ENDS["promoted"])
    drawn = [i for i, a in enumerate(found.attributes) if a[1:] == ("role", "img")]
    assert len(drawn) >= 8
    assert found.tags.count("desc") == len(drawn)
    assert "the lower bound must reach \N{MINUS SIGN}2.0 pp" in found.text
