"""A run that has ended, told to a real MLflow server and to files of Weights & Biases, by the report pod's command.

Made on demand in temporary environments (tracking_places.py); skipped with the reason where these cannot be had.
"""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.cluster import wandb_records
from tests.cluster.tracking_places import Place, environment, free_port, locked, mlflow_server, pairs, version_of
from tests.unit.trainer import report_samples as samples

MODEL = "ns.job"
DIGEST = samples.status()["artifact"]["digest"]
EVIDENCE = {
    "name": "errors",
    "bad": 3,
    "total": 410,
    "stableBad": 31,
    "stableTotal": 3702,
    "eValue": 0.8,
    "state": "Ok",
}


@pytest.fixture(scope="module")
def packages():
    return locked()


@pytest.fixture(scope="module")
def python(packages, tmp_path_factory):
    """The clients, without a server: what the trainer's image has."""
    return environment(tmp_path_factory.mktemp("clients") / "venv", *packages, "httpx", "jinja2")


@pytest.fixture(scope="module")
def server(packages, tmp_path_factory):
    """The server of the client's version, which keeps artifacts for its clients."""
    folder = tmp_path_factory.mktemp("mlflow")
    python = environment(folder / "venv", f"mlflow=={version_of(packages, 'mlflow-skinny')}")
    with mlflow_server(python, folder / "data", "--artifacts-destination", str(folder / "artifacts")) as started:
        yield started


@pytest.fixture
def place(python, tmp_path):
    return Place(python, tmp_path)


def to(server, experiment):
    return {"mlflow": {"uri": server.url, "experiment": experiment}}


def promoted(digest=DIGEST):
    uri = f"pvc://store/out/ns/job/x/adapter/{digest[7:19]}"
    return samples.status(artifact={"uri": uri, "digest": digest}, rollout={"evidence": [EVIDENCE]})


def test_a_promoted_run_is_in_mlflow_with_all_that_makes_it_comparable(server, place):
    result = place.report(to(server, "whole"), promoted(), number=1)
    (run,) = server.runs("whole")
    name = run["info"]["run_id"]
    assert result["tracking"]["mlflow"] == {
        "url": f"{server.url}/#/experiments/{run['info']['experiment_id']}/runs/{name}"
    }
    assert (run["info"]["run_name"], run["info"]["status"]) == ("job-1", "FINISHED")

    params = pairs(run["data"]["params"])
    assert params["method"] == "LoRA"
    assert (params["rank"], params["learningRate"], params["seed"]) == ("16", "0.0002", "7")
    assert params["baseModel"] == "pvc://store/models/base"
    assert params["trainDigest"] == samples.status()["resolved"]["train"]["digest"]

    metrics, scores = pairs(run["data"]["metrics"]), samples.status()["scores"]
    assert {arm: metrics[f"score.{arm}"] for arm in ("base", "stable", "candidate")} == {
        arm: scores[arm] for arm in ("base", "stable", "candidate")
    }
    assert [metrics["uplift.lower"], metrics["uplift.upper"]] == scores["interval"]
    assert metrics["cost"] == 7.2731
    assert (metrics["rollout.errors.bad"], metrics["rollout.errors.stableTotal"]) == (3, 3702)
    curve = samples.evaluation()["training"]["curve"]
    assert server.history(name, "loss") == [(point["step"], point["loss"]) for point in curve]
    held = [(point["step"], point["heldOut"]) for point in curve if "heldOut" in point]
    assert server.history(name, "heldOutLoss") == held

    tags = pairs(run["data"]["tags"])
    assert (tags["retune.dev/verdict"], tags["retune.dev/trigger"]) == ("Promoted", "NewExamples")
    assert (tags["retune.dev/job"], tags["retune.dev/artifact-digest"]) == ("job", DIGEST)
    inputs = {one["dataset"]["name"]: one for one in run["inputs"]["dataset_inputs"]}
    assert set(inputs) == {"train", "prepared", "gold", "fresh"}
    assert inputs["gold"]["tags"] == [{"key": "mlflow.data.context", "value": "evaluation"}]
    assert json.loads(inputs["gold"]["dataset"]["profile"])["digest"] == "sha256:" + "a05c" * 16

    files = server.ask(f"artifacts/list?run_id={name}")["files"]
    assert {file["path"] for file in files} == {"report.html", "report.json"}


