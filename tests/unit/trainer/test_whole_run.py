"""The whole of a run's pods on a volume, with a learner that has no model: the contract of design/0002, end to end."""

from __future__ import annotations

import hashlib
import json

import pytest
from tests.unit.trainer.fakes import FakeLearner, document, rows, run_config, write_rows

from retune_stores.errors import InputError
from retune_trainer import preflight, train
from retune_trainer.__main__ import main
from retune_trainer.errors import InterruptedByOrderError, SupersededError
from retune_trainer.progress import Progress
from retune_trainer.stop import Stop


class Pod:
    """One training pod: its attempt, its learner, and how it ends."""

    def __init__(self, claim, tmp_path, attempt=1, uid="uid-1", before_step=lambda _: None, learner=None, **spec):
        self.work = tmp_path / f"work-{uid}-{attempt}"
        self.out = claim / "out" / "ns" / "job" / "job-1"
        self.config = run_config(uid=uid, attempt=attempt, **spec)
        self.stop = Stop()
        self.progress = Progress(attempt)
        self.learner = None
        self.before_step = before_step
        self.traits = learner or {}

    def make(self, config, folder, examples, work, threads):
        self.examples = examples
        self.model_files = sorted(path.name for path in folder.iterdir())
        self.learner = FakeLearner(work, before_step=self.before_step, **self.traits)
        return self.learner

    def run(self):
        return train.run(self.config, {}, self.work, self.progress, self.stop, make_learner=self.make)


def test_a_run_ends_with_a_manifest_and_the_contracts_result(claim, tmp_path):
    pod = Pod(claim, tmp_path)
    result = pod.run()
    assert result["outcome"] == "Succeeded"
    assert (result["steps"], result["resumedFrom"]) == (6, None)
    scores = result["scores"]
    assert (scores["metric"], scores["base"], scores["candidate"], scores["uplift"]) == ("ExactMatch", 0.0, 1.0, 1.0)
    assert [(each["set"], each["against"], each["n"]) for each in result["comparisons"]] == [("Gold", "Base", 5)]
    # All five answers became right: of that the chance is at most ((1 + u) / 2)^5 if the true uplift is u.
    assert 0 < scores["interval"][0] <= 2 * 0.05 ** (1 / 5) - 1
    assert scores["interval"][1] == 1.0
    assert result["metrics"] == {"ExactMatch": {"base": 0.0, "candidate": 1.0}}
    assert (result["segments"], result["segmentsTested"]) == ([], 0)
    assert "reportUri" not in result
    manifest = json.loads((pod.out / "manifest.json").read_text())
    assert manifest["result"] == result
    assert manifest["run"]["uid"] == "uid-1"
    assert manifest["resolved"]["train"]["examples"] == 12
    assert (pod.out / manifest["adapter"]["path"] / "adapter_model.safetensors").read_bytes() == b"learned"
    written = (pod.out / "evaluation.json").read_bytes()
    assert manifest["evaluation"]["sha256"] == hashlib.sha256(written).hexdigest()
    assert json.loads(written)["examples"][0]["candidate"] == "answer 0"
    assert pod.model_files == ["config.json", "model.safetensors", "tokenizer.json"]


def test_progress_is_known_at_the_end(claim, tmp_path):
    pod = Pod(claim, tmp_path)
    pod.run()
    known = pod.progress.snapshot()
    assert (known["stage"], known["step"], known["steps"], known["loss"]) == ("Publishing", 6, 6, round(1 / 6, 6))
    assert pod.progress.registry.get_sample_value("retune_trainer_tokens_total") == 60
    assert pod.progress.registry.get_sample_value("retune_trainer_evaluated_examples_total") == 10


def test_a_killed_attempt_is_continued_to_the_same_number_of_steps(claim, tmp_path):
    def killed(step):
        if step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Pod(claim, tmp_path, before_step=killed).run()
    pod = Pod(claim, tmp_path, attempt=2)
    result = pod.run()
    assert pod.learner.trained == [5, 6]
    assert (result["steps"], result["resumedFrom"]) == (6, 4)


def test_sigterm_in_training_leaves_a_checkpoint_of_that_very_step(claim, tmp_path):
    pod = Pod(claim, tmp_path, before_step=lambda step: step == 3 and pod.stop._handle(15, None))
    with pytest.raises(InterruptedByOrderError) as caught:
        pod.run()
    assert (caught.value.exit_code, caught.value.outcome) == (75, "Interrupted")
    assert (pod.out / "checkpoints/a1/step-3/complete.json").exists()
    assert not (pod.out / "manifest.json").exists()
    following = Pod(claim, tmp_path, attempt=2)
    assert following.run()["resumedFrom"] == 3
    assert following.learner.trained == [4, 5, 6]


def test_a_run_that_is_published_is_answered_not_trained_again(claim, tmp_path):
    first = Pod(claim, tmp_path).run()
    again = Pod(claim, tmp_path, attempt=2)
    assert again.run() == first
    assert again.learner is None


