"""Wrong input, on the real cluster: each ends (or waits) with what is wrong, in which field, and what to do."""

import base64
import json
from typing import Any

import pytest

from tests.cluster.cluster import Cluster, Raw, condition, eventually
from tests.e2e.conftest import KEYS, Bucket
from tests.e2e.tiny import GOLD, TRAIN, spec, training

LONG = 480.0
ROW = '{"prompt": "Where is my card?", "completion": "card_arrival"}\n'
FILES = {
    "malformed.jsonl": ROW * 6 + '{"prompt": "half a line\n' + ROW,
    "empty.jsonl": "",
    "columns.jsonl": '{"question": "a", "reply": "b"}\n' * 3,
    "latin1.jsonl": '{"prompt": "Grüße", "completion": "hallo"}\n',
}


def data(name: str, gold: str = GOLD) -> Raw:
    """A dataset with one of the wrong files as training set."""
    return {"train": {"uri": f"s3://data/wrong/{name}"}, "gold": {"uri": gold}}


# name: (what is changed, reason, words that the message must hold)
CASES: dict[str, tuple[Raw, str, tuple[str, ...]]] = {
    "qlora-on-cpu": ({"method": {"type": "QLoRA"}}, "MethodNeedsGpu", ("spec.method.type",)),
    "model-missing": ({"baseModel": {"uri": "s3://models/nowhere"}}, "BaseModelNotFound", ("spec.baseModel.uri",)),
    "data-missing": ({"dataset": data("nowhere.jsonl")}, "DatasetNotFound", ("spec.dataset.train.uri", "nowhere")),
    "malformed": ({"dataset": data("malformed.jsonl")}, "DatasetMalformed", ("spec.dataset.train.uri", "line 7")),
    "empty": ({"dataset": data("empty.jsonl")}, "DatasetEmpty", ("spec.dataset.train.uri",)),
    "columns": ({"dataset": data("columns.jsonl")}, "DatasetWrongFormat", ("question", "reply", "prompt")),
    "format": (
        {"dataset": {"train": {"uri": TRAIN}, "gold": {"uri": GOLD}, "format": "Messages"}},
        "DatasetWrongFormat",
        ("messages", "prompt"),
    ),
    "encoding": ({"dataset": data("latin1.jsonl")}, "DatasetMalformed", ("UTF-8",)),
    "gold-is-train": (
        {"dataset": {"train": {"uri": TRAIN}, "gold": {"uri": "s3://data/wrong/copy-of-train.jsonl"}}},
        "GoldEqualsTrain",
        ("spec.dataset.gold",),
    ),
    "credentials": (
        {"artifacts": {"uri": "s3://models/e2e", "secretRef": {"name": "wrong-keys"}}},
        "CredentialsRejected",
        ("secretRef", "wrong-keys"),
    ),
    "read-only": (
        {
            "baseModel": {"uri": "s3://models/tiny", "secretRef": {"name": "store"}},
            "dataset": {
                "train": {"uri": TRAIN, "secretRef": {"name": "store"}},
                "gold": {"uri": GOLD, "secretRef": {"name": "store"}},
            },
            "artifacts": {"uri": "s3://data/e2e", "secretRef": {"name": "reader"}},
        },
        "ArtifactsNotWritable",
        ("spec.artifacts",),
    ),
    "store-down": (
        {"artifacts": {"uri": "s3://models/e2e", "secretRef": {"name": "nobody-there"}}},
        "StoreUnreachable",
        ("spec.",),
    ),
}


