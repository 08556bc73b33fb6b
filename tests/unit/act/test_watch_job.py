"""The manifests of a watch pod: golden files for a reader, and what a tenant and an administrator rely on.

RETUNE_UPDATE_GOLDEN=1 writes the golden files anew; read the difference before you keep it.
"""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.unit import make
from tests.unit.act.test_manifests import container, pod, violations

from retune.act import watch
from retune.api import FineTuneJobSpec
from retune.decide.actions import CreateWatch
from retune.decide.arms import Arm, ArmKind, Arms, Split
from retune.decide.facts import JobFacts
from retune.decide.readings import Serving
from retune_trainer.config import RunConfig

CHECKOUT = Path(__file__).resolve().parents[3]
GOLDEN = CHECKOUT / "tests" / "unit" / "golden"
BOTH = CreateWatch("triage-watch-29538000", 2, count=True, probe=True, seed=29538000)
COUNT, PROBE = replace(BOTH, probe=False), replace(BOTH, count=False)
SERVING = {"modelName": "support", "optOutHeader": "x-no-trials", "corrections": {"collect": True, "maxExamples": 70}}
Raw = dict[str, Any]


def facts(**changes: Any) -> JobFacts:
    return make.job_facts(make.job_spec(**{"serving": SERVING, **changes}))


def full() -> JobFacts:
    text = (CHECKOUT / "examples" / "full.yaml").read_text()
    return make.job_facts(FineTuneJobSpec.model_validate(yaml.safe_load(text.replace(" on:", ' "on":'))["spec"]))


def run_json(job: Raw) -> Raw:
    """What the pod of a Job finds at /etc/retune/run.json."""
    (volume,) = (v for v in pod(job)["volumes"] if v["name"] == "config")
    (item,) = volume["downwardAPI"]["items"]
    assert item["path"] == "run.json"
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    paths = {f"metadata.annotations['{name}']": text for name, text in annotations.items()}
    return json.loads(paths[item["fieldRef"]["fieldPath"]])


def told(found: JobFacts, action: CreateWatch = BOTH) -> Raw:
    return run_json(watch.job(found, action))


def test_golden() -> None:
    made = watch.job(full(), BOTH)
    made["spec"]["template"]["metadata"]["annotations"]["retune.dev/run-json"] = run_json(made)  # for the reader's sake
    path = GOLDEN / "full-watch.yaml"
    if os.environ.get("RETUNE_UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump(made, sort_keys=False, width=120))
    assert yaml.safe_load(path.read_text()) == json.loads(json.dumps(made))


def test_the_pod_meets_pod_security_restricted_and_holds_no_token() -> None:
    made = pod(watch.job(full(), BOTH))
    assert violations(made) == []
    assert made["automountServiceAccountToken"] is False


def test_it_ends_within_fifteen_minutes_is_never_retried_and_stays_to_be_read() -> None:
    made = watch.job(facts(), BOTH)["spec"]
    assert (made["activeDeadlineSeconds"], made["backoffLimit"]) == (900, 0)
    assert "ttlSecondsAfterFinished" not in made


@pytest.mark.parametrize(
    ("action", "roles"),
    [(COUNT, {"ARTIFACTS", "TRAIN"}), (PROBE, {"ARTIFACTS", "GOLD"}), (BOTH, {"ARTIFACTS", "TRAIN", "GOLD"})],
)
def test_a_pod_gets_the_secrets_of_what_it_is_asked_and_no_others(action: CreateWatch, roles: set[str]) -> None:
    found = container(watch.job(full(), action))["envFrom"]
    assert {each["prefix"] for each in found} == {f"RETUNE_{role}_" for role in roles}
    assert all(set(each) == {"prefix", "secretRef"} for each in found)


def test_volumes_are_mounted_read_only_the_artifacts_as_well() -> None:
    dataset = {"train": {"uri": "pvc://data/train.jsonl"}, "gold": {"uri": "pvc://data/gold.jsonl"}}
    made = watch.job(facts(dataset=dataset, artifacts={"uri": "pvc://results/out"}), BOTH)
    mounts = [m for m in container(made)["volumeMounts"] if m["mountPath"].startswith("/pvc/")]
    assert {(m["mountPath"], m["readOnly"]) for m in mounts} == {("/pvc/data", True), ("/pvc/results", True)}


def test_it_belongs_to_the_job_and_never_looks_like_a_runs_pod() -> None:
    made = watch.job(facts(), BOTH)
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("FineTuneJob", "job-uid", True)
    labels = made["spec"]["template"]["metadata"]["labels"]
    assert labels["retune.dev/job-uid"] == "job-uid"
    assert not {"retune.dev/run", "retune.dev/run-uid"} & set(labels)


def test_the_pod_is_told_whom_to_ask_by_the_name_that_taps_know() -> None:
    probe = told(facts())["watch"]["probe"]
    assert probe == {
        "url": "http://triage.support.svc:8000/v1",
        "model": "support",
        "header": "x-no-trials",
        "examples": 50,
        "seed": 29538000,
    }
    arms = Arms("support", "triage", "job-uid", {"before": Split(stable=Arm(ArmKind.BASE))})
    renamed = replace(facts(), serving=Serving(arms=arms))
    assert told(renamed)["watch"]["probe"]["model"] == "before"


def test_no_more_is_told_than_is_asked() -> None:
    assert told(facts(), COUNT)["watch"] == {"count": True, "probe": None}
    assert told(facts(), PROBE)["watch"]["count"] is False
    assert set(told(facts())["spec"]) == {"dataset", "evaluation", "artifacts", "baseModel", "serving"}


def test_the_trainer_reads_what_the_operator_writes() -> None:
    read = RunConfig.model_validate(told(facts(artifacts=None)))
    assert read.watch is not None
    assert read.watch.probe is not None
    assert (read.watch.probe.header, read.watch.probe.seed) == ("x-no-trials", 29538000)
    assert read.corrections is not None
    assert read.corrections.max_examples == 70
    assert read.corrections_uri == "s3://default/retune/support/triage/corrections"
    assert read.spec.evaluation.acceptance.metric == "ExactMatch"
    assert RunConfig.model_validate(told(facts(serving=None), COUNT)).corrections is None


def test_a_default_metric_is_filled_in_as_it_is_for_a_run() -> None:
    spec = told(facts(evaluation=None), PROBE)["spec"]
    assert spec["evaluation"]["acceptance"]["metric"] == "TokenF1"
