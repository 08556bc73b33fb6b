"""A run's life, from apply to its end, against a real API server and Job controller."""

import json

import pytest

from tests.cluster.cluster import (
    ADAPTER,
    CHECKED,
    DIGEST,
    MEASURED,
    REPORTED,
    Cluster,
    Kubelet,
    comparison,
    condition,
    eventually,
    failed,
    spec,
    trained,
)

DISRUPTED = [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempted"}]


def to_training(cluster: Cluster, kubelet: Kubelet, job: str, number: int = 1) -> tuple[str, str]:
    """A run whose first training pod runs: (run, pod)."""
    run = cluster.first_run(job, number)
    pod = cluster.pod(run, "preflight-1")
    kubelet.running(pod)
    kubelet.ended(pod, 0, CHECKED)
    pod = cluster.pod(run, "train-1")
    kubelet.running(pod)
    cluster.phase(run, "Training")
    return run, pod


def test_a_good_candidate_is_promoted_and_becomes_stable(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("good", spec())
    run, pod = to_training(cluster, kubelet, "good")
    kubelet.ended(pod, 0, trained(candidate=0.8, base=0.1))
    status = cluster.phase(run, "Promoted")["status"]
    assert status["scores"]["uplift"] == pytest.approx(0.7)
    assert condition({"status": status}, "Accepted")["message"].startswith("ExactMatch 0.800 on 240 gold examples")
    job = eventually(lambda: j if (j := cluster.job("good"))["status"]["phase"] == "Idle" else None)
    assert job["status"]["stable"] == {
        "run": run,
        "digest": ADAPTER,
        "uri": status["artifact"]["uri"],
        "since": status["endedAt"],
    }
    assert job["status"]["observedGeneration"] == job["metadata"]["generation"]


def test_a_candidate_below_the_asked_uplift_is_rejected_with_the_number(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("poor", spec())
    run, pod = to_training(cluster, kubelet, "poor")
    kubelet.ended(pod, 0, trained(candidate=0.11, base=0.1))
    found = cluster.phase(run, "Rejected")
    said = condition(found, "Accepted")
    assert (said["status"], said["reason"]) == ("False", "UpliftTooSmall")
    assert "uplift +0.010 (at least -0.040" in said["message"]
    assert "minUplift asks for at least +0.02 beyond doubt" in said["message"]
    eventually(lambda: cluster.job("poor")["status"]["phase"] == "Idle")
    assert "stable" not in cluster.job("poor")["status"]


def test_wrong_input_ends_the_run_with_field_and_cure_and_without_a_training_job(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    cluster.apply_job("wrong", spec())
    run = cluster.first_run("wrong")
    pod = cluster.pod(run, "preflight-1")
    kubelet.ended(pod, 64, failed("DatasetMalformed", "spec.dataset.train.uri", "line 7 is not JSON. Correct it."))
    said = condition(cluster.phase(run, "Failed"), "GatesPassed")
    assert said["reason"] == "DatasetMalformed"
    assert said["message"] == "spec.dataset.train.uri: line 7 is not JSON. Correct it."
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "report-1"})
    assert eventually(lambda: [e for e in cluster.events(run) if e.reason == "DatasetMalformed"])[0].type == "Warning"


def test_a_gate_that_says_no_declines_the_run_and_its_report_is_written(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("leaky", spec())
    run = cluster.first_run("leaky")
    leaked = {**MEASURED, "leakage": {"gold": 240, "exact": 9, "near": 9, "nearFraction": 0.0375}}
    kubelet.ended(cluster.pod(run, "preflight-1"), 0, {**CHECKED, "measured": leaked})
    found = cluster.phase(run, "Declined")
    said = condition(found, "GatesPassed")
    assert said["reason"] == "LeakageGateFailed"
    assert "9 of 240 gold examples are in the training set" in said["message"]
    assert "Take them out of the training set" in said["message"]
    gate = {g["name"]: g for g in found["status"]["gates"]}["leakage"]
    assert (gate["verdict"], gate["values"]["exact"]) == ("Failed", 9)
    kubelet.ended(cluster.pod(run, "report-1"), 0, REPORTED)
    eventually(lambda: cluster.run(run)["status"]["reportUri"] == REPORTED["reportUri"])
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "report-1"})


def test_the_next_run_is_held_against_the_stable_model(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("again", spec())
    first, pod = to_training(cluster, kubelet, "again")
    kubelet.ended(pod, 0, trained())
    cluster.phase(first, "Promoted")
    eventually(lambda: cluster.job("again")["status"]["phase"] == "Idle")
    cluster.annotate("finetunejobs", "again", {"retune.dev/retry": "1"})
    second, pod = to_training(cluster, kubelet, "again", 2)
    stable = cluster.run(second)["spec"]["stable"]
    assert (stable["run"], stable["digest"]) == (first, ADAPTER)
    assert cluster.run(second)["status"]["look"]["number"] == 2, "the same gold set is looked at again"
    worse = comparison(0.7, 0.8, against="Stable")
    kubelet.ended(pod, 0, trained(0.7, 0.1, worse))
    assert condition(cluster.phase(second, "Rejected"), "Accepted")["reason"] == "Regression"
    assert cluster.job("again")["status"]["stable"]["run"] == first


def test_crashes_are_retried_as_often_as_allowed_then_named(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("crash", spec(training={**spec()["training"], "maxRetries": 1}))
    run, pod = to_training(cluster, kubelet, "crash")
    kubelet.ended(pod, 1)
    kubelet.ended(cluster.pod(run, "train-2"), 1, failed("TrainerBroke", "", "it broke"))
    found = cluster.phase(run, "Failed")
    assert condition(found, "Trained")["reason"] == "TrainerBroke"
    assert "2 crashes; spec.training.maxRetries allows 1" in condition(found, "Trained")["message"]
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "train-1", "train-2", "report-1"})


def test_preemptions_never_count_against_the_retries(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("preempted", spec(training={**spec()["training"], "maxRetries": 0}))
    run, pod = to_training(cluster, kubelet, "preempted")
    kubelet.ended(pod, 137, conditions=DISRUPTED)
    kubelet.ended(cluster.pod(run, "train-2"), 75)  # drained: the trainer wrote a checkpoint
    pod = cluster.pod(run, "train-3")
    kubelet.running(pod)
    kubelet.ended(pod, 0, trained())
    attempts = [a for a in cluster.phase(run, "Promoted")["status"]["attempts"] if a["stage"] != "Report"]
    assert [a["exit"] for a in attempts] == ["Succeeded", "Disrupted", "Disrupted", "Succeeded"]
    assert not any(a["counted"] for a in attempts)


def test_an_oom_kill_is_named_with_the_limit_and_not_repeated(cluster: Cluster, kubelet: Kubelet) -> None:
    resources = {"requests": {"cpu": "1"}, "limits": {"memory": "3Gi"}}
    cluster.apply_job("oom", spec(training={**spec()["training"], "resources": resources}))
    run, pod = to_training(cluster, kubelet, "oom")
    kubelet.ended(pod, 137, reason="OOMKilled")
    said = condition(cluster.phase(run, "Failed"), "Trained")
    assert said["reason"] == "OutOfMemory"
    assert "its memory limit (3Gi)" in said["message"]
    assert "spec.training.resources.limits.memory" in said["message"]
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "train-1", "report-1"})


