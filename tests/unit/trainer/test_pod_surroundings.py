"""The pod's own small parts: progress over HTTP, cores, SIGTERM, configuration, imports and locks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from tests.unit.trainer.fakes import document

import retune_trainer
from retune_trainer import config, cpus
from retune_trainer.errors import InterruptedByOrderError
from retune_trainer.progress import Progress, Server, Stage
from retune_trainer.stop import Stop

IMAGES = Path(retune_trainer.__file__).parents[2]


class TestProgress:
    @pytest.fixture
    def served(self):
        progress = Progress(3)
        server = Server(progress, 0)
        yield progress, f"http://127.0.0.1:{server.port}"
        server.close()

    def get(self, url):
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()

    def test_numbers_not_known_yet_are_null(self, served):
        assert json.loads(self.get(f"{served[1]}/progress")) == {
            "attempt": 3,
            "stage": "Loading",
            "step": None,
            "steps": None,
            "loss": None,
            "tokensPerSecond": None,
            "etaSeconds": None,
        }

    def test_a_loss_that_is_no_number_is_still_json(self, served):
        progress, url = served
        progress.update(loss=float("nan"), step=2)
        assert json.loads(self.get(f"{url}/progress"))["loss"] is None

    def test_metrics_follow(self, served):
        progress, url = served
        progress.enter(Stage.TRAINING)
        progress.update(step=12, steps=40, loss=1.5)
        progress.tokens.inc(100)
        lines = self.get(f"{url}/metrics").splitlines()
        for line in (
            "retune_trainer_step 12.0",
            "retune_trainer_tokens_total 100.0",
            'retune_trainer_stage{stage="Training"} 1.0',
            'retune_trainer_stage{stage="Loading"} 0.0',
        ):
            assert line in lines

    def test_health_and_what_is_not_there(self, served):
        assert self.get(f"{served[1]}/healthz") == "ok\n"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            self.get(f"{served[1]}/secrets")


class TestCores:
    @pytest.mark.parametrize(
        ("files", "cores"),
        [
            ({}, 8),
            ({"cpu.max": "max 100000"}, 8),
            ({"cpu.max": "200000 100000"}, 2),
            ({"cpu.max": "150000 100000"}, 1),
            ({"cpu.max": "20000 100000"}, 1),
            ({"cpu.max": "6400000 100000"}, 8),
            ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
            ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 8),
        ],
    )
    def test_the_limit_counts_rounded_down_and_never_none(self, tmp_path, files, cores):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content + "\n")
        assert cpus.available(tmp_path, lambda: 8) == cores


class TestStop:
    def test_outside_of_training_it_ends_at_once(self):
        with pytest.raises(InterruptedByOrderError):
            Stop()._handle(15, None)

    def test_while_steps_are_made_it_waits_to_be_asked(self):
        stop = Stop()
        with stop.patience():
            stop._handle(15, None)
            assert stop.requested
        with pytest.raises(InterruptedByOrderError):
            stop.check()

    def test_training_does_not_begin_after_it(self):
        stop = Stop()
        stop.requested = True
        with pytest.raises(InterruptedByOrderError), stop.patience():
            pytest.fail("began")


class TestConfiguration:
    def load(self, tmp_path, content, **environ):
        (tmp_path / "run.json").write_text(json.dumps(content))
        return config.load({"RETUNE_CONFIG": str(tmp_path / "run.json"), **environ})

    def test_fields_of_a_newer_operator_are_ignored_but_kept_for_the_manifest(self, tmp_path):
        content = document(rollout={"steps": []})
        content["spec"]["training"]["novelty"] = 1
        loaded = self.load(tmp_path, content)
        assert loaded.raw_spec == content["spec"]
        assert loaded.artifacts_uri == "pvc://store/out/ns/job/job-1"

    def test_attempt_and_expectations_come_from_the_environment(self, tmp_path):
        expected = json.dumps({"baseModel": {"uri": "x", "digest": "d"}, "train": {"digest": "t", "examples": 3}})
        loaded = self.load(tmp_path, document(), RETUNE_ATTEMPT="4", RETUNE_EXPECTED=expected)
        assert (loaded.attempt, loaded.expected.base_model.digest, loaded.expected.train.digest) == (4, "d", "t")
        assert loaded.expected.gold is None


def test_the_light_half_needs_nothing_heavy():
    """Preflight must start at once: neither torch nor a library of its kind may come in by an import at the top."""
    code = """
import sys
import retune_trainer.__main__, retune_trainer.preflight, retune_trainer.train, retune_trainer.learning.plan
heavy = {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "pyarrow", "boto3", "huggingface_hub"}
print(sorted(heavy & set(sys.modules)))
"""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def versions(image):
    """Every version of every package in an image's lock."""
    found: dict[str, set[str]] = {}
    for package in tomllib.loads((IMAGES / image / "uv.lock").read_text())["package"]:
        found.setdefault(package["name"], set()).add(package["version"])
    return found


@pytest.mark.parametrize(("part", "image"), [("torch", "trainer"), ("torch", "server"), ("installer", "trainer")])
def test_what_the_shared_base_installs_is_what_the_locks_built_on_it_say(part, image):
    """Otherwise an image would bring gigabytes of its own instead of sharing them."""
    locked = versions(image)
    lines = [line for line in (IMAGES / f"torch/{part}.txt").read_text().splitlines() if "==" in line]
    assert lines
    for line in lines:
        name, _, rest = line.partition("==")
        assert rest.split()[0] in locked[name], (
            f"{line}: run `make -C images/trainer lock`, then `make -C images/server lock`"
        )
    assert locked["torch"] == {"2.13.0"}
