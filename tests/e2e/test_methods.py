"""Full fine-tunes, retraining against what serves, and money that runs out: with real pods, on the tiny model."""

import json
from decimal import Decimal

from tests.cluster.cluster import Cluster, Raw, condition, eventually
from tests.e2e.conftest import Bucket
from tests.e2e.tiny import spec, training

LONG = 600.0
ENDS = ("Promoted", "Rejected", "Declined", "Failed")


def ended(cluster: Cluster, run: str) -> Raw:
    """The run's status, once it has ended."""
    return eventually(lambda: s if (s := cluster.run(run)["status"]).get("phase") in ENDS else {}, LONG)


def test_a_full_fine_tune_is_published_whole_and_the_next_run_is_compared_with_it(
    cluster: Cluster, bucket: Bucket
) -> None:
    lenient = {"metric": "TokenF1", "minUplift": -1, "maxRegression": 1}
    wanted = spec(
        method={"type": "Full"},
        training=training(learningRate=0.00001),
        evaluation={
            "metrics": [{"name": "TokenF1"}, {"name": "Perplexity"}],
            "acceptance": lenient,
            "maxExamples": 40,
        },
    )
    cluster.apply_job("full", wanted)
    first = cluster.first_run("full")
    status = ended(cluster, first)
    assert status["phase"] == "Promoted", status["conditions"]
    assert "/model/" in status["artifact"]["uri"]
    names = bucket.list(status["artifact"]["uri"])
    assert {"config.json", "tokenizer.json"} < set(names)
    assert any(name.endswith(".safetensors") for name in names)
    assert status["metrics"]["Perplexity"]["candidate"] > 1

    eventually(lambda: cluster.job("full")["status"]["phase"] == "Idle")
    cluster.annotate("finetunejobs", "full", {"retune.dev/retry": "again"})
    second = ended(cluster, cluster.first_run("full", 2))
    assert second["phase"] == "Promoted", second["conditions"]
    compared = {(c["set"], c["against"]): c for c in second["comparisons"]}
    assert compared["Gold", "Stable"]["reference"] == status["scores"]["candidate"], (
        "it scores as it did when it was made"
    )
    assert second["look"]["number"] == 2
    assert second["scores"]["stable"] == status["scores"]["candidate"]


def test_a_run_that_has_used_up_its_money_stops_at_a_checkpoint(cluster: Cluster, bucket: Bucket) -> None:
    endless = training(maxSteps=1_000_000, checkpointEverySteps=100_000, timeout="1h")
    endless["resources"]["requests"]["cpu"] = "500m"
    # At the local price list's 0.04 an hour and core, about two minutes: training must have begun by then.
    cluster.apply_job("spent", spec(training=endless, budget={"perRun": "0.0008", "total": "1"}))
    run = cluster.first_run("spent")
    status = ended(cluster, run)
    assert status["phase"] == "Failed"
    said = condition({"status": status}, "Trained")
    assert said["reason"] == "BudgetExceeded"
    assert "spec.budget.perRun (0.0008" in said["message"]
    assert 0 < Decimal(status["cost"]["amount"]) <= Decimal("0.0008")
    kept = bucket.list(f"s3://models/e2e/{cluster.namespace}/spent/{run}/checkpoints")
    assert any(name.endswith("complete.json") for name in kept), "it stopped in good order"
    status = eventually(lambda: s if (s := cluster.run(run)["status"]).get("reportUri") else {}, LONG)
    report = json.loads(bucket.get(status["reportUri"].replace(".html", ".json")))
    assert report["verdict"]["reason"] == "BudgetExceeded"