@pytest.mark.parametrize("code", [75, 137, 143])
def test_a_pod_that_is_deleted_is_followed_by_the_next_attempt(cluster: Cluster, kubelet: Kubelet, code: int) -> None:
    cluster.apply_job("deleted-pod", spec(training={**spec()["training"], "maxRetries": 0}))
    run, pod = to_training(cluster, kubelet, "deleted-pod")
    cluster.core.delete_namespaced_pod(pod, cluster.namespace)
    kubelet.ended(pod, code)  # as the kubelet does once the container has gone
    pod = cluster.pod(run, "train-2")
    kubelet.running(pod)
    kubelet.ended(pod, 0, trained())
    attempt = cluster.phase(run, "Promoted")["status"]["attempts"][1]
    assert attempt["exit"] in ("Disrupted", "Lost")
    assert not attempt["counted"]


def test_the_next_attempt_waits_until_the_pod_of_the_last_one_is_gone(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("zombie", spec())
    run, pod = to_training(cluster, kubelet, "zombie")
    hold = {"metadata": {"finalizers": ["test.retune.dev/hold"]}}
    cluster.core.patch_namespaced_pod(pod, cluster.namespace, hold)
    cluster.batch.delete_namespaced_job(f"{run}-t1", cluster.namespace, propagation_policy="Orphan")
    eventually(lambda: "train-1" not in cluster.jobs(run))
    cluster.core.delete_namespaced_pod(pod, cluster.namespace)
    cluster.annotate("finetuneruns", run, {"retune.dev/touch": "1"})  # a reconcile, to see that it changes nothing
    cluster.core.patch_namespaced_pod_status(
        pod, cluster.namespace, {"metadata": {"annotations": {"a": "b"}}, "status": {"message": "terminating"}}
    )
    assert "train-2" not in cluster.jobs(run)
    cluster.core.patch_namespaced_pod(pod, cluster.namespace, {"metadata": {"finalizers": []}})
    cluster.pod(run, "train-2")


def test_an_image_that_cannot_be_pulled_shows_while_waiting_and_ends_the_run(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    cluster.apply_job("image", spec())
    run = cluster.first_run("image")
    kubelet.waiting(cluster.pod(run, "preflight-1"), "ImagePullBackOff", 'Back-off pulling image "nowhere/x:1"')
    eventually(lambda: condition(cluster.run(run), "Admitted")["reason"] == "ImagePullBackOff")
    eventually(lambda: cluster.job("image")["status"]["phase"] == "Waiting")
    said = condition(cluster.phase(run, "Failed", 40), "GatesPassed")
    assert said["reason"] == "ImagePullBackOff"
    assert "nowhere/x:1" in said["message"]
    assert "spec.training.image" in said["message"]
    eventually(lambda: not cluster.jobs(run))


def test_no_node_that_fits_is_waited_for_and_said(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("nodes", spec())
    run = cluster.first_run("nodes")
    pod = cluster.pod(run, "preflight-1")
    kubelet.ended(pod, 0, CHECKED)
    pod = cluster.pod(run, "train-1")
    kubelet.unschedulable(pod, "0/3 nodes are available: 3 Insufficient nvidia.com/gpu")
    said = eventually(lambda: c if (c := condition(cluster.run(run), "Admitted"))["reason"] == "Unschedulable" else {})
    assert "Insufficient nvidia.com/gpu" in said["message"]
    assert "nodeSelector" in said["message"]
    assert cluster.run(run)["status"]["phase"] == "Queued"
    eventually(lambda: cluster.job("nodes")["status"]["phase"] == "Waiting")
    kubelet.running(pod)
    cluster.phase(run, "Training")
    eventually(lambda: cluster.job("nodes")["status"]["phase"] == "Running")


def test_a_quota_that_refuses_the_pod_is_said(cluster: Cluster) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    cluster.core.create_namespaced_resource_quota(cluster.namespace, quota)
    eventually(lambda: cluster.core.read_namespaced_resource_quota("none", cluster.namespace).status.hard)
    cluster.apply_job("quota", spec())
    run = cluster.first_run("quota")
    said = eventually(
        lambda: c if (c := condition(cluster.run(run), "Admitted"))["reason"] == "FailedCreate" else {}, 40
    )
    assert "exceeded quota" in said["message"]


def test_suspending_stops_the_pods_and_resuming_goes_on_with_the_next_attempt(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    cluster.apply_job("pause", spec())
    run, _ = to_training(cluster, kubelet, "pause")
    cluster.apply_job("pause", spec(suspend=True))
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1"})
    found = cluster.phase(run, "Queued")
    assert condition(found, "Admitted")["reason"] == "Suspended"
    eventually(lambda: cluster.job("pause")["status"]["phase"] == "Suspended")
    eventually(lambda: cluster.run(run)["status"]["attempts"][-1].get("exit") == "Suspended")
    cluster.apply_job("pause", spec())
    pod = cluster.pod(run, "train-2")
    kubelet.running(pod)
    kubelet.ended(pod, 0, trained())
    cluster.phase(run, "Promoted")


def test_a_suspended_job_starts_nothing(cluster: Cluster) -> None:
    cluster.apply_job("asleep", spec(suspend=True))
    eventually(lambda: cluster.job("asleep")["status"]["phase"] == "Suspended")
    assert cluster.runs("asleep") == []


@pytest.mark.parametrize("phase", ["Preflight", "Queued", "Training", "Promoted"])
def test_deleting_the_job_in_any_phase_leaves_nothing_behind(cluster: Cluster, kubelet: Kubelet, phase: str) -> None:
    cluster.apply_job("gone", spec())
    run = cluster.first_run("gone")
    pod = cluster.pod(run, "preflight-1")
    if phase != "Preflight":
        kubelet.ended(pod, 0, CHECKED)
        pod = cluster.pod(run, "train-1")
    if phase in ("Training", "Promoted"):
        kubelet.running(pod)
        cluster.phase(run, "Training")
    if phase == "Promoted":
        kubelet.ended(pod, 0, trained())
    cluster.phase(run, phase)
    cluster.delete_job("gone")
    eventually(lambda: not cluster.runs("gone"), 40)
    eventually(lambda: not cluster.jobs(run), 40)
    eventually(lambda: not cluster.core.list_namespaced_pod(cluster.namespace).items, 40)

    def maps() -> list[str]:
        return [c.metadata.name for c in cluster.core.list_namespaced_config_map(cluster.namespace).items]

    eventually(lambda: run not in maps(), 40)


def test_a_running_run_keeps_its_snapshot_and_the_changed_spec_makes_the_next_run(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    cluster.apply_job("change", spec())
    run, pod = to_training(cluster, kubelet, "change")
    before = cluster.run(run)["spec"]
    cluster.apply_job("change", spec(training={**spec()["training"], "learningRate": 0.001}))
    eventually(lambda: cluster.job("change")["status"]["observedGeneration"] == 2)
    assert len(cluster.runs("change")) == 1
    kubelet.ended(pod, 0, trained())
    cluster.phase(run, "Promoted")
    assert cluster.run(run)["spec"] == before
    second = cluster.run(cluster.first_run("change", 2))
    assert second["spec"]["trigger"]["kind"] == "SpecChanged"
    assert second["spec"]["training"]["learningRate"] == 0.001
    assert second["spec"]["baseModel"]["digest"] == DIGEST, "a retraining never moves to another base unseen"


def test_a_change_that_makes_no_other_model_starts_nothing(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("same", spec())
    run, pod = to_training(cluster, kubelet, "same")
    kubelet.ended(pod, 0, trained())
    cluster.phase(run, "Promoted")
    cluster.apply_job("same", spec(training={**spec()["training"], "timeout": "1h", "maxRetries": 5}))
    eventually(lambda: cluster.job("same")["status"]["observedGeneration"] == 2)
    eventually(lambda: cluster.job("same")["status"]["phase"] == "Idle")
    assert len(cluster.runs("same")) == 1


def test_a_finished_run_stays_finished_when_its_children_are_gone(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("done", spec())
    run, pod = to_training(cluster, kubelet, "done")
    kubelet.ended(pod, 0, trained())
    kubelet.ended(cluster.pod(run, "report-1"), 0, REPORTED)
    version = eventually(lambda: r if "reportUri" in (r := cluster.run(run))["status"] else {})["metadata"][
        "resourceVersion"
    ]
    for name in ("p1", "t1", "r1"):
        cluster.batch.delete_namespaced_job(f"{run}-{name}", cluster.namespace, propagation_policy="Foreground")
    eventually(lambda: not cluster.jobs(run))
    cluster.apply_job("other", spec())  # one whole reconcile later
    cluster.first_run("other")
    assert cluster.run(run)["metadata"]["resourceVersion"] == version
    assert cluster.jobs(run) == {}


def test_cancel_ends_the_run_and_its_pods(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("cancel", spec())
    run, _ = to_training(cluster, kubelet, "cancel")
    cluster.annotate("finetuneruns", run, {"retune.dev/cancel": "too expensive"})
    said = condition(cluster.phase(run, "Cancelled"), "Trained")
    assert "too expensive" in said["message"]
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "report-1"})


def test_retry_starts_exactly_one_more_run(cluster: Cluster, kubelet: Kubelet) -> None:
    cluster.apply_job("retry", spec())
    run = cluster.first_run("retry")
    kubelet.ended(cluster.pod(run, "preflight-1"), 64, failed("CredentialsRejected", "spec.dataset.train", "no"))
    cluster.phase(run, "Failed")
    cluster.annotate("finetunejobs", "retry", {"retune.dev/retry": "secret-mended"})
    second = cluster.first_run("retry", 2)
    kubelet.ended(cluster.pod(second, "preflight-1"), 64, failed("CredentialsRejected", "spec.dataset.train", "no"))
    cluster.phase(second, "Failed")
    eventually(lambda: cluster.job("retry")["status"].get("retried") == "secret-mended")
    eventually(lambda: cluster.job("retry")["status"]["phase"] == "Idle")
    assert len(cluster.runs("retry")) == 2


def test_a_service_account_that_is_not_meant_for_it_is_refused(cluster: Cluster) -> None:
    cluster.core.create_namespaced_service_account(cluster.namespace, {"metadata": {"name": "admin"}})
    cluster.apply_job("account", spec(training={**spec()["training"], "serviceAccountName": "admin"}))
    run = cluster.first_run("account")
    said = condition(cluster.phase(run, "Failed"), "GatesPassed")
    assert said["reason"] == "ServiceAccountRefused"
    assert "kubectl label serviceaccount admin" in said["message"]
    assert cluster.jobs(run) == {}


def test_fields_that_are_not_acted_on_yet_are_said(cluster: Cluster) -> None:
    cluster.apply_job("early", spec(training={**spec()["training"], "queueName": "team-a"}))
    eventually(lambda: condition(cluster.job("early"), "Supported")["status"] == "False")
    assert "spec.training.queueName" in condition(cluster.job("early"), "Supported")["message"]


def test_history_keeps_as_many_runs_as_asked_for(cluster: Cluster, kubelet: Kubelet) -> None:
    history = {"succeeded": 1, "unsuccessful": 1}
    for number in (1, 2, 3):
        changed = {**spec()["training"], "seed": number}
        cluster.apply_job("history", spec(training=changed, history=history))
        run = cluster.first_run("history", number)
        kubelet.ended(cluster.pod(run, "preflight-1"), 64, failed("DatasetEmpty", "spec.dataset.train.uri", "empty"))
        cluster.phase(run, "Failed")
        kubelet.ended(cluster.pod(run, "report-1"), 0, REPORTED)
    eventually(lambda: [r["spec"]["number"] for r in cluster.runs("history")] == [3])


def test_new_examples_are_counted_by_a_pod_that_was_made_with_all_that_it_is_told(
    cluster: Cluster, kubelet: Kubelet
) -> None:
    cluster.apply_job("grows", spec(triggers={"newExamples": {"count": 5}}))
    selector = "retune.dev/job=grows,retune.dev/stage=watch"
    (pod,) = eventually(lambda: cluster.core.list_namespaced_pod(cluster.namespace, label_selector=selector).items)
    (volume,) = (v for v in pod.spec.volumes if v.name == "config")
    assert volume.downward_api.items[0].path == "run.json"
    told = json.loads(pod.metadata.annotations["retune.dev/run-json"])
    assert (told["run"]["job"], told["watch"]) == ("grows", {"count": True, "probe": None})
    said = {"outcome": "Succeeded", "error": None, "watch": {"examples": {"train": 700, "corrections": 0}}}
    kubelet.ended(pod.metadata.name, 0, said)
    assert eventually(lambda: cluster.job("grows")["status"]["examples"])["counted"] == 700