def test_a_zombie_that_wakes_up_stops_and_writes_nothing_more(claim, tmp_path):
    newer = Pod(claim, tmp_path, attempt=2)

    def overtaken(step):
        if step == 3:
            newer.run()

    zombie = Pod(claim, tmp_path, before_step=overtaken)
    with pytest.raises(SupersededError):
        zombie.run()
    assert not (zombie.out / "checkpoints/a1/step-4").exists()
    assert json.loads((zombie.out / "manifest.json").read_text())["attempt"] == 2


def test_data_changed_between_preflight_and_training_is_refused(claim, tmp_path):
    resolved = preflight.run(run_config(), {}, tmp_path / "p")["resolved"]
    write_rows(claim / "train.jsonl", rows(13))
    with pytest.raises(InputError) as caught:
        Pod(claim, tmp_path, expected=resolved).run()
    assert (caught.value.reason, caught.value.field) == ("InputsChanged", "spec.dataset.train.uri")


def test_what_preflight_found_is_what_training_finds(claim, tmp_path):
    resolved = preflight.run(run_config(), {}, tmp_path / "p")["resolved"]
    pod = Pod(claim, tmp_path, expected=resolved)
    pod.run()
    manifest = json.loads((pod.out / "manifest.json").read_text())
    assert manifest["resolved"] == resolved


def test_a_method_that_needs_a_gpu_is_refused_on_a_cpu_before_anything_is_read(tmp_path):
    config = run_config(method={"type": "QLoRA"}, training={"epochs": 1, "gpusPerNode": 0})
    with pytest.raises(InputError) as caught:
        preflight.run(config, {}, tmp_path)
    assert (caught.value.reason, caught.value.field) == ("MethodNeedsGpu", "spec.method.type")


def test_a_metric_nobody_measures_is_refused_before_a_gpu_is_asked_for(claim, tmp_path):
    config = run_config(evaluation={"metrics": [], "acceptance": {"metric": "Bleu"}})
    with pytest.raises(InputError) as caught:
        preflight.run(config, {}, tmp_path / "p")
    assert caught.value.field == "spec.evaluation.acceptance.metric"


class TestProcess:
    """The process around it: exit codes, the termination message, and nothing of torch in preflight."""

    @pytest.fixture
    def pod(self, claim, tmp_path, monkeypatch):
        monkeypatch.setenv("RETUNE_CONFIG", str(tmp_path / "run.json"))
        monkeypatch.setenv("RETUNE_WORK", str(tmp_path / "work"))
        monkeypatch.setenv("RETUNE_TERMINATION_LOG", str(tmp_path / "term"))
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        monkeypatch.setattr("retune_trainer.__main__.log.set_up", lambda _: None)
        monkeypatch.setattr(Stop, "install", lambda _: None)

        def run(content, command="preflight"):
            (tmp_path / "run.json").write_text(content if isinstance(content, str) else json.dumps(content))
            return main([command]), json.loads((tmp_path / "term").read_text())

        return run

    def test_preflight_resolves_every_input(self, pod, claim):
        code, told = pod(document())
        assert (code, told["outcome"], told["error"]) == (0, "Succeeded", None)
        assert told["resolved"]["train"]["examples"] == 12
        assert told["resolved"]["gold"]["format"] == "PromptCompletion"
        assert told["resolved"]["baseModel"]["digest"].startswith("sha256:")
        assert json.loads((claim / "out/ns/job/job-1/run.json").read_text())["run"]["uid"] == "uid-1"

    def test_bad_input_ends_with_64_and_its_reason(self, pod, claim):
        write_rows(claim / "gold.jsonl", rows(12))
        code, told = pod(document())
        assert (code, told["error"]["reason"], told["error"]["field"]) == (
            64,
            "GoldEqualsTrain",
            "spec.dataset.gold.uri",
        )

    def test_what_nobody_foresaw_ends_with_1_and_no_traceback(self, pod, monkeypatch):
        monkeypatch.setattr("retune_trainer.preflight.run", lambda *_: 1 / 0)
        code, told = pod(document())
        assert code == 1
        assert told["error"]["message"] == "ZeroDivisionError: division by zero"

    def test_a_device_out_of_memory_is_named(self, pod, monkeypatch):
        def exhausted(*_):
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")

        monkeypatch.setattr("retune_trainer.preflight.run", exhausted)
        code, told = pod(document())
        assert (code, told["error"]["reason"], told["error"]["field"]) == (
            64,
            "OutOfMemory",
            "spec.training.maxLength",
        )

    @pytest.mark.parametrize("content", ["{", "[]", '{"run": {}, "spec": {}}', "{}"])
    def test_a_configuration_of_another_shape_is_refused(self, pod, content):
        code, told = pod(content)
        assert (code, told["error"]["reason"]) == (64, "ConfigInvalid")

    def test_an_unknown_command_is_a_usage_error(self):
        assert main(["serve"]) == 2
