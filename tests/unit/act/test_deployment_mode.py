"""Mode Deployment carried out: a route with weights, pods of one arm, and what is not ours left alone."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.act.test_manifests import violations
from tests.unit.serves import JOB, META, SIGNER, Server, action

from retune.act import deploy, manifests, serving
from retune.act.serving import Own
from retune.api import HttpRoute
from retune.decide.actions import Alone, ApplyRoute, ApplyServing, CreateChild
from retune.decide.facts import Stage
from retune.kube.client import ApiError

OWN = Own("tap:1", "server:1", SIGNER.public)
ROUTE = HttpRoute.model_validate({"parentRefs": [{"name": "gate", "namespace": "infra"}], "hostnames": ["a.example"]})
Raw = dict[str, Any]


def told(weight: int) -> ApplyRoute:
    return ApplyRoute(ROUTE, 8000, weight, "sha256:r")


def alone(canary: bool) -> ApplyServing:
    made = action()
    template = replace(made.template, base_digest="", max_rank=0, alone=Alone(canary, "triage-abc", make.ADAPTER))
    return ApplyServing(template, "sha256:d1")


class Kept(Server):
    """A server that deletes, and may lack a kind."""

    missing: str = ""

    def __init__(self) -> None:
        super().__init__()
        self.gone: list[str] = []

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str = "") -> Raw:
        if resource == self.missing:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        return await super().apply(resource, namespace, body, subresource)

    async def delete(self, resource: str, namespace: str, name: str, uid: str) -> None:
        assert self.objects.pop((resource, name))["metadata"]["uid"] == uid
        self.gone.append(resource)


class Noted:
    def deployment(self, raw: Raw) -> None:
        self.last = raw

    def evidence(self, namespace: str, run: str, raw: Raw | None) -> None:
        raise AssertionError


def env(container: Raw) -> dict[str, str]:
    return {e["name"]: e["value"] for e in container["env"] if "value" in e}


def test_the_route_splits_between_two_services_and_names_none_that_gets_nothing() -> None:
    made = serving.http_route(META, told(10))
    assert made["spec"] == {
        "parentRefs": [{"name": "gate", "namespace": "infra"}],
        "hostnames": ["a.example"],
        "rules": [
            {
                "backendRefs": [
                    {"name": "triage", "port": 8000, "weight": 90},
                    {"name": "triage-canary", "port": 8000, "weight": 10},
                ]
            }
        ],
    }
    assert serving.http_route(META, told(0))["spec"]["rules"][0]["backendRefs"] == [
        {"name": "triage", "port": 8000, "weight": 100}
    ]


def test_pods_of_both_arms_are_told_apart_everywhere() -> None:
    names = set()
    for canary in (False, True):
        made = alone(canary)
        objects = [serving.deployment(META, made, OWN), serving.service(META, made), serving.budget(META, made)]
        selectors = [
            objects[0]["spec"]["selector"]["matchLabels"],
            objects[1]["spec"]["selector"],
            objects[2]["spec"]["selector"]["matchLabels"],
        ]
        arm = "canary" if canary else "stable"
        assert selectors == [{"retune.dev/job": "triage", "retune.dev/serving": arm}] * 3
        assert objects[0]["spec"]["template"]["metadata"]["labels"]["retune.dev/serving"] == arm
        names |= {o["metadata"]["name"] for o in objects}
    assert names == {"triage", "triage-canary"}


def test_a_pod_of_one_arm_serves_a_checked_model_by_its_own_name_and_takes_no_adapters() -> None:
    pod = serving.deployment(META, alone(canary=True), OWN)["spec"]["template"]["spec"]
    assert violations(pod) == []
    fetch, server = pod["initContainers"]
    (tap,) = pod["containers"]
    assert env(fetch)["RETUNE_BASE_CONTENT"] == make.ADAPTER
    assert server["args"][server["args"].index("--served-model-name") + 1] == "triage-abc"
    assert not any("lora" in word.lower() for word in [*server["args"], *env(server)])
    seen = env(tap)
    assert (seen["RETUNE_ARM"], seen["RETUNE_SERVES"]) == ("canary", "triage-abc")
    assert seen["RETUNE_SERVES_DIGEST"] == make.ADAPTER


def test_taps_of_both_arms_find_each_other_and_no_other_pods_of_the_job() -> None:
    selector = serving.peers(META)["spec"]["selector"]
    for canary in (False, True):
        pods = serving.deployment(META, alone(canary), OWN)["spec"]["template"]
        assert selector.items() <= pods["metadata"]["labels"].items()
        assert env(pods["spec"]["containers"][0])["RETUNE_PEERS"] == f"triage-taps.{META.namespace}.svc"
    others = manifests.child(make.run_facts(), CreateChild(Stage.PREFLIGHT, 1))["spec"]["template"]["metadata"]
    assert not selector.items() <= others["labels"].items()


async def test_of_a_job_that_serves_no_longer_nothing_is_left_and_the_route_goes_first() -> None:
    server = Kept()
    for canary in (False, True):
        await deploy.apply(server, Noted(), META, alone(canary), OWN)  # type: ignore[arg-type]
    await deploy.apply_route(server, META, told(10))  # type: ignore[arg-type]
    await deploy.remove(server, META)  # type: ignore[arg-type]
    assert server.objects == {}
    assert server.gone[0] == "httproutes", "a Gateway answers 500 for a route whose Service is gone"
    assert server.gone[-1] == "deployments", "while it is there, the rest is asked for again"


async def test_a_cluster_without_the_gateway_api_is_told_what_to_install() -> None:
    server = Kept()
    server.missing = "httproutes"
    with pytest.raises(ApiError, match="Gateway API") as caught:
        await deploy.apply_route(server, META, told(0))  # type: ignore[arg-type]
    assert (caught.value.code, caught.value.reason) == (422, "NoGatewayApi")


async def test_only_the_jobs_own_canary_is_removed() -> None:
    server = Kept()
    await deploy.apply(server, Noted(), META, alone(canary=False), OWN)  # type: ignore[arg-type]
    await deploy.apply(server, Noted(), META, alone(canary=True), OWN)  # type: ignore[arg-type]
    server.objects["services", "triage-canary"]["metadata"]["ownerReferences"] = []
    await deploy.remove_canary(server, META)  # type: ignore[arg-type]
    left = {name for resource, name in server.objects if resource == "deployments"}
    assert left == {JOB}
    assert ("services", "triage-canary") in server.objects, "somebody else's"
