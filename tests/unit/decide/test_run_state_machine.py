"""A run in a world that does what it likes: whatever happens, in whatever order, these things stay true."""

from dataclasses import replace

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit.decide.world import ENDS, FOR_GOOD, World, stored

from retune.api import AttemptStage, FineTuneRunStatus
from retune.decide.actions import CreateChild, RunDecision
from retune.decide.facts import Stage
from retune.decide.run import decide_run


class Run(RuleBasedStateMachine):
    """Rules are what can happen; invariants are what Retune promises."""

    world: World

    @initialize(retries=st.integers(0, 2), backoff=st.sampled_from([0, 10]), trains=st.booleans())
    def begins(self, retries: int, backoff: int, trains: bool) -> None:
        self.world = World(retries, backoff)
        if trains:
            self.world.to_training()
        self.before = self.world.status

    # ------------------------------------------------------------------------------------------- what the operator does

    @rule()
    def operator_works(self) -> None:
        self._step()

    @rule(crash_after=st.integers(0, 2), lost=st.booleans())
    def operator_dies_between_writes(self, crash_after: int, lost: bool) -> None:
        self._step(crash_after, lost)
        self.world.restart()

    @rule()
    def an_answer_gets_lost(self) -> None:
        self._step(lost=True)

    @rule(count=st.integers(1, 3))
    def operator_hears_of_jobs(self, count: int) -> None:
        self.world.children.deliver(count)

    @rule(count=st.integers(1, 3))
    def operator_hears_of_pods(self, count: int) -> None:
        self.world.pods.deliver(count)

    def _step(self, crash_after: int | None = None, lost: bool = False) -> None:
        facts = self.world.facts()
        decision = decide_run(facts)
        assert decide_run(facts) == decision
        again = decide_run(replace(facts, status=stored(decision.status)))
        assert stored(again.status) == stored(decision.status), "a second look at the same facts changes the status"
        for action in again.actions:  # what is asked for again is the same, and harmless: create-once, delete by uid
            assert action in decision.actions or not isinstance(action, CreateChild)
        self._asks_nothing_forbidden(decision)
        self.world.reconcile(crash_after, lost)
        note(f"t={self.world.time} {self.world.status.phase} {[a.exit for a in self.world.status.attempts]}")

    def _asks_nothing_forbidden(self, decision: RunDecision) -> None:
        creates = [a for a in decision.actions if isinstance(a, CreateChild)]
        assert len(creates) <= 1
        if self.world.suspended or self.world.cancel or self.world.ended:
            started = [c for c in creates if c.stage is not Stage.REPORT]
            assert not started, "nothing but a report starts while suspended, cancelled or over"
        for create in creates:
            assert decision.status.attempts[-1].number == create.attempt, "the intent is on record first"

    # ----------------------------------------------------------------------------------------- what the world does

    @rule()
    def controllers_work(self) -> None:
        self.world.control()

    @rule(steps=st.integers(1, 4), how=st.sampled_from(("success", *ENDS)))
    def things_go_their_way(self, steps: int, how: str) -> None:
        """Without this, chance alone rarely gets a run past its preflight."""
        for _ in range(steps):
            self.world.control()
            for pod in self.world.live_pods():
                if pod.running_since is None and not pod.deleting:
                    self.world.kubelet_starts(pod)
                else:
                    self.world.kubelet_ends(pod, "success" if pod.stage is Stage.PREFLIGHT else how)
            self.world.control()
            self.world.restart()
            if steps % 2:
                self._step()
                self.what_is_settled_stays_settled()

    @rule(seconds=st.sampled_from([1, 9, 10, 60, 400, 7200]))
    def time_passes(self, seconds: int) -> None:
        self.world.time += seconds

    @precondition(lambda self: any(p.running_since is None for p in self.world.live_pods()))
    @rule(data=st.data())
    def a_pod_starts(self, data: st.DataObject) -> None:
        pods = [p for p in self.world.live_pods() if p.running_since is None]
        self.world.kubelet_starts(data.draw(st.sampled_from(sorted(pods, key=lambda p: p.name))))

    @precondition(lambda self: any(p.running_since for p in self.world.live_pods()))
    @rule(data=st.data(), how=st.sampled_from(ENDS))
    def a_pod_ends(self, data: st.DataObject, how: str) -> None:
        pods = [p for p in self.world.live_pods() if p.running_since]
        self.world.kubelet_ends(data.draw(st.sampled_from(sorted(pods, key=lambda p: p.name))), how)

    @precondition(lambda self: self.world.pods.real)
    @rule(data=st.data(), force=st.booleans())
    def somebody_deletes_a_pod(self, data: st.DataObject, force: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.pods.real)))
        self.world.pods.set(name, None if force else replace(self.world.pods.real[name], deleting=True))

    @precondition(lambda self: self.world.children.real)
    @rule(data=st.data(), orphan=st.booleans())
    def somebody_deletes_a_job(self, data: st.DataObject, orphan: bool) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.children.real)))
        if orphan:
            self.world.children.set(name, None)
        else:
            self.world.delete_child(name, self.world.children.real[name].uid)

    @rule(suspended=st.booleans())
    def somebody_suspends_or_resumes(self, suspended: bool) -> None:
        self.world.suspended = suspended

    @precondition(lambda self: len(self.world.created) > 2)
    @rule()
    def somebody_cancels(self) -> None:
        self.world.cancel = "enough"

    # ------------------------------------------------------------------------------------------------- what is promised

    @invariant()
    def never_two_unfinished_jobs(self) -> None:
        # A report may begin before a Job is seen whose creation was never confirmed: it disturbs nobody.
        unfinished = [c for c in self.world.children.real.values() if not c.over and c.stage is not Stage.REPORT]
        assert len(unfinished) <= 1, unfinished

    @invariant()
    def never_two_training_pods(self) -> None:
        assert len(self.world.live_pods(Stage.TRAIN)) <= 1

    @invariant()
    def attempts_are_numbered_one_by_one_and_only_the_last_is_open(self) -> None:
        attempts = self.world.status.attempts
        for stage in AttemptStage:
            numbers = [a.number for a in attempts if a.stage is stage]
            assert numbers == list(range(1, len(numbers) + 1))
        assert all(a.ended_at for a in attempts[:-1])

    @invariant()
    def what_is_settled_stays_settled(self) -> None:
        before, after = self.before, self.world.status
        if before.phase is not None and before.phase.is_terminal:
            report = {"attempts": (), "cost": None, "report_uri": None}  # all that may still come
            assert after.model_copy(update=report) == before.model_copy(update=report)
            assert {a.stage for a in after.attempts[len(before.attempts) :]} <= {AttemptStage.REPORT}
        for old, new in zip(before.attempts, after.attempts, strict=False):
            if old.ended_at:
                assert new == old
        assert len(after.attempts) >= len(before.attempts)
        if before.resolved is not None:
            assert after.resolved == before.resolved
        if before.cost is not None:
            assert after.cost is not None
            assert float(after.cost.amount) >= float(before.cost.amount)
            assert after.cost.gpu_seconds >= before.cost.gpu_seconds
        self.before = after

    @invariant()
    def training_starts_only_after_preflight(self) -> None:
        if any(stage is Stage.TRAIN for stage, _ in self.world.created):
            assert self.world.status.resolved is not None

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        if world.suspended:
            world.settle("success", rounds=8)
            assert not world.live_pods()
            assert not [c for c in world.children.real.values() if not c.over]
        world.suspended = False
        how = FOR_GOOD[len(world.created) % len(FOR_GOOD)]
        world.settle(how, rounds=40)
        assert world.ended, (how, world.status)
        assert not world.live_pods()
        assert all(a.ended_at for a in world.status.attempts)
        writes = world.writes
        world.settle(how, rounds=3)
        assert world.writes == writes, "a finished run is never written again"
        self.what_is_settled_stays_settled()


Run.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
TestAnyWorld = Run.TestCase


def test_the_straight_way_writes_the_status_eight_times_at_most() -> None:
    """Preflight and training each: intent, running, result; and the report's. Every write is a watch event, too."""
    world = World()
    world.settle("success", rounds=12)
    assert world.status.phase == "Promoted"
    assert [a.exit for a in world.status.attempts] == ["Succeeded", "Succeeded", "Succeeded"]
    assert world.created == [(Stage.PREFLIGHT, 1), (Stage.TRAIN, 1), (Stage.REPORT, 1)]
    assert world.writes <= 8


def test_an_empty_status_is_where_every_run_begins() -> None:
    assert World().status == FineTuneRunStatus()
