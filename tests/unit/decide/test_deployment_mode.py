"""Mode Deployment: stable and candidate have pods of their own, a Gateway splits, and a rollback is a weight of 0."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.decide.rollout_world import MODEL, OLD, STABLE, Counter, RolloutWorld, Tap

from retune.api import DriftBuiltin, FineTuneJobStatus, Method, PinnedBaseModel, StableModel
from retune.decide.actions import ApplyRoute, ApplyServing, CreateRun, RemoveCanary
from retune.decide.arms import ArmKind, Split
from retune.decide.facts import JobFacts, RunFacts
from retune.decide.job import decide_job
from retune.decide.readings import ArmState, RouteSeen, Serving, ServingPod, TapReading

SERVING: dict[str, Any] = {"mode": "Deployment", "httpRoute": {"parentRefs": [{"name": "gate"}]}}
SHORT: dict[str, Any] = {"steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}], "bake": "1m"}
PINNED = PinnedBaseModel(uri="s3://models/tiny", digest=make.DIGEST)
WHOLE = STABLE.model_copy(update={"uri": "s3://models/retune/support/triage/0/model/dddddddddddd"})


class PodTap(Tap):
    """The tap of a pod that is one arm. `serves`: the digest of its own model."""

    canary = False
    serves = OLD

    def serve(self, requests: int, bad_stable: float, bad_canary: float, now: float) -> None:
        arm, split = ("canary" if self.canary else "stable"), self.split
        stable, canary = self.routed.get(split.stratum, (0, 0))
        self.routed[split.stratum] = (stable, canary + requests) if self.canary else (stable + requests, canary)
        for edge in split.edges:
            bad = bad_canary if self.serves == make.ADAPTER else bad_stable
            spot = self.counters.setdefault((edge.name, arm, split.stratum), Counter())
            spot.add(round(requests * bad) if edge.builtin == "Errors" else 0, requests)

    @property
    def held(self) -> str:
        return ""

    def reading(self, now: float, oldest: float = 0.0) -> TapReading:
        own = ArmState("own", self.serves, "Ready")
        return replace(super().reading(now, oldest), arms={"canary" if self.canary else "stable": own})


class World(RolloutWorld):
    """A cluster with a Gateway that follows the route at once, unless it is told not to."""

    def __init__(self, **rollout: Any) -> None:
        super().__init__({**SHORT, **rollout})
        spec = make.job_spec(serving=SERVING, rollout={**SHORT, **rollout}, method={"type": "Full"})
        self.job_spec, self.spec = spec, make.run_spec(spec=spec)
        self.job = self.job.model_copy(update={"stable": WHOLE})
        self.route: RouteSeen | None = RouteSeen("", 0)
        self.refused = ""
        self.canary = self.deployed = ""
        self.rolled_to = OLD
        self.rolls = True
        self.taps = {"a": self.tap("a", OLD)}
        self.routes: list[int] = []
        self.order: list[str] = []
        self.waits: dict[str, tuple[str, str]] = {}
        self.signals: frozenset[DriftBuiltin] = frozenset()

    @property
    def canary_met(self) -> bool:
        return any(self.routes)

    def tap(self, name: str, serves: str, canary: bool = False) -> PodTap:
        made = PodTap(name, make.at(self.time).timestamp())
        made.serves, made.canary, made.document = serves, canary, self.arms
        return made

    def pods(self) -> tuple[ServingPod, ...]:
        canaries = {name for name, tap in self.taps.items() if getattr(tap, "canary", False)}
        return tuple(
            replace(p, canary=p.name in canaries, waiting=None if p.ready else self.waits.get(p.name))
            for p in super().pods()
        )

    def serving(self) -> Serving:
        route = replace(self.route, refused=self.refused) if self.route is not None else None
        return replace(super().serving(), canary=self.canary, route=route, deployed=self.deployed)

    def facts(self) -> RunFacts:
        return replace(super().facts(), signals=self.signals)

    def job_facts(self) -> JobFacts:
        status = self.job.model_copy(update={"stable": WHOLE})
        facts = make.job_facts(self.job_spec, status, (self.facts(),))
        return replace(facts, serving=self.serving(), now=self.now)

    def _act(self, action: Any) -> None:
        self.order.append(type(action).__name__)
        match action:
            case ApplyRoute():
                self.route = RouteSeen(action.digest, action.weight)
                self.routes.append(action.weight)
            case ApplyServing(template, digest) if template.alone is not None and template.alone.canary:
                self.canary = digest
                self.taps["c"] = self.tap("c", template.alone.digest, canary=True)
            case ApplyServing(template, digest):
                assert template.alone is not None
                self.deployed = digest
                if template.alone.digest != self.rolled_to and self.rolls:
                    self.rolled_to = template.alone.digest
                    self.taps["a2"] = self.tap("a2", template.alone.digest)
                    del self.taps["a"]
            case RemoveCanary():
                self.canary = ""
                del self.taps["c"]
            case _:
                super()._act(action)

    def look_at_job(self) -> None:
        for action in decide_job(self.job_facts()).actions:
            if isinstance(action, ApplyServing | ApplyRoute | RemoveCanary):
                self._act(action)

    def users(self, requests: int = 100) -> None:
        weight = (self.route.weight or 0) if self.route is not None else 0
        for tap in self.taps.values():
            share = weight if getattr(tap, "canary", False) else 100 - weight
            if tap.ready and tap.document is not None:
                tap.serve(round(requests * share / 100), self.bad_stable, self.bad_canary, self.now.timestamp())

    def reconcile(self, *args: Any, **more: Any) -> Any:
        self.look_at_job()
        return super().reconcile(*args, **more)


@pytest.fixture
def world() -> World:
    return World()


def test_a_good_model_gets_the_routes_weights_step_by_step_and_stable_is_rolled_to_it(world: World) -> None:
    world.pass_time(2000, 400)
    assert world.phase == "Promoted"
    assert world.routes == [0, 10, 50, 90, 0]
    assert [t.serves for t in world.taps.values() if not t.canary] == [make.ADAPTER]  # type: ignore[attr-defined]


def test_nobody_meets_the_candidate_before_its_own_pods_have_it(world: World) -> None:
    world.pass_time(10)
    world.taps["c"].ready = False
    world.pass_time(300)
    assert (world.phase, set(world.routes)) == ("Loading", {0})
    world.taps["c"].ready = True
    world.pass_time(20)
    assert world.phase == "Canary"


def test_a_bad_model_loses_all_users_in_the_step_that_sees_the_harm(world: World) -> None:
    world.until("Canary", step=0)
    world.bad_canary = 0.5
    world.order.clear()
    world.pass_time(120, 400)
    assert world.phase == "RolledBack"
    assert world.routes[-1] == 0
    assert world.order.index("ApplyRoute") < world.order.index("WriteArms"), "the route takes the users away"
    assert [t.serves for t in world.taps.values() if not t.canary] == [OLD]  # type: ignore[attr-defined]


def test_the_header_of_probes_holds_at_rest_alone_as_the_gateway_does_not_follow_it(world: World) -> None:
    world.signals = frozenset({DriftBuiltin.QUALITY_DROP})
    world.until("Canary", step=0)
    assert world.arms is not None
    assert world.arms.models["triage"].opt_out_header is None
    world.bad_canary = 0.5
    world.pass_time(120, 400)
    assert world.phase == "RolledBack"
    assert world.arms.models["triage"].opt_out_header == "x-retune-stable"


def test_the_candidates_pods_go_when_the_run_is_over(world: World) -> None:
    world.until("Canary", step=0)
    world.bad_canary = 0.5
    world.pass_time(120, 400)
    ended = world.status.ended_at
    assert ended is not None
    world.time += 5 - (world.now - ended).total_seconds()
    world.look_at_job()
    assert "c" in world.taps, "a Gateway that says it follows may send users there for some seconds more"
    world.time += 10
    world.look_at_job()
    assert (world.canary, "c" in world.taps) == ("", False)


def test_a_rollback_is_not_over_while_the_gateway_does_not_follow(world: World) -> None:
    world.until("Canary", step=0)
    world.bad_canary = 0.5
    world.refused = "Gateway gate has not said Accepted of it yet"
    world.pass_time(200, 400)
    assert not world.ended
    assert "has not said Accepted" in world.condition("Safe").message
    world.refused = ""
    world.pass_time(10)
    assert world.phase == "RolledBack"


def test_a_weight_that_somebody_changed_by_hand_is_set_right(world: World) -> None:
    world.until("Canary", step=0)
    assert world.route is not None
    world.route = replace(world.route, weight=80)
    world.reconcile()
    assert world.route.weight == 10


def test_a_candidate_whose_pods_vanish_gets_no_users_and_is_taken_back(world: World) -> None:
    world.until("Canary", step=0)
    world.taps["c"].ready = False
    world.pass_time(10)
    assert world.routes[-1] == 0, "a Gateway answers 500 for a Service without pods"
    world.pass_time(120)
    assert world.phase == "RolledBack"


def test_a_candidate_whose_tap_is_silent_is_not_taken_for_gone(world: World) -> None:
    world.until("Canary", step=1)
    world.taps["c"].silent = True
    world.pass_time(100)
    assert (world.phase, world.routes[-1]) == ("Canary", 50), "its users are served"


@pytest.mark.parametrize("pod", ["a", "c"])
def test_while_no_tap_of_an_arm_answers_the_candidate_gets_less_and_in_the_end_nothing(world: World, pod: str) -> None:
    world.until("Canary", step=1)
    world.taps[pod].silent = True
    world.pass_time(140)
    assert (world.phase, world.routes[-1]) == ("Canary", 10)
    world.pass_time(1800)
    assert (world.phase, world.routes[-1]) == ("Inconclusive", 0)


def test_a_candidate_that_crashes_when_it_starts_is_given_up_and_not_waited_for_all_day(world: World) -> None:
    world.pass_time(10)
    world.taps["c"].ready = False
    world.waits["c"] = ("Unschedulable", "0/1 nodes: insufficient nvidia.com/gpu")
    world.pass_time(1200)
    assert world.phase == "Loading", "nodes may come"
    assert "insufficient nvidia.com/gpu" in world.condition("Loaded").message
    world.waits["c"] = ("CrashLoopBackOff", "server: back-off 5m0s restarting failed container")
    world.pass_time(20)
    assert (world.phase, world.canary_met) == ("Inconclusive", False)
    assert "back-off 5m0s" in world.condition("Safe").message


def test_harm_seen_while_stable_is_rolled_takes_the_promotion_back(world: World) -> None:
    world.rolls = False  # its pods take long
    for _ in range(400):
        world.pass_time(5, 400)
        if world.status.rollout.intent is not None:
            break
    assert world.status.rollout.intent == "Promote"
    assert world.routes[-1] == 90, "users stay where they were watched"
    world.bad_canary = 0.6
    world.pass_time(60, 400)
    assert (world.phase, world.routes[-1]) == ("RolledBack", 0)


def promoting(world: World) -> None:
    """A promotion is decided on; of stable's pods, one of two has the new model."""
    world.rolls = False
    while world.status.rollout is None or world.status.rollout.intent is None:
        world.pass_time(5, 400)
    assert world.status.rollout.intent == "Promote"
    world.taps["a2"] = world.tap("a2", make.ADAPTER)
    world.pass_time(5, 400)