@pytest.fixture(scope="module")
def applied(shared_cluster: Cluster, bucket: Bucket) -> Cluster:
    """All wrong jobs at once: their pods are small, and run side by side."""
    for name, text in FILES.items():
        bucket.put(f"s3://data/wrong/{name}", text.encode("latin-1" if name.startswith("latin1") else "utf-8"))
    bucket.put("s3://data/wrong/copy-of-train.jsonl", bucket.get(TRAIN))
    secrets = {
        "wrong-keys": {**KEYS, "AWS_SECRET_ACCESS_KEY": "not-the-key-3f9a"},
        "reader": {**KEYS, "AWS_ACCESS_KEY_ID": "reader-local", "AWS_SECRET_ACCESS_KEY": "reader-local-only"},
        "nobody-there": {**KEYS, "AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
    }
    for name, values in secrets.items():
        body = {"metadata": {"name": name}, "stringData": values}
        shared_cluster.core.create_namespaced_secret(shared_cluster.namespace, body)
    for name, (changes, _, _) in CASES.items():
        shared_cluster.apply_job(name, spec(**{"training": training(maxRetries=0), **changes}))
    return shared_cluster


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_named_with_its_field(applied: Cluster, name: str) -> None:
    _, reason, words = CASES[name]
    run = eventually(lambda: applied.runs(name)[0], LONG)["metadata"]["name"]
    said = condition(applied.phase(run, "Failed", LONG), "GatesPassed")
    assert said["reason"] == reason, said
    for word in words:
        assert word in said["message"]
    assert not [a for a in applied.jobs(run) if a.startswith("train")], "no training pod was asked for"


def test_no_secret_shows_in_status_events_or_logs(applied: Cluster) -> None:
    for name in CASES:
        run = eventually(lambda n=name: applied.runs(n)[0], LONG)["metadata"]["name"]
        applied.phase(run, "Failed", LONG)

    def all_over() -> list[Any]:
        """All pods, once nothing comes any more: a report is tried twice."""
        for name in CASES:
            reports = [a for a in applied.runs(name)[0]["status"]["attempts"] if a["stage"] == "Report"]
            assert all(attempt.get("endedAt") for attempt in reports)
        pods: list[Any] = applied.core.list_namespaced_pod(applied.namespace).items
        assert all(pod.status.phase in ("Succeeded", "Failed") for pod in pods)
        return pods

    pods = eventually(all_over, LONG)
    texts = [json.dumps(applied.runs(name)) + json.dumps(applied.job(name)) for name in CASES]
    texts += [event.message or "" for event in applied.core.list_namespaced_event(applied.namespace).items]
    for pod in pods:
        texts.append(applied.core.read_namespaced_pod_log(pod.metadata.name, applied.namespace))
        texts.append(str(pod.status))
    everything = "\n".join(texts)
    for secret in (KEYS["AWS_SECRET_ACCESS_KEY"], "not-the-key-3f9a", "reader-local-only"):
        assert secret not in everything
        assert base64.b64encode(secret.encode()).decode() not in everything


def test_a_missing_secret_is_waited_for_and_named(cluster: Cluster) -> None:
    cluster.apply_job("later", spec(artifacts={"uri": "s3://models/e2e", "secretRef": {"name": "comes-later"}}))
    run = cluster.first_run("later")
    said = eventually(
        lambda: c if (c := condition(cluster.run(run), "Admitted"))["reason"] == "CreateContainerConfigError" else {},
        LONG,
    )
    assert 'secret "comes-later" not found' in said["message"]
    assert "secretRef" in said["message"]
    eventually(lambda: cluster.job("later")["status"]["phase"] == "Waiting")
    body = {"metadata": {"name": "comes-later"}, "stringData": KEYS}
    cluster.core.create_namespaced_secret(cluster.namespace, body)
    eventually(lambda: cluster.run(run)["status"].get("resolved"), LONG)


def test_an_image_that_cannot_be_pulled_is_named_while_waiting(cluster: Cluster) -> None:
    cluster.apply_job("image", spec(training=training(image="localhost:1/nowhere/trainer:1")))
    run = cluster.first_run("image")
    said = eventually(
        lambda: (
            c
            if (c := condition(cluster.run(run), "Admitted"))["reason"] in ("ErrImagePull", "ImagePullBackOff")
            else {}
        ),
        LONG,
    )
    assert "nowhere/trainer:1" in said["message"]
    assert "spec.training.image" in said["message"]


def test_no_node_that_fits_is_named_while_waiting(cluster: Cluster) -> None:
    cluster.apply_job("node", spec(training=training(nodeSelector={"accelerator": "of-dreams"})))
    run = cluster.first_run("node")
    said = eventually(
        lambda: c if (c := condition(cluster.run(run), "Admitted"))["reason"] == "Unschedulable" else {}, LONG
    )
    assert "nodeSelector" in said["message"]
    assert cluster.run(run)["status"]["phase"] == "Queued"


def test_too_little_memory_is_named_with_the_limit(cluster: Cluster) -> None:
    resources = {"requests": {"cpu": "250m"}, "limits": {"memory": "200Mi"}}
    cluster.apply_job("memory", spec(training=training(resources=resources)))
    run = cluster.first_run("memory")
    said = condition(cluster.phase(run, "Failed", LONG), "Trained")
    assert said["reason"] == "OutOfMemory"
    assert "200Mi" in said["message"]
    assert [a for a in cluster.jobs(run) if a.startswith("train")] == ["train-1"]
