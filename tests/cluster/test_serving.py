"""What serves, against a real API server with just the chart's rights; and the poller against the real Prometheus."""

import asyncio
import itertools
import signal
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import pytest
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import ApiClient
from kubernetes.client import ApiException

import kubernetes
from retune.act.arms import Documents, Push
from retune.act.carry_out import Hands, Serves
from retune.act.serving import Own
from retune.api import StopLoss
from retune.decide.actions import JobDecision, RunDecision, WriteArms, WriteMemory
from retune.decide.facts import JobFacts, Meta
from retune.decide.readings import QueryReading
from retune.kube.bucket import TokenBucket
from retune.kube.client import ApiError, Client
from retune.main.app import kopf_settings
from retune.main.metrics import Metrics
from retune.observe.cache import Caches
from retune.observe.facts import Observer
from retune.observe.kept import Kept
from retune.observe.prometheus import Prometheus
from tests.cluster.apiserver import ApiServer
from tests.cluster.cluster import Cluster, Kubelet, condition, eventually, spec
from tests.cluster.conftest import Operator as Process
from tests.cluster.test_lifecycle import to_training
from tests.unit import make
from tests.unit.serves import SIGNER, action, arms

Raw = dict[str, Any]
T = TypeVar("T")
_numbers = itertools.count(1)
OWN = Own("registry.example/tap:1", "registry.example/server:1", SIGNER.public)


@pytest.fixture
def place(api: kubernetes.client.ApiClient, chart: Raw) -> Iterator[Cluster]:
    """A namespace that enforces `restricted`, where no operator has anything to do for the job."""
    name = f"serving-{next(_numbers)}"
    core = kubernetes.client.CoreV1Api(api)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": name, "labels": labels}})
    made = Cluster(api, name)
    made.apply_job("triage", {**spec(serving={}), "suspend": True})
    yield made
    core.delete_namespace(name)


class Operator:
    """Hands and caches of one life of the operator, with the rights of the chart's ServiceAccount."""

    def __init__(self, place: Cluster, api: ApiClient) -> None:
        metrics = Metrics()
        self.place, self.caches = place, Caches.empty(SIGNER)
        self.client = Client(api, TokenBucket(1000, 1000), lambda: True, metrics)
        documents = Documents(self.client, self.caches, SIGNER)
        push = Push(aiohttp.ClientSession(), metrics.rollouts)
        self.push, self.hands = push, Hands(self.client, self.caches, "none", Serves(documents, push, OWN))
        job = place.job("triage")
        assert job is not None
        self.caches.job(job)

    async def begin(self) -> None:
        """Know what a new leader knows."""
        await Kept(self.caches, self.client, (self.place.namespace,)).load()

    def facts(self) -> JobFacts:
        found = Observer(self.caches, None, make.POLICY).job(self.place.namespace, "triage")  # type: ignore[arg-type]
        assert found is not None
        return found

    async def does(self, *actions: Any, facts: JobFacts | None = None) -> None:
        """Carry out, again where the operator of other tests was quicker with the job's status."""
        for _ in range(20):
            seen = facts or self.facts()
            try:
                return await self.hands.job(seen, JobDecision(seen.status, actions))
            except ApiError as error:
                if error.code != 409 or "/finetunejobs/" not in str(error) or facts is not None:
                    raise
                self.caches.job(self.place.job("triage"))  # type: ignore[arg-type]
        raise AssertionError("the job was never at rest")


@pytest.fixture
def operate(place: Cluster, chart: Raw) -> Callable[[Callable[[Operator], Coroutine[Any, Any, T]]], T]:
    """Runs something as a new life of the operator."""

    def run(what: Callable[[Operator], Coroutine[Any, Any, T]]) -> T:
        async def live() -> T:
            await kube_config.load_kube_config(config_file=str(chart["kubeconfig"]))
            async with ApiClient() as api:
                operator = Operator(place, api)
                try:
                    await operator.begin()
                    return await what(operator)
                finally:
                    await operator.push._session.close()

        return asyncio.run(live())

    return run


def deployment(place: Cluster) -> Any:
    return kubernetes.client.AppsV1Api(place.api).read_namespaced_deployment("triage", place.namespace)