def test_a_second_try_of_the_pod_changes_nothing(server, place):
    first = place.report(to(server, "twice"), promoted(), number=2)
    before = (server.runs("twice"), server.versions(MODEL), server.aliases(MODEL))
    assert place.report(to(server, "twice"), promoted(), number=2) == first
    (run,) = server.runs("twice")
    assert run["data"] == before[0][0]["data"]
    assert run["inputs"] == before[0][0]["inputs"]
    loss = server.history(run["info"]["run_id"], "loss")
    assert len(loss) == len(set(loss)) == len(samples.evaluation()["training"]["curve"])
    assert (server.versions(MODEL), server.aliases(MODEL)) == before[1:]


def digest(letter):
    return f"sha256:{letter * 64}"


def test_the_aliases_follow_what_is_promoted_and_never_go_back(server, place):
    place.report(to(server, "aliases"), promoted(digest("a")), number=11)
    place.report(to(server, "aliases"), promoted(digest("b")), number=13, stable=digest("a"))
    by_run = {one["version"]: pairs(one["tags"])["retune.dev/run"] for one in server.versions(MODEL)}
    shown = {alias: by_run[version] for alias, version in server.aliases(MODEL).items()}
    assert shown == {"stable": "job-13", "previous": "job-11"}
    newest = server.versions(MODEL)[-1]
    assert newest["source"] == f"pvc://store/out/ns/job/x/adapter/{'b' * 12}"
    assert pairs(newest["tags"])["retune.dev/digest"] == digest("b")

    place.report(to(server, "aliases"), promoted(digest("c")), number=12, stable=digest("a"))  # whose pod came late
    by_run = {one["version"]: pairs(one["tags"])["retune.dev/run"] for one in server.versions(MODEL)}
    assert "job-12" in by_run.values()
    assert {alias: by_run[version] for alias, version in server.aliases(MODEL).items()} == shown

    place.report(to(server, "aliases"), promoted(digest("e")), number=14, stable=digest("d"))  # d was never told
    by_run = {one["version"]: pairs(one["tags"])["retune.dev/run"] for one in server.versions(MODEL)}
    assert {alias: by_run[version] for alias, version in server.aliases(MODEL).items()} == {"stable": "job-14"}


@pytest.mark.parametrize(
    ("number", "status", "end"),
    [
        (21, samples.status("RolledBack"), "FINISHED"),
        (22, samples.failed(), "FAILED"),
    ],
    ids=["rolled back", "failed"],
)
def test_a_run_that_was_not_promoted_is_told_and_is_no_version(server, place, number, status, end):
    place.report(to(server, f"other-{number}"), status, number=number)
    (run,) = server.runs(f"other-{number}")
    assert run["info"]["status"] == end
    assert pairs(run["data"]["tags"])["retune.dev/verdict"] == status["phase"]
    names = [one["name"] for one in server.ask("registered-models/search").get("registered_models", [])]
    told = [pairs(one["tags"])["retune.dev/run"] for name in names for one in server.versions(name)]
    assert f"job-{number}" not in told


# --------------------------------------------------------------------------------------------------------- what is down


def test_servers_that_are_down_are_named_and_the_report_is_there_all_the_same(place):
    dead = f"http://127.0.0.1:{free_port()}"
    tracking = {"mlflow": {"uri": dead, "experiment": "x"}, "wandb": {"project": "p"}}
    told = place.report(tracking, samples.status(), RETUNE_WANDB_API_KEY="k" * 40, RETUNE_WANDB_WANDB_BASE_URL=dead)
    assert set(told["tracking"]) == {"mlflow", "wandb"}
    assert told["tracking"]["mlflow"]["error"].startswith("spec.tracking.mlflow: ")
    assert "/api/2.0/mlflow/experiments" in told["tracking"]["mlflow"]["error"]
    assert told["tracking"]["wandb"]["error"].startswith("spec.tracking.wandb: ")
    assert "k" * 40 not in json.dumps(told) + place.said[-1]


