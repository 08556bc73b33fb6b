"""What the second pod evaluates and against what: gold, fresh, guard; base, serving model, candidate."""

from __future__ import annotations

import hashlib
import json
import shutil

import pytest
from tests.unit.trainer.fakes import rows, write_rows
from tests.unit.trainer.test_whole_run import Pod

from retune_stores.errors import InputError
from retune_trainer import stable
from retune_trainer.learning.interface import Ask, Which


def evaluation_of(pod):
    return json.loads((pod.out / "evaluation.json").read_text())


def compared(result):
    return [(each["set"], each["against"]) for each in result["comparisons"]]


def prepare(claim, name, content):
    """A set in the run's folder, as preflight leaves it."""
    path = claim / "out/ns/job/job-1/prepared" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_rows(path, content)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return {"path": f"prepared/{name}", "digest": f"sha256:{digest}", "examples": len(content)}


def expected(prepared, **more):
    return {"train": {"digest": "sha256:source"}, "prepared": prepared, **more}


@pytest.fixture
def serving(claim, tmp_path):
    """A model that an earlier run published, and what the operator tells of it."""

    def publish(**traits):
        first = Pod(claim, tmp_path, uid="uid-0", learner=traits)
        artifact = first.run()["artifact"]
        moved = claim / "out/ns/job/job-0"
        shutil.move(first.out, moved)
        told = json.loads((moved / "manifest.json").read_text())
        told["run"]["name"] = "job-0"
        (moved / "manifest.json").write_text(json.dumps(told))
        return {"run": "job-0", "digest": artifact["digest"], "uri": artifact["uri"].replace("job-1", "job-0")}

    return publish


class TestAgainstWhom:
    def test_a_first_run_is_compared_with_its_base(self, claim, tmp_path):
        pod = Pod(claim, tmp_path)
        assert compared(pod.run()) == [("Gold", "Base")]
        assert [which for which, _, _ in pod.learner.asked] == [Which.BASE, Which.CANDIDATE]

    def test_a_later_run_is_compared_with_the_model_that_serves(self, claim, tmp_path, serving):
        def says(example):
            return (example.completion if example.prompt.endswith(("0", "1")) else "no idea",)

        pod = Pod(claim, tmp_path, stable=serving(), learner={"says": {Which.STABLE: says}})
        result = pod.run()
        assert compared(result) == [("Gold", "Base"), ("Gold", "Stable")]
        assert result["metrics"] == {"ExactMatch": {"base": 0.0, "stable": 0.4, "candidate": 1.0}}
        # The serving model decides, not the base.
        assert result["scores"]["uplift"] == pytest.approx(0.6)
        assert result["scores"]["interval"][0] == result["comparisons"][1]["lower"]
        assert pod.learner.stable == {"adapter_config.json": b"{}", "adapter_model.safetensors": b"learned"}
        assert evaluation_of(pod)["examples"][0]["stable"] == "no idea"

    def test_a_serving_model_of_another_base_is_left_out_and_that_is_said(self, claim, tmp_path, serving):
        told = serving()
        (claim / "models/base/model.safetensors").write_bytes(b"other weights")
        pod = Pod(claim, tmp_path, stable=told)
        assert compared(pod.run()) == [("Gold", "Base")]
        assert stable.OTHER_BASE in evaluation_of(pod)["notes"]

    @pytest.mark.parametrize(
        "harm", ["changed", "gone", "no manifest", "other digest", "other run", "no base", "bad address"]
    )
    def test_a_serving_model_that_is_not_what_was_published_ends_the_run(self, claim, tmp_path, serving, harm):
        told = serving()
        folder = claim / told["uri"].removeprefix("pvc://store/")
        match harm:
            case "changed":
                (folder / "adapter_model.safetensors").write_bytes(b"tampered")
            case "gone":
                (folder / "adapter_model.safetensors").unlink()
            case "no manifest":
                (folder.parent.parent / "manifest.json").unlink()
            case "other digest":
                told["digest"] = f"sha256:{'0' * 64}"
            case "other run":
                told["run"] = "job-7"
            case "no base":
                manifest = folder.parent.parent / "manifest.json"
                manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "resolved": None}))
            case "bad address":
                told["uri"] = "pvc://store"
        pod = Pod(claim, tmp_path, stable=told)
        with pytest.raises(InputError) as caught:
            pod.run()
        assert (caught.value.reason, caught.value.field) == ("StableUnreadable", "spec.stable.uri")
        # It is found out before anything is trained.
        assert pod.learner is None

    def test_a_manifest_cannot_name_files_outside_of_its_folder(self, claim, tmp_path, serving):
        told = serving()
        manifest = claim / "out/ns/job/job-0/manifest.json"
        content = json.loads(manifest.read_text())
        files = {"../../../secret": {"size": 1, "sha256": "0" * 64}}
        digest = f"sha256:{hashlib.sha256(('../../../secret ' + '0' * 64 + chr(10)).encode()).hexdigest()}"
        path = f"adapter/{digest[7:19]}"
        content["adapter"] = {"path": path, "digest": digest, "files": files}
        manifest.write_text(json.dumps(content))
        told |= {"digest": digest, "uri": f"pvc://store/out/ns/job/job-0/{path}"}
        with pytest.raises(InputError, match="outside of its folder"):
            Pod(claim, tmp_path, stable=told).run()

    def test_a_full_fine_tune_can_serve_and_be_compared_with(self, claim, tmp_path, serving):
        told = serving(kind="model")
        assert "/model/" in told["uri"]
        manifest = json.loads((claim / "out/ns/job/job-0/manifest.json").read_text())
        # And nothing of the base model is published along with it.
        assert sorted(manifest["model"]["files"]) == ["adapter_config.json", "adapter_model.safetensors"]
        assert compared(Pod(claim, tmp_path, stable=told).run())[-1] == ("Gold", "Stable")


