"""What a real training pod survives: kill -9, eviction, suspension. It goes on, and ends with the same step count."""

import json

import pytest

import kubernetes
from tests.cluster.cluster import Cluster, Raw, eventually
from tests.e2e.conftest import Bucket
from tests.e2e.tiny import spec, training

LONG = 600.0
STEPS = 480


def slow_enough(job: str) -> Raw:
    """Many small steps with many checkpoints: there is always a middle to be stopped in."""
    del job
    return spec(training=training(maxSteps=STEPS, checkpointEverySteps=20, maxRetries=0))


def in_mid_training(cluster: Cluster, bucket: Bucket, job: str) -> tuple[str, str]:
    """(run, pod) of a run that has written a checkpoint and is not done."""
    cluster.apply_job(job, slow_enough(job))
    run = cluster.first_run(job)
    eventually(lambda: checkpoints(bucket, cluster, job, run, 1), LONG)
    return run, cluster.pod(run, "train-1")


def folder(cluster: Cluster, job: str, run: str) -> str:
    """Where a run's artifacts lie."""
    return f"s3://models/e2e/{cluster.namespace}/{job}/{run}"


def checkpoints(bucket: Bucket, cluster: Cluster, job: str, run: str, attempt: int) -> list[str]:
    """Complete checkpoints of an attempt."""
    keys = bucket.list(folder(cluster, job, run))
    return [k for k in keys if k.startswith(f"checkpoints/a{attempt}/") and k.endswith("complete.json")]


def the_end(cluster: Cluster, bucket: Bucket, job: str, run: str) -> tuple[Raw, Raw]:
    """(status, manifest) of a run that was published."""
    ends = ("Promoted", "Rejected", "Declined", "Failed")
    status = eventually(lambda: s if (s := cluster.run(run)["status"])["phase"] in ends else {}, LONG)
    assert status["phase"] == "Promoted", status["conditions"]
    return status, json.loads(bucket.get(f"{folder(cluster, job, run)}/manifest.json"))


def kill(cluster: Cluster, pod: str) -> None:
    """SIGKILL, without a second to write anything."""
    cluster.core.delete_namespaced_pod(pod, cluster.namespace, grace_period_seconds=0)


def evict(cluster: Cluster, pod: str) -> None:
    """As a node that is drained."""
    body = {"metadata": {"name": pod, "namespace": cluster.namespace}}
    cluster.core.create_namespaced_pod_eviction(pod, cluster.namespace, body)


@pytest.mark.parametrize("how", [kill, evict])
def test_a_pod_taken_away_in_mid_training_continues_and_ends_with_the_same_step_count(
    cluster: Cluster, bucket: Bucket, how: object
) -> None:
    assert callable(how)
    run, pod = in_mid_training(cluster, bucket, "taken")
    how(cluster, pod)
    status, manifest = the_end(cluster, bucket, "taken", run)
    training_attempts = [a for a in status["attempts"] if a["stage"] == "Train"]
    assert [a["exit"] for a in training_attempts][-1] == "Succeeded"
    assert len(training_attempts) == 2
    assert not any(a["counted"] for a in training_attempts)
    assert manifest["attempt"] == 2
    assert manifest["result"]["steps"] == STEPS
    assert 0 < manifest["result"]["resumedFrom"] < STEPS
    assert status["progress"]["display"] == f"{STEPS}/{STEPS}"


def test_suspending_writes_a_checkpoint_and_resuming_goes_on_from_it(cluster: Cluster, bucket: Bucket) -> None:
    run, _ = in_mid_training(cluster, bucket, "paused")
    cluster.annotate("finetunejobs", "paused", {"note": "about to pause"})
    cluster.apply_job("paused", {**slow_enough("paused"), "suspend": True})
    eventually(lambda: cluster.run(run)["status"]["attempts"][-1].get("exit") == "Suspended", LONG)
    assert not [p for p in cluster.core.list_namespaced_pod(cluster.namespace).items if p.status.phase == "Running"]
    before = checkpoints(bucket, cluster, "paused", run, 1)
    last = max(int(key.split("/step-")[1].split("/")[0]) for key in before)
    cluster.apply_job("paused", slow_enough("paused"))
    _, manifest = the_end(cluster, bucket, "paused", run)
    assert manifest["result"]["resumedFrom"] == last
    assert manifest["result"]["steps"] == STEPS


