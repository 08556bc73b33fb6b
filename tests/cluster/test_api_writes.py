"""What one run costs the API server.

First of the tier by its name: the operator counts for the whole cluster, and what other tests leave behind (namespaces
whose pods no kubelet ends) goes on being written about.
"""

from tests.cluster.cluster import Cluster, Kubelet, eventually, spec, trained
from tests.cluster.conftest import Operator
from tests.cluster.test_lifecycle import to_training

# Every write of one run that is promoted, in a job that does not serve. More would cost every user's API server, fewer
# would leave something out: change this number only on purpose.
LIFECYCLE = {
    "apply finetunejobs/status": 4,  # a run is due; it is there; the base model is pinned; idle, with a stable model
    "create finetuneruns": 1,
    "apply finetuneruns/status": 4,  # Preflight; Queued; Training; Promoted
    "create configmaps": 2,  # the run's; the job's ledger, with the money set aside before the run exists
    "apply configmaps": 2,  # the ledger: a training pod runs; the run is closed. Once more if preflight costs anything
    "create jobs": 3,  # preflight; training; report
    "create events": 5,
}


def settled(operator: Operator) -> dict[str, int]:
    """The writes so far, once they have stopped growing for a moment in which every key was looked at again."""
    before = operator.writes()

    def same() -> bool:
        nonlocal before
        now = operator.writes()
        calm = now == before and "retune_queue_depth 0.0" in operator.get(operator.metrics, "/metrics")
        before = now
        return calm

    for _ in range(5):
        eventually(same)
    return before


def test_a_lifecycle_takes_exactly_so_many_writes(cluster: Cluster, kubelet: Kubelet, operator: Operator) -> None:
    before = settled(operator)
    cluster.apply_job("count", spec())
    run, pod = to_training(cluster, kubelet, "count")
    kubelet.ended(pod, 0, trained())
    cluster.phase(run, "Promoted")
    eventually(lambda: cluster.job("count")["status"]["phase"] == "Idle")

    def exactly(after: dict[str, int]) -> bool:
        assert {key: after[key] - before.get(key, 0) for key in after if after[key] != before.get(key, 0)} == LIFECYCLE
        return True

    # Nothing tells of a write that is still on its way: first all must have come, then no more may come.
    eventually(lambda: exactly(operator.writes()), 60)
    exactly(settled(operator))
