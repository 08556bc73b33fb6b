"""Every gate at once, on real pods: personal data, held-out examples, a prompted model that is asked, a signature."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hack.cluster import images

from retune.decide.budget import shown
from tests.cluster.cluster import Cluster, Raw, condition, eventually
from tests.e2e.conftest import Bucket
from tests.e2e.tiny import spec, training

LONG = 300.0
TEAMS = ("billing", "delivery", "returns")
EMAIL, CARD = "maria.schmidt@example.org", "4111 1111 1111 1111"
# Answers every question with the same team, as OpenAI's API would; one in ten requests is told to come back later.
ENDPOINT = """
import http.server, json
class Handler(http.server.BaseHTTPRequestHandler):
    asked = 0
    def do_POST(self):
        Handler.asked += 1
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        late = Handler.asked % 10 == 3
        answer = {} if late else {
            "choices": [{"message": {"role": "assistant", "content": "billing"}}],
            "usage": {"prompt_tokens": 20, "completion_tokens": 2},
        }
        text = json.dumps(answer).encode()
        self.send_response(429 if late else 200)
        if late:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
http.server.ThreadingHTTPServer(("", 8000), Handler).serve_forever()
"""


def rows(count: int, first: int = 0) -> list[Raw]:
    """Requests that differ enough not to be copies; every tenth holds personal data; the newest are a day old."""
    newest = datetime(2026, 11, 1, tzinfo=UTC)
    words = ("parcel", "invoice", "shoes", "voucher", "account", "courier", "size", "payment", "label", "refund")
    made = []
    for n in range(first, first + count):
        picked = " ".join(words[(n * step + n // step) % len(words)] for step in (3, 7, 11, 13, 17))
        secret = f" Write to {EMAIL} or charge {CARD}." if n % 10 == 0 else ""
        text = f"Request {n * 7919 % 100003}: {picked} number {n * 104729 % 1000003}.{secret}"
        at = newest - timedelta(days=(n * 37) % 60)
        made.append({"prompt": text, "completion": f" {TEAMS[n % 3]}", "createdAt": at.isoformat()})
    return made


def put(bucket: Bucket, uri: str, found: list[Raw]) -> None:
    bucket.put(uri, "".join(json.dumps(r) + "\n" for r in found).encode())


@pytest.fixture
def prompted(cluster: Cluster) -> str:
    """A prompted model behind a Service: its URL."""
    container = {
        "name": "llm",
        "image": images.noted()["trainer"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", ENDPOINT],
        "readinessProbe": {"tcpSocket": {"port": 8000}, "periodSeconds": 1},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {"metadata": {"name": "llm", "labels": {"app": "llm"}}, "spec": {"containers": [container]}}
    cluster.core.create_namespaced_pod(cluster.namespace, pod)
    service = {"metadata": {"name": "llm"}, "spec": {"selector": {"app": "llm"}, "ports": [{"port": 8000}]}}
    cluster.core.create_namespaced_service(cluster.namespace, service)

    def ready() -> bool:
        status = cluster.core.read_namespaced_pod("llm", cluster.namespace).status
        return any(c.type == "Ready" and c.status == "True" for c in status.conditions or [])

    eventually(ready, 60)
    return f"http://llm.{cluster.namespace}.svc:8000/v1"


def gated(prompted: str, **gates: Raw) -> Raw:
    """A job on the tiny model with all gates on."""
    return spec(
        dataset={
            "train": {"uri": "s3://data/gates/train.jsonl"},
            "gold": {"uri": "s3://data/gates/gold.jsonl"},
            "timeField": "createdAt",
            "holdOut": {"fraction": 0.3, "newest": "30d"},
        },
        training=training(),
        gates={
            "data": {"minExamples": 100},
            "privacy": {"redact": True},
            "baseline": {"endpoint": {"url": prompted, "model": "base"}, "goodEnough": 0.9},
            "payback": {
                "monthlyRequests": 10000,
                "baselineCostPer1k": 30,
                "tunedCostPer1k": "7.50",
                "oneOffCost": 3500,
            },
            "approvals": {"required": [{"name": "privacy"}]},
            **gates,
        },
        budget={"currency": "EUR", "total": 10, "perRun": 5},
    )


def test_a_run_goes_through_every_gate_and_trains_on_the_scrubbed_set(
    cluster: Cluster, bucket: Bucket, prompted: str
) -> None:
    put(bucket, "s3://data/gates/train.jsonl", rows(300))
    put(bucket, "s3://data/gates/gold.jsonl", rows(60, first=1000))
    cluster.apply_job("gated", gated(prompted))
    run = cluster.first_run("gated")
    waiting = cluster.phase(run, "AwaitingApproval", LONG)["status"]
    gates = {g["name"]: g for g in waiting["gates"]}
    said = {name: g["verdict"] for name, g in gates.items()}
    assert said["approvals"] == "Waiting"
    assert {said[name] for name in ("leakage", "privacy", "baseline", "payback", "budget")} == {"Passed"}, gates
    assert said["data"] in ("Passed", "Warned"), gates["data"]
    assert gates["privacy"]["values"]["EMAIL_ADDRESS"] >= 20
    assert gates["baseline"]["values"]["n"] == 40, "as many as evaluation.maxExamples"
    assert 0.2 < gates["baseline"]["values"]["score"] < 0.5
    assert gates["payback"]["values"]["months"] == pytest.approx(15.56, abs=0.01)
    assert not [name for name in cluster.jobs(run) if name.startswith("train")], "no training before everybody agreed"
    job = eventually(lambda: j if (j := cluster.job("gated"))["status"]["phase"] == "Waiting" else {})
    assert "approval" in condition(job, "Progressing")["message"]

    me = cluster.whoami()
    cluster.annotate("finetuneruns", run, {"approval.retune.dev/privacy": me})
    ends = ("Promoted", "Rejected", "Failed", "Declined")
    status = eventually(lambda: s if (s := cluster.run(run)["status"])["phase"] in ends else {}, LONG)
    assert status["phase"] == "Promoted", status["conditions"]
    assert [(a["name"], a["by"]) for a in status["approvals"]] == [("privacy", me)]
    fresh = {(c["set"], c["against"]): c for c in status["comparisons"]}["Fresh", "Base"]
    assert fresh["n"] == min(status["resolved"]["prepared"]["fresh"]["examples"], 40)

    status = eventually(lambda: s if (s := cluster.run(run)["status"]).get("reportUri") else {}, LONG)
    folder = status["reportUri"].rpartition("/")[0]
    prepared = bucket.get(f"{folder}/{status['resolved']['prepared']['train']['path']}").decode()
    assert "<EMAIL_ADDRESS>" in prepared
    for name in bucket.list(folder):
        if "adapter" in name or "checkpoints" in name:
            continue
        text = bucket.get(f"{folder}/{name}").decode()
        assert EMAIL not in text, name
        assert CARD not in text, name
    held_out = 300 - status["resolved"]["prepared"]["train"]["examples"]
    assert held_out == status["resolved"]["prepared"]["fresh"]["examples"] > 0

    def paid() -> bool:
        """Every second of its pods at the price that the run holds; what the job has spent is just that."""
        found = cluster.run(run)
        cost, price = found["status"]["cost"], Decimal(found["spec"]["prices"]["cpuHour"])
        assert cost["cpuSeconds"] > 0
        assert price > 0
        exact = Decimal(str(cost["cpuSeconds"])) * price / 3600
        assert abs(Decimal(cost["amount"]) - exact) <= Decimal("0.00005"), cost
        assert cluster.job("gated")["status"]["budget"]["spent"] == shown(Decimal(cost["amount"]))
        return True

    eventually(paid, LONG)


def test_a_prompted_model_that_is_good_enough_declines_before_any_training(
    cluster: Cluster, bucket: Bucket, prompted: str
) -> None:
    put(bucket, "s3://data/gates/easy.jsonl", [{**r, "completion": "billing"} for r in rows(60, first=1000)])
    wanted = gated(prompted, approvals={"mode": "Off"})
    wanted["dataset"] = {"train": {"uri": "s3://data/gates/train.jsonl"}, "gold": {"uri": "s3://data/gates/easy.jsonl"}}
    put(bucket, "s3://data/gates/train.jsonl", rows(300))
    cluster.apply_job("good-enough", wanted)
    run = cluster.first_run("good-enough")
    found = cluster.phase(run, "Declined", LONG)
    assert condition(found, "GatesPassed")["reason"] == "BaselineGateFailed"
    assert "ExactMatch 1.000" in condition(found, "GatesPassed")["message"]
    status = eventually(lambda: s if (s := cluster.run(run)["status"]).get("reportUri") else {}, LONG)
    page = bucket.get(status["reportUri"]).decode()
    assert "Declined" in page
    eventually(lambda: set(cluster.jobs(run)) == {"preflight-1", "report-1"})