def document(place: Cluster) -> Any:
    found = place.core.read_namespaced_config_map("triage-arms", place.namespace)
    return SIGNER.opened(found.data["arms.json"])


def test_what_serves_is_admitted_where_restricted_is_enforced(place: Cluster, operate: Any) -> None:
    full = make.job_spec(baseModel={"uri": "pvc://models/base"})
    operate(lambda operator: operator.does(action(full, nodeSelector={"a": "b"}, args=["--dtype", "auto"])))
    pods = eventually(lambda: place.core.list_namespaced_pod(place.namespace).items, 30)
    assert {c.name for c in pods[0].spec.init_containers} == {"fetch", "server"}, "no ReplicaSet could make it else"
    service = place.core.read_namespaced_service("triage", place.namespace)
    assert service.spec.selector.items() <= pods[0].metadata.labels.items()
    budgets = kubernetes.client.PolicyV1Api(place.api).list_namespaced_pod_disruption_budget(place.namespace).items
    assert [b.spec.max_unavailable for b in budgets] == [1]


def test_an_autoscalers_replicas_are_left_alone_and_a_users_are_not(place: Cluster, operate: Any) -> None:
    operate(lambda operator: operator.does(action()))
    assert deployment(place).spec.replicas == 1
    apps = kubernetes.client.AppsV1Api(place.api)
    apps.patch_namespaced_deployment_scale("triage", place.namespace, {"spec": {"replicas": 5}})
    operate(lambda operator: operator.does(action(digest="sha256:d2", args=["--dtype", "auto"])))
    assert deployment(place).spec.replicas == 5
    operate(lambda operator: operator.does(action(digest="sha256:d3", replicas=2)))
    assert deployment(place).spec.replicas == 2
    operate(lambda operator: operator.does(action(digest="sha256:d4", args=["--dtype", "auto"])))
    assert deployment(place).spec.replicas == 2, "handing them to an autoscaler stops no pod"
    apps.patch_namespaced_deployment_scale("triage", place.namespace, {"spec": {"replicas": 6}})
    operate(lambda operator: operator.does(action(digest="sha256:d5", args=["--dtype", "half"])))
    assert deployment(place).spec.replicas == 6


def test_a_new_life_of_the_operator_does_not_touch_what_runs(place: Cluster, operate: Any) -> None:
    operate(lambda operator: operator.does(action(args=["--dtype", "auto"])))
    before = eventually(lambda: d if (d := deployment(place)).status.observed_generation else None)
    operate(lambda operator: operator.does(action(args=["--dtype", "auto"])))
    assert deployment(place).metadata.generation == before.metadata.generation
    sets = kubernetes.client.AppsV1Api(place.api).list_namespaced_replica_set(place.namespace).items
    assert len(sets) == 1, "no pod is replaced"


