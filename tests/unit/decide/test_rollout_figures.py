"""What answers took and cost before a rollout and at its end, as the run's status and the report tell it."""

from typing import Any

import pytest
from tests.unit import make
from tests.unit.decide.rollout_world import RolloutWorld
from tests.unit.decide.test_deployment_mode import World as SeparateWorld

from retune.api import Prices, ServingFigures

SHORT: dict[str, Any] = {"steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}], "bake": "1m"}
EACH = 100  # requests at each of two pods in 5 s: 144,000 an hour
PRICES = Prices(currency="EUR", gpu_hour="3", cpu_hour="10")
POD_HOUR = (1 + 0.1) * 10  # a core for the server, a tenth for the tap


def world(serving: dict[str, Any] | None = None, **rollout: Any) -> RolloutWorld:
    """Two pods that have had 600 requests a minute each in the hour before, and answer in 1.2 and 2 s."""
    w = RolloutWorld({**SHORT, **rollout}, serving)
    w.spec = w.spec.model_copy(update={"prices": PRICES})
    began = make.at(0).timestamp()
    for tap, slow in zip(w.taps.values(), (1.2, 2.0), strict=True):
        tap.windows["errors"] = [(began - 15 * k, 0, 150) for k in range(1, 241)]
        tap.p95, tap.timed = {"response": slow, "candidate": slow / 2}, {"response": 1024, "candidate": 400}
    return w


def figures(w: RolloutWorld) -> tuple[ServingFigures, ServingFigures]:
    """Before and after; after is "nothing known" while there is none."""
    assert w.status.rollout is not None
    return w.status.rollout.before or ServingFigures(), w.status.rollout.after or ServingFigures()


def promoted(w: RolloutWorld) -> tuple[ServingFigures, ServingFigures]:
    w.until("Promoted", requests=EACH)
    return figures(w)


def test_before_is_stable_at_the_slowest_pod_and_after_the_candidate() -> None:
    before, after = promoted(world())
    assert (before.p95_seconds, after.p95_seconds) == (2.0, 1.0)


def test_a_thousand_answers_cost_what_the_pods_do_in_the_time_they_take() -> None:
    before, after = promoted(world())
    assert float(before.cost_per_1k or 0) == pytest.approx(2 * POD_HOUR / (2 * 36_000) * 1000, rel=0.02)
    assert float(after.cost_per_1k or 0) == pytest.approx(2 * POD_HOUR / 144_000 * 1000, rel=0.1)


def test_gpus_that_the_servers_ask_for_are_paid_for() -> None:
    resources = {"requests": {"cpu": "2", "nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "1"}}
    before, _ = promoted(world({"resources": resources}))
    assert float(before.cost_per_1k or 0) == pytest.approx(2 * (3 + 2.1 * 10) / 72_000 * 1000, rel=0.02)


def test_a_pause_does_not_make_answers_cheaper() -> None:
    w = world(manualApproval=True)
    w.until("Baking", requests=EACH)
    w.pass_time(30, EACH)
    w.paused = True
    w.pass_time(1800, EACH)
    w.paused = False
    w.annotations["retune.dev/promote"] = "ada"
    _, after = promoted(w)
    assert float(after.cost_per_1k or 0) == pytest.approx(2 * POD_HOUR / 144_000 * 1000, rel=0.1)


def test_a_tap_that_starts_again_counts_over_the_time_it_has_been_up() -> None:
    w = world(bake="10m")
    w.until("Baking", requests=EACH)
    w.pass_time(300, EACH)
    w.taps["a"].crash(w.now.timestamp())
    _, after = promoted(w)
    assert float(after.cost_per_1k or 0) == pytest.approx(2 * POD_HOUR / 144_000 * 1000, rel=0.1)


def test_of_a_handful_of_answers_nothing_is_told() -> None:
    w = world()
    for tap in w.taps.values():
        tap.windows["errors"] = [(make.at(-60).timestamp(), 0, 9)]
        tap.timed = {"response": 19, "candidate": 0}
    w.until("Canary", requests=0)
    before, after = figures(w)
    assert (before, after) == (ServingFigures(), ServingFigures())
    assert w.status.rollout is not None
    assert w.status.rollout.after is None, "nothing is promoted yet"


def test_without_prices_there_is_no_cost_rather_than_one_of_nothing() -> None:
    w = world()
    w.spec = w.spec.model_copy(update={"prices": Prices(currency="EUR", gpu_hour="0", cpu_hour="0")})
    before, after = promoted(w)
    assert (before.cost_per_1k, after.cost_per_1k) == (None, None)
    assert after.p95_seconds == 1.0


def test_what_a_model_elsewhere_costs_is_not_made_up() -> None:
    w = world({"initial": "Endpoint"})
    w.job = w.job.model_copy(update={"stable": None})
    endpoint = {"url": "http://gateway:8000/v1", "model": "large"}
    gates = w.spec.gates.model_copy(
        update={"baseline": type(w.spec.gates.baseline).model_validate({"endpoint": endpoint})}
    )
    w.spec = w.spec.model_copy(update={"gates": gates})
    before, after = promoted(w)
    assert (before.p95_seconds, before.cost_per_1k) == (2.0, None)
    assert after.cost_per_1k is not None, "the candidate serves here"


def test_a_candidate_that_is_taken_back_has_no_after() -> None:
    w = world()
    w.until("Canary", step=1, requests=EACH)
    w.bad_canary = 0.5
    w.until("RolledBack", requests=EACH)
    before, _ = figures(w)
    assert before.p95_seconds == 2.0
    assert w.status.rollout is not None
    assert w.status.rollout.after is None


def test_a_candidates_own_pods_go_with_its_rollout_and_are_not_in_the_price() -> None:
    w = SeparateWorld()
    w.spec = w.spec.model_copy(update={"prices": PRICES})
    w.until("Promoted", requests=EACH)
    _, after = figures(w)
    assert len(w.taps) == 2
    assert float(after.cost_per_1k or 0) == pytest.approx(POD_HOUR / 72_000 * 1000, rel=0.1), "all of 100 in 5 s"