class Listener:
    """An HTTP server that notes what credentials come, and answers 401, or not at all."""

    def __init__(self, *, answers: bool) -> None:
        self.given: set[str | None] = set()
        self.over = threading.Event()
        listener = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.given.add(self.headers.get("Authorization"))
                if not answers:
                    listener.over.wait()
                self.send_error(401)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def listener(request):
    found = Listener(answers=request.param)
    yield found
    found.close()


@pytest.mark.parametrize("listener", [True], indirect=True)
def test_credentials_of_the_secret_reach_the_server_and_their_refusal_names_the_secret(listener, place):
    told = place.report(
        to(listener, "x"),
        samples.status(),
        RETUNE_MLFLOW_MLFLOW_TRACKING_USERNAME="maria",
        RETUNE_MLFLOW_MLFLOW_TRACKING_PASSWORD="a password",
    )
    assert listener.given == {"Basic " + base64.b64encode(b"maria:a password").decode()}
    assert told["tracking"]["mlflow"]["error"].startswith("spec.tracking.mlflow.secretRef: ")
    assert "a password" not in json.dumps(told) + place.said[-1]


@pytest.mark.parametrize("listener", [False], indirect=True)
def test_a_server_that_never_answers_holds_the_report_up_for_no_longer_than_it_may(listener, place):
    told = place.report(to(listener, "x"), samples.status(), seconds=5)
    assert "not told in time" in told["tracking"]["mlflow"]["error"]


def test_metadata_addresses_are_not_asked_whatever_name_they_have(place):
    told = place.report({"mlflow": {"uri": "http://2852039166", "experiment": "x"}}, samples.status())
    assert "169.254.169.254, a link-local, metadata" in told["tracking"]["mlflow"]["error"]


# ----------------------------------------------------------------------------------------------------- Weights & Biases


def test_without_an_api_key_a_file_lies_beside_the_report_that_wandb_can_send(place, python):
    result = place.report({"wandb": {"project": "support"}}, promoted(), number=31)
    url = result["tracking"]["wandb"]["url"]
    store = "pvc://store/out/ns/job/job-31/"
    assert url.startswith(store + "wandb/offline-run-20260314_092641-")
    folder = place.folder / "pvc" / "store" / "out" / "ns" / "job" / "job-31"
    file = folder / url.removeprefix(store)
    read = subprocess.run(
        [str(python), str(Path(wandb_records.__file__)), str(file)], capture_output=True, text=True, check=True
    )
    found = json.loads(read.stdout)
    uid = samples.UID[:-2] + "31"
    assert (found["run"]["id"], found["run"]["project"], found["run"]["name"]) == (uid, "support", "job-31")
    assert found["run"]["tags"] == ["Promoted"]
    assert (found["config"]["rank"], found["config"]["learningRate"]) == (16, 0.0002)
    assert found["config"]["retune.dev/artifact-digest"] == DIGEST
    assert found["summary"]["score.candidate"] == samples.status()["scores"]["candidate"]
    assert found["summary"]["rollout.errors.bad"] == 3
    curve = samples.evaluation()["training"]["curve"]
    assert [(row["_step"], row["loss"]) for row in found["history"]] == [(p["step"], p["loss"]) for p in curve]

    wandb = python.parent / "wandb"
    planned = subprocess.run(
        [str(wandb), "sync", "--dry-run", str(file.parent)],
        env={"HOME": str(place.folder), "PATH": "/usr/bin:/bin", "WANDB_ERROR_REPORTING": "false"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "Would sync 1 run(s)" in planned.stdout + planned.stderr

    place.report({"wandb": {"project": "support"}}, promoted(), number=31)
    assert [path.name for path in folder.rglob("*.wandb")] == [f"run-{uid}.wandb"]
