"""What serves for a job: golden files for a reader, and rules that every pod must meet.

RETUNE_UPDATE_GOLDEN=1 writes the golden files anew; read the difference before you keep it.
"""

import json
import os
from typing import Any

import pytest
import yaml
from tests.unit import make, serves
from tests.unit.act.test_manifests import violations
from tests.unit.serves import META, action

from retune.act import serving
from retune.act.serving import PROTECTED, Own, forbidden

OWN = Own("registry.example/tap:1", "registry.example/server:1", serves.SIGNER.public)
GOLDEN = serves.CHECKOUT / "tests/unit/golden"
ENDPOINT = {"url": "http://gateway:8000/v1", "model": "base", "secretRef": {"name": "gateway"}}
Raw = dict[str, Any]
SPECS = {"full": serves.example("full"), "plain": make.job_spec()}


def deployment(name: str = "plain", **told: Any) -> Raw:
    return serving.deployment(META, action(SPECS[name], **told), OWN)


def pod(made: Raw) -> Raw:
    return made["spec"]["template"]["spec"]


def containers(made: Raw) -> dict[str, Raw]:
    return {c["name"]: c for c in (*pod(made)["initContainers"], *pod(made)["containers"])}


def env(container: Raw) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}


@pytest.mark.parametrize("name", list(SPECS))
def test_golden(name: str) -> None:
    told = action(SPECS[name])
    made = [
        serving.deployment(META, told, OWN),
        serving.service(META, told),
        serving.peers(META),
        serving.budget(META, told),
    ]
    path = GOLDEN / f"serving-{name}.yaml"
    if os.environ.get("RETUNE_UPDATE_GOLDEN"):
        path.write_text(yaml.safe_dump_all(json.loads(json.dumps(made)), sort_keys=False, width=120))
    assert list(yaml.safe_load_all(path.read_text())) == json.loads(json.dumps(made))


@pytest.mark.parametrize("name", list(SPECS))
def test_pods_meet_pod_security_restricted_hold_no_token_and_cannot_write_to_their_root(name: str) -> None:
    made = deployment(name)
    assert violations(pod(made)) == []
    assert pod(made)["automountServiceAccountToken"] is False
    assert all(c["securityContext"]["readOnlyRootFilesystem"] for c in containers(made).values())


def test_the_server_outlives_the_tap_and_the_base_is_there_before_it_starts() -> None:
    first, second = pod(deployment())["initContainers"]
    assert (first["name"], "restartPolicy" in first) == ("fetch", False)
    assert (second["name"], second["restartPolicy"]) == ("server", "Always")
    assert [c["name"] for c in pod(deployment())["containers"]] == ["tap"]