class TestOnWhat:
    def test_training_reads_what_preflight_prepared_not_the_source(self, claim, tmp_path):
        train = prepare(claim, "train.jsonl", rows(7, "scrubbed"))
        (claim / "train.jsonl").unlink()
        pod = Pod(claim, tmp_path, expected=expected({"train": train, "fresh": None}))
        pod.run()
        assert [example.prompt for example in pod.examples] == [f"scrubbed question {n}" for n in range(7)]
        resolved = json.loads((pod.out / "manifest.json").read_text())["resolved"]
        assert (resolved["train"]["digest"], resolved["train"]["examples"]) == ("sha256:source", 7)
        assert resolved["prepared"]["train"] == train

    def test_a_prepared_set_that_was_changed_is_refused(self, claim, tmp_path):
        train = prepare(claim, "train.jsonl", rows(7))
        prepare(claim, "train.jsonl", rows(8))
        with pytest.raises(InputError) as caught:
            Pod(claim, tmp_path, expected=expected({"train": train, "fresh": None})).run()
        assert caught.value.reason == "InputsChanged"

    def test_fresh_gold_is_compared_with_whoever_serves(self, claim, tmp_path, serving):
        told = serving()
        prepared = {
            "train": prepare(claim, "train.jsonl", rows(7)),
            "fresh": prepare(claim, "fresh.jsonl", rows(3, "new")),
        }
        pod = Pod(claim, tmp_path, stable=told, expected=expected(prepared))
        assert compared(pod.run()) == [("Gold", "Base"), ("Gold", "Stable"), ("Fresh", "Stable")]
        alone = Pod(claim, tmp_path, attempt=2, uid="uid-2", expected=expected(prepared))
        shutil.rmtree(alone.out / "attempts")
        (alone.out / "manifest.json").unlink()
        assert compared(alone.run()) == [("Gold", "Base"), ("Fresh", "Base")]

    def test_fresh_gold_counts_by_weight_even_if_its_first_row_has_none(self, claim, tmp_path):
        fresh = rows(3, "new")
        fresh[2]["cost"] = 1e6
        prepared = {"train": prepare(claim, "train.jsonl", rows(7)), "fresh": prepare(claim, "fresh.jsonl", fresh)}
        write_rows(claim / "gold.jsonl", [{**row, "cost": 1} for row in rows(5, "gold")])
        train, gold = ({"uri": f"pvc://store/{name}.jsonl"} for name in ("train", "gold"))
        dataset = {"train": train, "gold": gold, "weightField": "cost"}
        says = {
            Which.CANDIDATE: lambda example: ("?",) if example.prompt == "new question 2" else (example.completion,)
        }
        pod = Pod(claim, tmp_path, expected=expected(prepared), learner={"says": says}, dataset=dataset)
        assert pod.run()["comparisons"][1]["candidate"] < 0.01

    def test_the_guard_set_is_measured_by_its_own_metric_against_the_base(self, claim, tmp_path):
        write_rows(claim / "guard.jsonl", [{"text": f"what is {n}", "label": str(n % 2)} for n in range(30)])
        says = {Which.BASE: lambda example: (example.completion,), Which.CANDIDATE: lambda _: ("0",)}
        evaluation = {
            "acceptance": {"metric": "ExactMatch"},
            "guard": {"uri": "pvc://store/guard.jsonl", "metric": "Top1"},
        }
        pod = Pod(claim, tmp_path, evaluation=evaluation, learner={"says": says})
        result = pod.run()
        guard = result["comparisons"][-1]
        assert (guard["set"], guard["against"], guard["metric"], guard["n"]) == ("Guard", "Base", "Top1", 30)
        assert (guard["reference"], guard["candidate"], guard["uplift"]) == (1.0, 0.5, -0.5)
        assert guard["upper"] < 0
        assert list(result["metrics"]) == ["ExactMatch"]
        resolved = json.loads((pod.out / "manifest.json").read_text())["resolved"]
        digest = hashlib.sha256((claim / "guard.jsonl").read_bytes()).hexdigest()
        assert resolved["guard"]["digest"] == f"sha256:{digest}"

    def test_no_more_is_asked_than_the_spec_allows_and_all_models_get_the_same(self, claim, tmp_path):
        evaluation = {"acceptance": {"metric": "ExactMatch"}, "maxExamples": 3}
        pod = Pod(claim, tmp_path, evaluation=evaluation)
        assert pod.run()["scores"]["n"] == 3
        assert [(which, count) for which, count, _ in pod.learner.asked] == [(Which.BASE, 3), (Which.CANDIDATE, 3)]
        assert "3 of 5" in evaluation_of(pod)["notes"][0]

    def test_beams_are_asked_for_apart_so_that_greedy_metrics_stay_what_is_served(self, claim, tmp_path):
        metrics = [{"name": "Top1"}, {"name": "Top3"}, {"name": "Perplexity"}]
        pod = Pod(claim, tmp_path, evaluation={"metrics": metrics, "acceptance": {"metric": "Top1"}})
        result = pod.run()
        assert [ask for which, _, ask in pod.learner.asked if which is Which.BASE] == [Ask(1, likelihood=True), Ask(3)]
        assert result["metrics"]["Perplexity"] == {"base": round(2.718281828**2, 6), "candidate": 2.718282}
        assert pod.progress.registry.get_sample_value("retune_trainer_evaluated_examples_total") == 20

    def test_where_only_likelihood_counts_nothing_is_generated(self, claim, tmp_path):
        evaluation = {"metrics": [{"name": "Perplexity"}], "acceptance": {"metric": "Perplexity"}}
        pod = Pod(claim, tmp_path, evaluation=evaluation)
        scores = pod.run()["scores"]
        assert {ask for _, _, ask in pod.learner.asked} == {Ask(0, likelihood=True)}
        assert scores["uplift"] == pytest.approx(scores["base"] - scores["candidate"], abs=1e-6)
        assert scores["uplift"] > 0


def test_the_same_inputs_give_the_same_evaluation_byte_for_byte(claim, tmp_path):
    evaluation = {"metrics": [{"name": "TokenF1"}], "acceptance": {"metric": "TokenF1"}}
    write_rows(claim / "gold.jsonl", rows(60, "gold"))
    says = {Which.CANDIDATE: lambda example: (f"{example.prompt} answer",)}
    written = []
    for attempt in (1, 2):
        pod = Pod(claim, tmp_path, attempt=attempt, evaluation=evaluation, learner={"says": says})
        pod.run()
        written.append((pod.out / "evaluation.json").read_bytes())
        (pod.out / "manifest.json").unlink()
    assert written[0] == written[1]


def test_a_redacting_run_shows_no_personal_data_in_its_examples(claim, tmp_path):
    gold = [{"prompt": f"write to anna{n}@example.org", "completion": "Ask anna@example.org."} for n in range(4)]
    write_rows(claim / "gold.jsonl", gold)
    pod = Pod(claim, tmp_path, gates={"privacy": {"redact": True}})
    pod.run()
    assert "example.org" not in (pod.out / "evaluation.json").read_text()
    assert evaluation_of(pod)["examples"][0]["prompt"].startswith("write to <")
