"""`report.json`: what is known of a run, from whatever could be had of it."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from tests.unit.trainer import report_samples as samples
from tests.unit.trainer.fakes import MemoryStore

from retune_stores.credentials import Credentials, Scrubber
from retune_stores.errors import InputError
from retune_trainer import __main__ as entry
from retune_trainer.reporting import advice, charts, wording, write
from retune_trainer.reporting.build import thinned
from retune_trainer.reporting.gather import status_of
from retune_trainer.reporting.shapes import Comparison, Point, Status


@pytest.fixture
def store():
    return MemoryStore()


def put(store, name, content):
    store.objects[name] = json.dumps(content).encode()


def written(store, status, scrubber=None, **spec):
    result = write.write(samples.config(**spec), Status.read(status), store, scrubber or Scrubber())
    return result, json.loads(store.objects["report.json"])


def test_the_result_names_the_page(store):
    result, _ = written(store, samples.failed())
    assert result["outcome"] == "Succeeded"
    assert result["reportUri"] == f"{store.uri}/report.html"
    assert store.writes == ["report.json", "report.html"]


def test_a_promoted_run_has_its_whole_story_in_the_document(store):
    put(store, "preflight.json", samples.preflight())
    put(store, "evaluation.json", samples.evaluation())
    _, found = written(store, samples.status())
    assert (found["apiVersion"], found["kind"]) == ("retune.dev/v1alpha1", "Report")
    assert found["run"]["uid"] == samples.UID
    assert found["verdict"]["phase"] == "Promoted"
    assert [g["verdict"] for g in found["gates"]] == [g["verdict"] for g in samples.gates()]
    assert found["comparisons"] == samples.evaluation()["comparisons"]
    assert found["confusion"] == samples.evaluation()["confusion"]
    assert len(found["examples"]) == 50
    assert len(found["training"]["curve"]) == 90
    assert found["preflight"]["privacy"]["EMAIL_ADDRESS"] == {"occurrences": 312, "rows": 280}
    assert found["preflight"]["leakage"]["near"][0] == {"a": 17, "b": 2044, "similarity": 0.93}
    assert found["lineage"]["stable"]["run"] == "support-triage-6"
    assert found["lineage"]["prepared"]["examples"] == 4812
    assert found["payback"]["months"] == 15.611
    assert found["timings"]["seconds"] == 8077
    assert found["remarks"] == []


def test_a_recovery_is_in_the_document_with_what_answers_took_and_cost(store):
    _, found = written(store, samples.recovered())
    assert {key: found["recovery"][key] for key in ("seconds", "cost", "interventions")} == {
        "seconds": 13601,
        "cost": "9.4312",
        "interventions": 2,
    }
    assert found["rollout"]["before"] == {"p95Seconds": 1.37, "costPer1k": "0.418200"}
    assert found["rollout"]["after"] == {"p95Seconds": 0.86, "costPer1k": "0.402600"}


def test_a_second_try_writes_the_same_bytes(store):
    put(store, "evaluation.json", samples.evaluation())
    written(store, samples.status())
    first = dict(store.objects)
    written(store, samples.status())
    assert store.objects == first


@pytest.mark.parametrize("name", ["preflight.json", "evaluation.json"])
def test_what_another_run_of_the_same_name_left_is_not_believed(store, name):
    put(store, name, {"preflight.json": samples.preflight, "evaluation.json": samples.evaluation}[name]("another"))
    _, found = written(store, samples.failed())
    assert found["preflight"] is None
    assert found["examples"] == []
    assert found["remarks"] == [f"{name} is not of this run; it was left out."]


def test_an_evaluation_without_a_name_is_believed_if_this_runs_manifest_names_its_digest(store):
    content = samples.evaluation()
    del content["run"]
    put(store, "evaluation.json", content)
    digest = hashlib.sha256(store.objects["evaluation.json"]).hexdigest()
    manifest = {"run": {"uid": samples.UID}, "result": {}, "evaluation": {"path": "evaluation.json", "sha256": digest}}
    put(store, "manifest.json", manifest)
    assert len(written(store, samples.status())[1]["examples"]) == 50
    manifest["evaluation"]["sha256"] = "0" * 64
    put(store, "manifest.json", manifest)
    assert written(store, samples.status())[1]["examples"] == []


@pytest.mark.parametrize("name", ["report.json", "manifest.json"])
def test_another_runs_report_is_never_overwritten(store, name):
    put(store, name, {"run": {"uid": "another"}, "result": {}})
    before = dict(store.objects)
    with pytest.raises(InputError) as error:
        written(store, samples.status())
    assert error.value.field == "spec.artifacts.uri"
    assert store.objects == before


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"[" * 100_000, b"\xff\xfe", b"null"])
def test_a_file_that_cannot_be_read_costs_its_part_and_not_the_report(store, content):
    store.objects["evaluation.json"] = content
    result, found = written(store, samples.status())
    assert result["outcome"] == "Succeeded"
    assert found["examples"] == []
    assert len(found["remarks"]) == 1


@pytest.mark.parametrize("wrong", [None, 7, "text", [1, "a"], {"a": 1}, True, math.nan, -1e308, [None], {"x": None}])
def test_a_field_of_the_wrong_type_costs_that_field_and_not_the_report(store, wrong):
    status = samples.status()
    for document, name in ((samples.preflight(), "preflight.json"), (samples.evaluation(), "evaluation.json")):
        for key in [key for key in document if key != "run"]:
            document[key] = wrong
        put(store, name, document)
    for key in [key for key in status if key != "phase"]:
        result, found = written(store, {**status, key: wrong})
        assert result["outcome"] == "Succeeded"
        assert found["verdict"]["phase"] == "Promoted"


def test_a_number_that_is_none_does_not_get_into_the_document(store):
    evaluation = samples.evaluation()
    evaluation["comparisons"][0]["lower"] = math.nan
    evaluation["training"]["curve"][0]["loss"] = math.inf
    put(store, "evaluation.json", evaluation)
    status = samples.status()
    del status["comparisons"]
    _, found = written(store, status)
    assert found["comparisons"][0]["lower"] is None
    assert found["training"]["curve"][0]["loss"] is None
    assert b"NaN" not in store.objects["report.json"]
    assert b"Infinity" not in store.objects["report.json"]


def test_a_credential_in_a_status_does_not_get_into_the_report(store):
    status = samples.failed()
    status["conditions"][0]["message"] = "refused for key wJalrXUtnFEMI"
    secret = Scrubber([Credentials({"AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI"})])
    written(store, status, secret)
    assert not [name for name, content in store.objects.items() if b"wJalrXUtnFEMI" in content]


def test_fields_that_the_report_does_not_know_do_not_get_into_it(store):
    preflight = samples.preflight()
    preflight["details"]["privacy"]["EMAIL_ADDRESS"]["values"] = ["jo@bank.example"]
    preflight["samples"] = ["jo@bank.example"]
    put(store, "preflight.json", preflight)
    written(store, samples.declined())
    assert not [n for n in ("report.json", "report.html") if b"jo@bank.example" in store.objects[n]]


def test_the_reports_own_pod_is_not_among_the_attempts(store):
    _, found = written(store, samples.status())
    assert [(a["stage"], a["number"]) for a in found["attempts"]] == [("Preflight", 1), ("Train", 1), ("Train", 2)]


@pytest.mark.parametrize("environ", [{}, {"RETUNE_STATUS": "{"}, {"RETUNE_STATUS": "[]"}])
def test_a_pod_without_a_status_says_what_it_lacks(environ):
    with pytest.raises(InputError, match="RETUNE_STATUS"):
        status_of(environ)


def test_the_command_writes_both_files_into_the_runs_folder(claim, tmp_path, monkeypatch):
    (tmp_path / "run.json").write_text(json.dumps(samples.run_json()))
    monkeypatch.setenv("RETUNE_CONFIG", str(tmp_path / "run.json"))
    monkeypatch.setenv("RETUNE_STATUS", json.dumps(samples.failed()))
    monkeypatch.setenv("RETUNE_TERMINATION_LOG", str(tmp_path / "termination"))
    assert entry.main(["report"]) == 0
    folder = claim / "out" / "ns" / "job" / "job-1"
    assert json.loads((folder / "report.json").read_text())["verdict"]["reason"] == "DatasetNotFound"
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    told = json.loads((tmp_path / "termination").read_text())
    assert told["reportUri"] == "pvc://store/out/ns/job/job-1/report.html"


# --------------------------------------------------------------------------------------------------------------- advice


def gold(uplift, lower, upper, n=240, smallest=0.07):
    return Comparison(
        set="Gold", against="Base", metric="Top1", uplift=uplift, lower=lower, upper=upper, n=n, smallest=smallest
    )


def steps(comparison):
    return " ".join(advice.next_steps(samples.config(), "Rejected", "UpliftTooSmall", [], [comparison]))


def test_a_gold_set_that_was_too_small_is_told_how_many_would_do():
    # minUplift is 3 pp: 4 pp are left of 7, and 240 examples show 7. Three times as many as that show 4.
    assert "about 740 would show it" in steps(gold(0.07, 0.005, 0.135))


def test_no_more_examples_are_asked_for_where_even_the_upper_bound_is_too_low():
    said = steps(gold(-0.04, -0.09, 0.01))
    assert "more gold examples would not help" in said
    assert "worst examples" in said


def test_only_comparisons_that_decide_have_a_limit_to_reach(store):
    _, found = written(store, samples.status())
    limits = {(n["set"], n["against"]): n["value"] for n in found["needed"]}
    assert limits == {("Gold", "Stable"): -0.02, ("Fresh", "Stable"): 0, ("Guard", "Base"): -0.03}
    first = [c for c in samples.evaluation()["comparisons"] if c["against"] == "Base"]
    _, found = written(store, samples.status(comparisons=first))
    assert {"set": "Gold", "against": "Base", "value": 0.03} in found["needed"]


def test_as_many_examples_as_advised_would_have_shown_it():
    found = gold(0.05, -0.01, 0.11)
    enough = advice.examples_needed(found, 0.03)
    shrunk = found.smallest * math.sqrt(found.n / enough)
    assert found.uplift - 0.03 >= shrunk
    assert advice.examples_needed(gold(0.0301, -0.01, 0.11), 0.03) is None


# --------------------------------------------------------------------------------------------------- charts and wording


@pytest.mark.parametrize("values", [(0.71, 0.85), (-0.035, 0.0, 0.242), (3.1, 12.7), (0.5, 0.5), (1, 180), (0.0, 1e-4)])
def test_an_axis_holds_its_values_between_round_marks(values):
    axis = charts.axis(values)
    assert axis.low <= min(values) <= max(values) <= axis.high
    assert 2 <= len(axis.ticks) <= 8
    assert [tick.at for tick in axis.ticks] == sorted(tick.at for tick in axis.ticks)
    for tick in axis.ticks:
        value = float(tick.label.replace(wording.MINUS, "-"))
        assert axis.at(value) == pytest.approx(tick.at, abs=0.1)


def test_a_thinned_curve_keeps_its_ends_and_its_held_out_losses():
    points = [Point(step=n, loss=1.0, held_out=2.0 if n % 500 == 0 else None) for n in range(1, 20_001)]
    kept = thinned(points, 1000)
    assert len(kept) <= 1000
    assert (kept[0].step, kept[-1].step) == (1, 20_000)
    assert sum(p.held_out is not None for p in kept) == 40


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        (wording.difference(0.0634, "Top1"), "+6.3 pp"),
        (wording.difference(-0.0001, "Top1"), "+0.0 pp"),
        (wording.difference(-0.412, "Perplexity"), "\N{MINUS SIGN}0.412"),
        (wording.interval(-0.035, 0.069, "Top1"), "\N{MINUS SIGN}3.5 to +6.9 pp"),
        (wording.interval(None, 0.069, "Top1"), "no lower bound to +6.9 pp"),
        (wording.money("1234.5", "EUR"), "EUR 1,234.50"),
        (wording.money("0.0052", "EUR"), "EUR 0.0052"),
        (wording.money("NaN", "EUR"), wording.DASH),
        (wording.duration(8077), "2 h 14 min"),
        (wording.duration(59.6), "1 min"),
        (wording.answer_time(0.0421), "42 ms"),
        (wording.answer_time(1.2345), "1.23 s"),
        (wording.answer_time(None), wording.DASH),
        (wording.moment("2026-03-14T10:26:41+01:00"), "2026-03-14 09:26 UTC"),
        (wording.moment("yesterday"), wording.DASH),
        (wording.words("EMAIL_ADDRESS"), "EMAIL_ADDRESS"),
        (wording.words("someNewNumber"), "some new number"),
        (wording.count(12345), "12,345"),
    ],
)
def test_numbers_are_written_with_their_units(said, wanted):
    assert said.replace(wording.THIN, " ") == wanted
