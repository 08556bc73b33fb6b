"""What is told of a run, and that telling it neither harms nor holds up its report.

With real servers and clients: tests/cluster/test_tracking_servers.py.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from tests.unit.trainer import report_samples as samples

from retune_stores.credentials import Role, Scrubber, take
from retune_trainer import __main__ as entry
from retune_trainer.reporting.build import build
from retune_trainer.reporting.gather import Material
from retune_trainer.reporting.shapes import Evaluation, Status
from retune_trainer.tracking.content import content

TRACKING = {"mlflow": {"uri": "http://mlflow.ml.svc:5000", "experiment": "x"}, "wandb": {"project": "x"}}


def told(status, evaluation=None, **spec):
    config, status = samples.config(**spec), Status.read(status)
    report = build(config, Material(status, None, Evaluation.read(evaluation or {})))
    return content(config, report, "s3://b/report.html")


# -------------------------------------------------------------------------------------------------------- what is told


def test_only_a_promoted_run_makes_a_version_of_the_model():
    version = told(samples.status()).version
    assert (version.name, version.digest) == ("ns.job", samples.status()["artifact"]["digest"])
    assert version.before == samples.SPEC["stable"]["digest"]
    for status in (samples.status("RolledBack"), samples.status("Inconclusive"), samples.rejected(), samples.failed()):
        assert told(status).version is None


def test_a_run_that_was_never_trained_is_told_with_what_there_is():
    found = told(samples.declined())
    assert (found.phase, found.tags["retune.dev/reason"]) == ("Declined", "LeakageFailed")
    assert found.metrics["cost"] == 0.0052
    assert not [name for name in found.metrics if name.startswith(("score", "uplift"))]
    assert found.curve == []


def test_the_numbers_are_those_of_the_report():
    found, status = told(samples.status(), samples.evaluation()), samples.status()
    gold = status["comparisons"][0]
    assert found.metrics["Gold.Stable.uplift"] == gold["uplift"]
    assert (found.metrics["Gold.Stable.lower"], found.metrics["Gold.Stable.n"]) == (gold["lower"], 240)
    assert found.metrics["Guard.Base.uplift"] == status["comparisons"][3]["uplift"]
    assert found.metrics["gpuSeconds"] == 7093
    assert {point.step: point.metrics["loss"] for point in found.curve} == {
        point["step"]: point["loss"] for point in samples.evaluation()["training"]["curve"]
    }


def test_full_training_has_no_rank():
    assert "rank" not in told(samples.status(), method={"type": "Full"}).params
    assert told(samples.status(), method={"lora": {"rank": 8}}).params["rank"] == 8


def test_keys_are_such_that_every_tracker_takes_them_whatever_a_stop_loss_is_called():
    evidence = [{"name": "refunds / day (€)", "bad": 1, "total": 2}]
    found = told(samples.status(rollout={"evidence": evidence}), samples.evaluation())
    assert [name for name in found.metrics if name.startswith("rollout.")]
    assert all(re.fullmatch(r"[\w.-]{1,250}", key, re.ASCII) for key in (*found.metrics, *found.params))
    assert all(re.fullmatch(r"[\w./-]{1,250}", key, re.ASCII) for key in found.tags)


def test_no_gold_example_is_told():
    found = told(samples.status(), samples.evaluation()).model_dump_json()
    assert not [prompt for prompt in samples.PROMPTS.values() if prompt in found]


# ------------------------------------------------------------------------------------------------------------- the pod


@pytest.fixture
def pod(claim, tmp_path, monkeypatch):
    """The report command; gives its termination message. `libraries`: modules that its clients find, by name."""

    def run(tracking, libraries=None, seconds="20"):
        stubs = tmp_path / "libraries"
        stubs.mkdir(exist_ok=True)
        for name, code in (libraries or {}).items():
            (stubs / f"{name}.py").write_text(code)
        document = samples.run_json()
        if tracking is not None:
            document["spec"]["tracking"] = tracking
        (tmp_path / "run.json").write_text(json.dumps(document))
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(stubs), *sys.path]))
        monkeypatch.setenv("RETUNE_CONFIG", str(tmp_path / "run.json"))
        monkeypatch.setenv("RETUNE_STATUS", json.dumps(samples.status()))
        monkeypatch.setenv("RETUNE_WORK", str(tmp_path / "work"))
        monkeypatch.setenv("RETUNE_TERMINATION_LOG", str(tmp_path / "end"))
        monkeypatch.setenv("RETUNE_TRACKING_SECONDS", seconds)
        assert entry.main(["report"]) == 0
        assert (claim / "out" / "ns" / "job" / "job-1" / "report.html").exists()
        result = json.loads((tmp_path / "end").read_text())
        assert result["outcome"] == "Succeeded"
        return result

    return run


def test_a_run_that_is_tracked_nowhere_says_nothing_of_it(pod):
    assert "tracking" not in pod(None)


DIES = 'import os; os.write(2, b"no space left\\n"); os._exit(3)'
HANGS = """
import os, threading
open(os.environ["HOME"] + "/../../../started", "w").write(str(os.getpid()))
threading.Event().wait()
"""


def test_a_client_that_breaks_is_a_remark(pod):
    found = pod(TRACKING, {"mlflow": DIES, "wandb": "raise RuntimeError('out of\\nsorts')"})["tracking"]
    assert found["mlflow"] == {"error": "spec.tracking.mlflow: the client ended with 3: no space left"}
    assert found["wandb"] == {"error": "spec.tracking.wandb: out of sorts"}


def test_a_client_that_hangs_is_ended_in_time(pod, tmp_path):
    found = pod({"mlflow": TRACKING["mlflow"]}, {"mlflow": HANGS}, seconds="5")["tracking"]
    assert "not told in time" in found["mlflow"]["error"]
    hung = int((tmp_path / "started").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(hung, 0)
    assert list((tmp_path / "work").iterdir()) == []


def test_credentials_are_taken_from_the_environment_and_hidden_in_what_is_said():
    environ = {
        "RETUNE_MLFLOW_MLFLOW_TRACKING_USERNAME": "maria",
        "RETUNE_MLFLOW_MLFLOW_TRACKING_PASSWORD": "a password\n",
        "RETUNE_WANDB_API_KEY": "k" * 40,
        "RETUNE_WANDB_ANYTHING": "else",
        "PATH": "/bin",
    }
    keys = take(environ)
    assert environ == {"PATH": "/bin"}
    assert keys[Role.MLFLOW].get("MLFLOW_TRACKING_PASSWORD") == "a password"
    said = Scrubber(keys.values()).text(f"maria, a password, {'k' * 40}")
    assert said == "maria, [hidden], [hidden]"


FOUND = """
import importlib.util
print([name for name in ("mlflow", "wandb") if importlib.util.find_spec(name)])
"""


def test_in_no_command_does_a_library_find_a_tracker_to_load(tmp_path):
    """TRL's trainers import each one that they find."""
    for name in ("mlflow", "wandb"):
        (tmp_path / f"{name}.py").touch()
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}

    def found(before):
        command = [sys.executable, "-c", before + FOUND]
        done = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert found("") == "['mlflow', 'wandb']"
    assert found("from retune_trainer.__main__ import main; main([])") == "[]"