def test_somebody_elses_service_is_not_taken_over(place: Cluster, operate: Any) -> None:
    theirs = {"metadata": {"name": "triage"}, "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}}}
    place.core.create_namespaced_service(place.namespace, theirs)
    with pytest.raises(ApiError, match="does not belong"):
        operate(lambda operator: operator.does(action()))
    assert place.core.read_namespaced_service("triage", place.namespace).spec.selector == {"app": "theirs"}
    with pytest.raises(ApiException):
        deployment(place)
    assert "Service" in str(place.job("triage")["status"]["conditions"]), "and the job says so"  # type: ignore[index]


def test_documents_rise_over_lives_and_none_is_overwritten_unseen(place: Cluster, operate: Any) -> None:
    operate(lambda operator: operator.does(WriteArms(arms_of(place, 10))))

    async def overtaken(operator: Operator) -> None:
        seen = operator.facts()
        assert seen.serving.arms is not None
        assert seen.serving.arms.generation == 1, "it knows what the life before has written"
        place.core.patch_namespaced_config_map(
            "triage-arms",
            place.namespace,
            {"data": {"arms.json": SIGNER.sealed(replace(arms_of(place, 50), generation=8))}},
        )
        with pytest.raises(ApiError) as caught:
            await operator.does(WriteArms(arms_of(place, 0)))
        assert (caught.value.code, document(place).generation) == (409, 8)
        await operator.does(WriteArms(arms_of(place, 0)))

    operate(overtaken)
    assert (document(place).generation, document(place).models["triage"].weight) == (9, 0)


def test_a_document_that_was_deleted_is_written_anew(place: Cluster, operate: Any) -> None:
    operate(lambda operator: operator.does(WriteArms(arms_of(place, 10))))

    async def lost(operator: Operator) -> None:
        place.core.delete_namespaced_config_map("triage-arms", place.namespace)
        await operator.does(WriteArms(arms_of(place, 0)))

    operate(lost)
    assert (document(place).generation, document(place).models["triage"].weight) == (2, 0), "above what taps have"


def test_everything_goes_with_its_job(place: Cluster, operate: Any) -> None:
    operate(lambda operator: operator.does(action(), WriteArms(arms_of(place, 0))))
    place.delete_job("triage")
    apps = kubernetes.client.AppsV1Api(place.api)
    eventually(lambda: not apps.list_namespaced_deployment(place.namespace).items, 60)
    selector = "retune.dev/kept"
    eventually(lambda: not place.core.list_namespaced_config_map(place.namespace, label_selector=selector).items, 60)
    eventually(lambda: not place.core.list_namespaced_service(place.namespace).items, 60)


def test_evidence_is_kept_for_the_next_life(place: Cluster, operate: Any, api: kubernetes.client.ApiClient) -> None:
    body = {
        "apiVersion": "retune.dev/v1alpha1",
        "kind": "FineTuneRun",
        "metadata": {"name": "triage-1"},
        "spec": make.run_facts().spec.model_dump(by_alias=True, exclude_none=True, mode="json"),
    }
    custom = kubernetes.client.CustomObjectsApi(api)
    run = custom.create_namespaced_custom_object("retune.dev", "v1alpha1", place.namespace, "finetuneruns", body)
    facts = make.run_facts()
    facts = replace(facts, meta=Meta(place.namespace, "triage-1", run["metadata"]["uid"]))

    async def keep(operator: Operator) -> None:
        for text in ("first", "second"):
            await operator.hands.run(facts, RunDecision(facts.status, (WriteMemory(text),)))

    async def recall(operator: Operator) -> str:
        operator.caches.run(run)
        await operator.begin()
        return operator.caches.memories[place.namespace, "triage-1"]

    operate(keep)
    assert operate(recall) == "second"


def test_the_watch_asks_for_what_the_manifests_carry(place: Cluster, operate: Any) -> None:
    operate(lambda operator: operator.does(action()))
    selectors = kopf_settings().watching.label_selectors
    apps = kubernetes.client.AppsV1Api(place.api)
    found = apps.list_namespaced_deployment(place.namespace, label_selector=selectors["deployments"]).items
    assert [d.metadata.name for d in found] == ["triage"]
    pods = lambda: place.core.list_namespaced_pod(place.namespace, label_selector=selectors["pods"]).items  # noqa: E731
    assert eventually(pods, 30)


def test_a_jobs_deployment_follows_its_spec_and_outlives_the_operator(
    cluster: Cluster, kubelet: Kubelet, operator: Process
) -> None:
    cluster.apply_job("triage", spec(serving={"replicas": 1, "args": ["--dtype", "auto"]}))
    to_training(cluster, kubelet, "triage")
    first = eventually(lambda: deployment(cluster), 30)
    envelope = eventually(lambda: cluster.core.read_namespaced_config_map("triage-arms", cluster.namespace).data)
    operator.kill(signal.SIGKILL)
    operator.start()
    eventually(operator.leads, 60)
    eventually(lambda: 'retune_reconciles_total{kind="FineTuneJob"' in operator.get(operator.metrics, "/metrics"), 30)
    cluster.apply_job("triage", spec(serving={"replicas": 1, "args": ["--dtype", "bfloat16"]}))
    second = eventually(lambda: d if "bfloat16" in args(d := deployment(cluster)) else None, 30)
    assert second.metadata.generation == first.metadata.generation + 1, "one change, of the user's, and none before"
    assert cluster.core.read_namespaced_config_map("triage-arms", cluster.namespace).data == envelope


def test_a_service_of_the_same_name_is_said_and_left_alone(
    cluster: Cluster, kubelet: Kubelet, operator: Process
) -> None:
    theirs = {"metadata": {"name": "triage"}, "spec": {"ports": [{"port": 1}], "selector": {"app": "theirs"}}}
    cluster.core.create_namespaced_service(cluster.namespace, theirs)
    cluster.apply_job("triage", spec(serving={}))
    to_training(cluster, kubelet, "triage")
    said = eventually(lambda: condition(cluster.job("triage") or {}, "ServingApplied"), 30)
    assert (said["status"], "give the job another name" in said["message"]) == ("False", True)
    cluster.core.delete_namespaced_service("triage", cluster.namespace)
    eventually(lambda: condition(cluster.job("triage") or {}, "ServingApplied")["status"] == "True", 90)


def args(found: Any) -> list[str]:
    """What the model server is started with."""
    server = next(c for c in found.spec.template.spec.init_containers if c.name == "server")
    return list(server.args)


def arms_of(place: Cluster, weight: int) -> Any:
    """The document of this namespace's job."""
    job = place.job("triage")
    assert job is not None
    return replace(arms(weight), namespace=place.namespace, uid=job["metadata"]["uid"])


# ------------------------------------------------------------------------------------------------------ real Prometheus


class Counted(list[str]):
    def query(self, result: str) -> None:
        self.append(result)


@pytest.fixture(scope="module")
def prometheus() -> str:
    """The address of the local cluster's Prometheus."""
    from hack.cluster import backend, infra
    from hack.cluster.process import ClusterError

    try:
        found = backend.choose()
        if not Path(found.kubeconfig).exists():
            pytest.skip("no local cluster with a Prometheus: run `make cluster`")
        return infra.endpoint(found, "prometheus")
    except ClusterError as error:
        pytest.skip(f"no local cluster with a Prometheus: {error}")


def asked(url: str, query: str, ahead: float = 0.0) -> QueryReading:
    """What the poller says of the canary, evaluated so many seconds ahead."""

    async def ask() -> QueryReading:
        async with aiohttp.ClientSession() as session:
            poller = Prometheus(url, session, Counted(), lambda: time.time() + ahead)
            stop_loss = StopLoss(name="own", bad=query, total='sum(prometheus_http_requests_total{code!="$arm"})')
            _, canary = await poller.read((stop_loss,))
            await poller.close()
            return canary

    return asyncio.run(ask())


def test_a_counter_of_the_real_prometheus_is_read(prometheus: str) -> None:
    found = eventually(
        lambda: r if (r := asked(prometheus, 'sum(prometheus_http_requests_total{code!="$arm"})')).bad else None, 60
    )
    assert (found.error, found.bad) == ("", found.total), "both at the same instant"
    assert abs(found.at - time.time()) < 60


def test_a_counter_that_never_was_has_no_value(prometheus: str) -> None:
    found = asked(prometheus, 'nobody_ever_counted_this_total{model="$arm"}')
    assert (found.bad, found.error) == (None, "")


def test_a_counter_whose_samples_have_stopped_is_stale_though_prometheus_still_shows_it(prometheus: str) -> None:
    found = asked(prometheus, 'sum(prometheus_http_requests_total{code!="$arm"})', ahead=200)
    assert found.error.startswith("Invalid: ")
    assert "no new sample" in found.error


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ('prometheus_http_requests_total{code!="$arm"}', "sum() them"),
        ('sum(x{a="$arm"}', "refuses"),
        ('sum(up{a!="$arm"}) / 0 * 0', "is nan"),
        ('scalar(up{a="$arm"})', "scalar"),
    ],
)
def test_a_query_that_is_no_counter_is_refused_with_the_reason(prometheus: str, query: str, words: str) -> None:
    found = asked(prometheus, query)
    assert found.error.startswith("Invalid: ")
    assert words in found.error


def test_the_chart_brings_a_key_and_an_upgrade_keeps_it(apiserver: ApiServer, chart: Raw) -> None:
    from tests.cluster.conftest import SYSTEM, installed

    def key() -> str:
        return apiserver.run("get", "secret", "retune-signing", "-n", SYSTEM, "-o", "jsonpath={.data}").stdout

    before = key()
    installed(apiserver, Path(chart["kubeconfig"]).parent)
    assert before == key() != ""