def test_a_finished_result_is_read_again_not_trained_again(cluster: Cluster, bucket: Bucket) -> None:
    """The pod ends, and vanishes with its message while no operator looks: the manifest still knows."""
    apps = kubernetes.client.AppsV1Api(cluster.api)
    run, pod = in_mid_training(cluster, bucket, "unread")
    kept = f"{folder(cluster, 'unread', run)}/manifest.json"

    def scale(replicas: int) -> None:
        apps.patch_namespaced_deployment_scale("retune", "retune-system", {"spec": {"replicas": replicas}})

    try:
        scale(0)
        eventually(lambda: cluster.jobs(run)["train-1"].status.completion_time, LONG)
        made = bucket.get(kept)
        cluster.core.delete_namespaced_pod(pod, cluster.namespace, grace_period_seconds=0)
    finally:
        scale(1)
    status, manifest = the_end(cluster, bucket, "unread", run)
    assert manifest["attempt"] == 1
    trained = [a for a in status["attempts"] if a["stage"] == "Train"]
    assert [a["reason"] for a in trained][-2:] == ["ResultLost", "Succeeded"]
    assert bucket.get(kept) == made, "it answered, it did not train"
    assert not checkpoints(bucket, cluster, "unread", run, 2)


@pytest.mark.parametrize("form", ["messages.jsonl", "classes.csv", "pairs.parquet", "text.jsonl"])
def test_every_format_and_file_type_is_trained_on(shared_cluster: Cluster, bucket: Bucket, form: str) -> None:
    rows = [json.loads(line) for line in bucket.get("s3://data/support/gold.jsonl").decode().splitlines()]
    train, gold = encoded(form, rows[:80]), encoded(form, rows[80:120])
    bucket.put(f"s3://data/forms/train-{form}", train)
    bucket.put(f"s3://data/forms/gold-{form}", gold)
    dataset = {
        "train": {"uri": f"s3://data/forms/train-{form}"},
        "gold": {"uri": f"s3://data/forms/gold-{form}"},
    }
    job = form.split(".", maxsplit=1)[0]
    lenient = {"metric": "TokenF1", "minUplift": -1}
    metric = {"metrics": [{"name": "TokenF1"}], "acceptance": lenient, "maxExamples": 24}
    gates = {"data": {"minExamples": 80}}
    shared_cluster.apply_job(job, spec(dataset=dataset, evaluation=metric, gates=gates))
    run = shared_cluster.first_run(job)
    status, _ = the_end(shared_cluster, bucket, job, run)
    wanted = {"messages": "Messages", "classes": "Classification", "pairs": "PromptCompletion", "text": "Text"}
    assert status["resolved"]["train"]["format"] == wanted[job]
    assert status["resolved"]["train"]["examples"] == 80


def encoded(form: str, rows: list[Raw]) -> bytes:
    """The same examples in another shape."""
    import csv
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq

    match form:
        case "messages.jsonl":
            turns = (
                [{"role": "user", "content": r["prompt"]}, {"role": "assistant", "content": r["completion"]}]
                for r in rows
            )
            return "".join(json.dumps({"messages": t}) + "\n" for t in turns).encode()
        case "classes.csv":
            text = io.StringIO()
            writer = csv.writer(text)
            writer.writerow(["text", "label"])
            writer.writerows([r["prompt"], r["completion"]] for r in rows)
            return text.getvalue().encode()
        case "pairs.parquet":
            table = pa.Table.from_pylist([{"prompt": r["prompt"], "completion": r["completion"]} for r in rows])
            sink = io.BytesIO()
            pq.write_table(table, sink)
            return sink.getvalue()
        case _:
            return "".join(json.dumps({"text": f"{r['prompt']} {r['completion']}"}) + "\n" for r in rows).encode()
