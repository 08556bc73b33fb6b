"""Nothing holds up taking a candidate back; what a rollout does is shown while it lasts, and then no more."""

import asyncio

from prometheus_client import CollectorRegistry, generate_latest
from tests.unit import make
from tests.unit.make import virtually
from tests.unit.serves import arms

from retune.api import Evidence, EvidenceState, FineTuneRunStatus, RolloutIntent, RolloutStatus, RunPhase
from retune.decide.readings import Serving, TapReading
from retune.main.queue import Key, Queue
from retune.main.rollouts import RolloutMetrics

SLOW, FAST = [Key("FineTuneJob", "ns", f"j{i}") for i in range(8)], Key("FineTuneRun", "ns", "canary")


def urgent(key: Key) -> bool:
    return key == FAST


def test_a_rollout_goes_before_whatever_waited_longer() -> None:
    async def scenario() -> None:
        queue = Queue(urgent=urgent)
        for key in (*SLOW, FAST):
            queue.add(key)
        assert len(queue) == 9
        assert await queue.get() == FAST
        assert await queue.get() == SLOW[0]

    virtually(scenario())


def test_while_every_worker_is_busy_one_is_left_for_rollouts() -> None:
    async def scenario() -> None:
        queue = Queue(urgent=urgent)
        free = asyncio.create_task(queue.get(only_urgent=True))
        for key in SLOW:
            queue.add(key)
        await asyncio.sleep(10)
        assert not free.done(), "it does nothing else"
        queue.add_after(FAST, 5)
        await asyncio.sleep(5.1)
        assert free.done()
        assert free.result() == FAST

    virtually(scenario())


def test_a_rollouts_key_is_with_one_worker_at_a_time() -> None:
    async def scenario() -> None:
        queue = Queue(urgent=urgent)
        queue.add(FAST)
        key = await queue.get()
        queue.add(FAST)
        other = asyncio.create_task(queue.get(only_urgent=True))
        await asyncio.sleep(1)
        assert not other.done()
        queue.done(key)
        await asyncio.sleep(0)
        assert await other == FAST

    virtually(scenario())


def test_other_keys_that_are_stuck_are_seen_although_rollouts_move() -> None:
    async def scenario() -> None:
        queue = Queue(urgent=urgent)
        queue.add(SLOW[0])
        for _ in range(10):
            await asyncio.sleep(30)
            queue.add(FAST)
            queue.done(await queue.get(only_urgent=True))
        assert queue.stuck_for() == 300

    virtually(scenario())


def test_a_rollout_that_failed_often_is_tried_again_soon() -> None:
    async def scenario() -> None:
        queue = Queue(urgent=urgent)
        delays = {key: [queue.failed(key) for _ in range(20)][-1] for key in (FAST, SLOW[0])}
        assert delays[FAST] <= 2 < 30 <= delays[SLOW[0]]

    virtually(scenario())


# -------------------------------------------------------------------------------------------------------------- metrics


def status(phase: RunPhase, weight: int = 25, intent: RolloutIntent | None = None) -> FineTuneRunStatus:
    found = Evidence(name="errors", e_value=3.5, threshold=200.0, state=EvidenceState.OK)
    return FineTuneRunStatus(phase=phase, rollout=RolloutStatus(weight=weight, intent=intent, evidence=(found,)))


def tap(weight: int, generation: int = 7) -> TapReading:
    return TapReading("p", f"p{generation}", 0.0, 0.0, generation, weight=weight)


def serving(*taps: TapReading, silent: bool = False) -> Serving:
    return Serving(taps={t.pod_uid: t for t in taps}, silent={"x": "why"} if silent else {}, arms=arms(generation=7))


def shown(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()


def test_a_rollout_is_shown_while_it_lasts() -> None:
    registry = CollectorRegistry()
    metrics = RolloutMetrics(registry)
    facts = make.run_facts(status(RunPhase.CANARY), serving=serving(tap(25), tap(10, 6), silent=True))
    metrics.seen(facts, facts.status, 1.0)
    text = shown(registry)
    assert 'retune_rollout_weight{job="triage",namespace="support"} 25.0' in text
    assert 'retune_arms_generation{job="triage",namespace="support"} 7.0' in text
    assert 'retune_taps_out_of_step{job="triage",namespace="support"} 2.0' in text
    assert 'retune_stop_loss_e_value{job="triage",metric="errors",namespace="support"} 3.5' in text
    assert 'retune_stop_loss_state{job="triage",metric="errors",namespace="support",state="Ok"} 1.0' in text
    assert 'state="Breached"} 0.0' in text
    metrics.seen(facts, status(RunPhase.PROMOTED), 2.0)
    assert 'job="triage"' not in shown(registry)


def test_a_deleted_run_is_shown_no_more() -> None:
    registry = CollectorRegistry()
    metrics = RolloutMetrics(registry)
    facts = make.run_facts(status(RunPhase.CANARY))
    metrics.seen(facts, facts.status, 1.0)
    metrics.gone("support", facts.meta.name)
    assert 'job="triage"' not in shown(registry)


def test_the_time_of_a_rollback_runs_until_every_tap_is_read_back_at_zero() -> None:
    registry = CollectorRegistry()
    metrics = RolloutMetrics(registry)
    before, back = status(RunPhase.CANARY), status(RunPhase.CANARY, 0, RolloutIntent.ROLL_BACK)
    metrics.seen(make.run_facts(before, serving=serving(tap(25))), back, 100.0)
    metrics.seen(make.run_facts(back, serving=serving(tap(0), tap(25, 6))), back, 100.25)
    metrics.seen(make.run_facts(back, serving=serving(tap(0), silent=True)), back, 100.5)
    assert "retune_breach_to_zero_seconds_count 0.0" in shown(registry)
    metrics.seen(make.run_facts(back, serving=serving(tap(0))), status(RunPhase.ROLLED_BACK, 0), 100.75)
    metrics.seen(make.run_facts(back, serving=serving(tap(0))), status(RunPhase.ROLLED_BACK, 0), 101.0)
    assert "retune_breach_to_zero_seconds_count 1.0" in shown(registry)
    assert "retune_breach_to_zero_seconds_sum 0.75" in shown(registry)