def test_only_the_tap_is_outside() -> None:
    made = containers(deployment(args=["--host", "0.0.0.0", "--max-model-len", "512"]))
    args = made["server"]["args"]
    assert args[args.index("--port") - 1] == "127.0.0.1"
    assert "ports" not in made["server"]
    assert {p["name"]: p["containerPort"] for p in made["tap"]["ports"]} == {"http": 8000, "cluster": 9090}
    port = serving.service(META, action(port=80))["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (80, "http")


def test_of_an_argument_given_twice_ours_is_the_last() -> None:
    args = containers(deployment(args=["--max-loras=1", "--dtype", "bfloat16"]))["server"]["args"]
    assert args[:3] == ["--max-loras=1", "--dtype", "bfloat16"]
    assert args[args.index("--max-loras") + 1] == "2"


@pytest.mark.parametrize("flag", PROTECTED)
def test_protected_flags_are_found_in_every_spelling_the_server_takes(flag: str) -> None:
    spellings = [flag, f"{flag}=x", flag.replace("-", "_").replace("__", "--", 1), flag[:-2], flag.upper(),
                 f"--no-{flag[2:]}"]  # fmt: skip
    assert forbidden(("--dtype", "bfloat16", *spellings)) == spellings


def test_other_arguments_are_the_users_own() -> None:
    args = ("--max-model-len", "512", "--enforce-eager", "--model-impl=auto", "-tp", "2", "--", "host", "--lora-dtype")
    assert forbidden(args) == []


def test_replicas_that_the_user_leaves_out_are_not_applied() -> None:
    assert "replicas" not in deployment(port=8000)["spec"]
    assert deployment(replicas=0)["spec"]["replicas"] == 0


def test_no_request_is_lost_for_want_of_a_pod_and_no_drain_is_blocked() -> None:
    assert deployment()["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert serving.budget(META, action())["spec"]["maxUnavailable"] == 1


def test_a_pod_gets_the_secrets_of_its_containers_and_the_server_gets_none() -> None:
    spec = make.job_spec(gates={"baseline": {"endpoint": ENDPOINT}}, baseModel={"uri": "s3://models/base"})
    made = containers(serving.deployment(META, action(spec), OWN))
    given = {name: [e["prefix"] for e in c.get("envFrom", [])] for name, c in made.items()}
    assert given == {
        "fetch": ["RETUNE_BASE_MODEL_"],
        "server": [],
        "tap": ["RETUNE_ARTIFACTS_", "RETUNE_BASELINE_"],
    }
    assert not any("secret" in v for v in pod(serving.deployment(META, action(spec), OWN))["volumes"])


def test_claims_are_mounted_where_they_are_read_and_never_writable() -> None:
    spec = make.job_spec(baseModel={"uri": "pvc://models.v1/base"}, artifacts={"uri": "pvc://out/r"})
    made = serving.deployment(META, action(spec), OWN)
    mounts = {
        name: {m["mountPath"]: m["readOnly"] for m in c["volumeMounts"] if m["mountPath"].startswith("/pvc/")}
        for name, c in containers(made).items()
    }
    assert mounts == {"fetch": {"/pvc/models.v1": True}, "server": {}, "tap": {"/pvc/out": True}}
    names = {v["name"] for v in pod(made)["volumes"]}
    assert {m["name"] for c in containers(made).values() for m in c["volumeMounts"]} == names
    assert not any("." in name for name in names)


def test_the_tap_is_told_what_the_contract_says() -> None:
    made = containers(deployment(modelName="support-triage"))
    told = env(made["tap"])
    assert (told["RETUNE_NAMESPACE"], told["RETUNE_JOB"], told["RETUNE_JOB_UID"]) == ("support", "triage", "job-uid")
    assert (told["RETUNE_MODEL"], told["RETUNE_ARMS_KEY"]) == ("support-triage", serves.SIGNER.public)
    assert told["RETUNE_ARMS_FILE"] == "/etc/retune/arms/arms.json"
    fields = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in made["tap"]["env"] if "valueFrom" in e}
    assert fields == {"RETUNE_POD": "metadata.name", "RETUNE_POD_UID": "metadata.uid"}
    assert env(made["fetch"])["RETUNE_BASE_DIGEST"] == make.DIGEST


def test_a_uri_and_an_argument_are_data_not_references_to_variables() -> None:
    spec = make.job_spec(baseModel={"uri": "s3://models/$(RETUNE_BASE_MODEL_AWS_SECRET_ACCESS_KEY)"})
    made = containers(serving.deployment(META, action(spec, args=["--x=$(HOME)"]), OWN))
    assert "$(" not in env(made["fetch"])["RETUNE_BASE_URI"].replace("$$", "")
    assert made["server"]["args"][0] == "--x=$$(HOME)"


def test_users_labels_come_along_and_cannot_override_ours() -> None:
    ours = {"retune.dev/serving": "x", "app.kubernetes.io/managed-by": "me", "team": "a"}
    made = deployment(podMetadata={"labels": ours, "annotations": {"prometheus.io/scrape": "false"}})
    template = made["spec"]["template"]["metadata"]
    assert template["labels"] == {**made["metadata"]["labels"], "retune.dev/taps": META.name, "team": "a"}
    assert template["annotations"]["prometheus.io/scrape"] == "true"
    assert made["spec"]["selector"]["matchLabels"].items() <= template["labels"].items()


def test_a_refresh_rolls_the_pods_and_a_digest_alone_does_not() -> None:
    spec = SPECS["plain"]
    plain, other, refreshed = (
        serving.deployment(META, action(spec, digest, refresh), OWN)
        for digest, refresh in (("a", ""), ("b", ""), ("a", "now"))
    )
    assert plain["spec"]["template"] == other["spec"]["template"]
    assert plain["spec"]["template"] != refreshed["spec"]["template"]
    assert other["metadata"]["annotations"]["retune.dev/serving-digest"] == "b"
    assert refreshed["metadata"]["annotations"]["retune.dev/refreshed"] == "now"