def test_what_stables_new_pods_answer_is_not_held_against_stable(world: World) -> None:
    promoting(world)
    world.bad_canary = 0.6
    world.pass_time(60, 400)
    assert world.status.rollout is not None
    (errors,) = (e for e in world.status.rollout.evidence if e.name == "errors")
    assert errors.state == "Breached"
    assert errors.stable_bad == 0, "they have the candidate's model"


def test_a_promotion_taken_back_is_not_over_while_a_pod_of_stable_has_the_candidate(world: World) -> None:
    promoting(world)
    world.bad_canary = 0.6
    world.pass_time(120, 400)
    assert world.status.rollout is not None
    assert (world.ended, world.status.rollout.intent, world.routes[-1]) == (False, "RollBack", 0)
    assert "a2" in world.condition("Safe").message
    del world.taps["a2"]
    world.pass_time(10)
    assert world.phase == "RolledBack"


def test_stable_that_gets_slow_on_machines_of_its_own_is_not_blamed_on_the_candidate() -> None:
    slow = [{"name": "slow", "builtin": "Slow", "slow": {"seconds": 1}}]
    world = World(stopLoss=slow, steps=[{"weight": 10, "hold": "1h"}])
    end = int(world.now.timestamp())
    usual = [(float(t), 0, 50) for t in range(end - 3600, end - 15, 15)]
    world.taps["a"].windows = {"slow": usual}
    world.until("Canary")
    ask = world.users

    def slower(requests: int = 100) -> None:
        ask(requests)
        world.taps["a"].windows["slow"].append((world.now.timestamp() // 15 * 15, 50, 50))

    world.users = slower  # type: ignore[method-assign]
    world.pass_time(120, 400)
    assert world.status.rollout is not None
    assert world.status.rollout.interfered_at is None
    assert (world.phase, world.routes[-1]) == ("Canary", 10)


def test_taps_are_told_of_whole_models(world: World) -> None:
    world.until("Canary", step=0)
    split: Split = world.split
    assert split.candidate is not None
    assert (split.stable.kind, split.candidate.kind) == (ArmKind.MODEL, ArmKind.MODEL)
    assert split.candidate.name == f"{MODEL}-{make.ADAPTER.removeprefix('sha256:')[:12]}"


def test_a_route_that_no_gateway_follows_is_said_of_the_job(world: World) -> None:
    world.route, world.refused = (
        RouteSeen("sha256:r", 0),
        "Gateway gate: Accepted is False: NoMatchingParent: no listener",
    )
    said = next(c for c in decide_job(world.job_facts()).status.conditions if c.type == "Ready")
    assert (said.status, "NoMatchingParent" in said.message) == ("False", True)


def test_a_run_that_is_gone_leaves_no_users_at_its_candidate_though_the_spec_asks_for_what_is_not_to_be_had() -> None:
    world = World()
    world.until("Canary", step=0)
    spec = make.job_spec(serving=SERVING, rollout={**SHORT, "shadow": {"percent": 5}}, method={"type": "Full"})
    for runs, expected in (((world.facts(),), []), ((), [0])):
        decision = decide_job(replace(world.job_facts(), spec=spec, runs=runs))
        assert [a.weight for a in decision.actions if isinstance(a, ApplyRoute)] == expected


def test_a_job_whose_route_is_somebody_elses_is_not_ready(world: World) -> None:
    world.route = RouteSeen("", None)
    said = next(c for c in decide_job(world.job_facts()).status.conditions if c.type == "Ready")
    assert (said.status, said.reason) == ("False", "NoRoute")


def test_an_adapter_is_not_served_in_this_mode() -> None:
    spec = make.job_spec(serving=SERVING)
    assert spec.method == Method()
    said = next(c for c in decide_job(make.job_facts(spec)).status.conditions if c.type == "Ready")
    assert "spec.method.type" in said.message


@pytest.mark.parametrize(
    ("changes", "stable"), [({"serving": SERVING, "method": {"type": "Full"}}, STABLE), ({"serving": {}}, WHOLE)]
)
def test_a_mode_in_which_the_model_that_serves_cannot_be_served_is_refused_and_it_goes_on_serving(
    changes: dict[str, Any], stable: StableModel
) -> None:
    facts = make.job_facts(make.job_spec(**changes), FineTuneJobStatus(stable=stable, base_model=PINNED))
    decision = decide_job(replace(facts, serving=Serving(deployed="sha256:as-it-was")))
    said = {c.type: c for c in decision.status.conditions}
    assert (said["Valid"].reason, said["Ready"].reason) == ("ModeChanged", "NotToBeHad")
    assert "spec.serving.mode" in said["Valid"].message
    assert not [a for a in decision.actions if isinstance(a, ApplyServing | ApplyRoute | CreateRun)]
