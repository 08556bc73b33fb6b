"""A rollout in a world that does what it likes: whatever happens, in whatever order, these things stay true."""

from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests.unit import make
from tests.unit.decide.rollout_world import RolloutWorld, Tap

from retune.api import RolloutIntent, RunPhase
from retune.decide.actions import RunDecision, WriteArms
from retune.decide.draft import RunDraft
from retune.decide.evidence.judge import Judgement
from retune.decide.naming import PROMOTE_ANNOTATION
from retune.decide.rollout.course import course
from retune.decide.rollout.stages import ROLLOUT_PHASES
from retune.decide.run import decide_run

SHORT = {
    "steps": [{"weight": 10, "hold": "20s"}, {"weight": 50, "hold": "20s"}],
    "bake": "20s",
    "timeout": "30m",
    "onBlind": {"timeout": "30s", "abort": "2m"},
}
STOPPABLE = (None, RolloutIntent.PROMOTE, RolloutIntent.GIVE_UP)


class Rollout(RuleBasedStateMachine):
    """Rules are what can happen; invariants are what Retune promises."""

    @initialize(shadow=st.booleans(), pilot=st.booleans(), cap=st.sampled_from([None, 500, 20_000]), far=st.booleans())
    def begins(self, shadow: bool, pilot: bool, cap: int | None, far: bool) -> None:
        parts: dict[str, object] = dict(SHORT)
        if shadow:
            parts["shadow"] = {"duration": "20s"}
        if pilot:
            parts["pilot"] = {"header": "x-g", "values": ["staff"], "hold": "20s"}
        if cap is not None:
            parts["exposure"] = {"maxRequests": cap}
        self.cap = cap
        self.pods = 2
        self.world = RolloutWorld(parts)
        if far:
            self.world.pass_time(60, 300)
        self.before = self.world.status
        self.doomed = False

    # ------------------------------------------------------------------------------------------- what the operator does

    @rule()
    def operator_works(self) -> None:
        self._step(None)

    @rule(crash_after=st.integers(0, 3))
    def operator_dies_between_writes(self, crash_after: int) -> None:
        self._step(crash_after)

    @rule()
    def the_note_for_a_restart_is_lost(self) -> None:
        self.world.memory = ""

    def _step(self, crash_after: int | None) -> None:
        world, facts = self.world, self.world.facts()
        old = world.status
        judged = self._judged()
        decision = decide_run(facts)
        self._asks_nothing_forbidden(decision, judged)
        world.reconcile(crash_after, decision)
        rollout = old.rollout
        if judged is not None and judged.breached and rollout is not None and rollout.intent in STOPPABLE:
            assert decision.status.rollout is not None
            assert decision.status.rollout.intent is RolloutIntent.ROLL_BACK, "a breach is acted on at once"
            if crash_after is None:
                assert (world.split.weight, world.split.candidate) == (0, None)
        told = world.status.rollout
        self.doomed = self.doomed or (told is not None and told.intent is RolloutIntent.ROLL_BACK)
        note(f"t={world.time} {world.phase} {told and (told.step, told.weight, told.intent, told.held_because)}")

    def _judged(self) -> Judgement | None:
        world = self.world
        if world.status.phase not in ROLLOUT_PHASES:
            return None
        on = course(RunDraft(world.facts(), world.status))
        assert on is not None
        on.look()
        return on.judgement

    def _asks_nothing_forbidden(self, decision: RunDecision, judged: Judgement | None) -> None:
        old, new = self.world.status.rollout, decision.status.rollout
        for action in decision.actions:
            if isinstance(action, WriteArms):
                split = action.arms.models["triage"]
                assert new is not None
                if new.intent is not None:
                    assert (split.weight, split.candidate, split.pilot) == (0, None, None), "no weight with an intent"
                assert split.weight in (0, new.weight)
        if old is None or new is None:
            return
        advances = judged is not None and judged.may_advance
        if new.weight > old.weight:
            first = (new.stage, new.step) == (RunPhase.CANARY, 0)
            assert first or advances, "the weight rises on evidence only"
            assert not self.world.paused
            assert not self.world.suspended
        if new.intent is RolloutIntent.PROMOTE and old.intent is None:
            assert advances or PROMOTE_ANNOTATION in self.world.annotations

    # ----------------------------------------------------------------------------------------- what the world does

    @rule(seconds=st.sampled_from([1, 5, 20, 70]), requests=st.sampled_from([0, 40, 300]))
    def users_ask(self, seconds: int, requests: int) -> None:
        self.world.time += seconds
        self.world.users(requests)

    @rule(looks=st.integers(1, 8))
    def all_goes_well_for_a_while(self, looks: int) -> None:
        """Without this, chance alone rarely gets a candidate past its first step."""
        for _ in range(looks):
            self.world.time += 10
            self.world.users(300)
            self._step(None)

    @rule(share=st.sampled_from([0.0, 0.6]))
    def the_candidate_is_bad_or_good(self, share: float) -> None:
        self.world.bad_canary = share

    @rule(data=st.data(), silent=st.booleans())
    def a_tap_falls_silent_or_answers(self, data: st.DataObject, silent: bool) -> None:
        self._tap(data).silent = silent

    @rule(data=st.data(), ready=st.booleans())
    def a_pod_is_ready_or_not(self, data: st.DataObject, ready: bool) -> None:
        self._tap(data).ready = ready

    @rule(data=st.data(), loads=st.sampled_from(["Ready", "Ready", "Loading"]))
    def the_candidate_is_loaded_or_lost(self, data: st.DataObject, loads: str) -> None:
        self._tap(data).loads = loads

    @precondition(lambda self: self.pods < 5)
    @rule(data=st.data(), goes=st.booleans())
    def a_pod_comes(self, data: st.DataObject, goes: bool) -> None:
        if goes:
            del self.world.taps[self._tap(data).name]
        self.pods += 1
        tap = Tap(f"pod-{self.pods}", self.world.now.timestamp())
        if self.world.arms is not None:
            tap.take(self.world.arms)
        self.world.taps[tap.name] = tap

    def _tap(self, data: st.DataObject) -> Tap:
        return self.world.taps[data.draw(st.sampled_from(sorted(self.world.taps)))]

    @rule(paused=st.booleans(), suspended=st.booleans())
    def somebody_pauses_suspends_or_resumes(self, paused: bool, suspended: bool) -> None:
        self.world.paused, self.world.suspended = paused, suspended

    @precondition(lambda self: self.world.time > 150)
    @rule(what=st.sampled_from(["promote", "rollback", "cancel"]))
    def somebody_has_enough(self, what: str) -> None:
        if what == "promote":
            self.world.annotations[PROMOTE_ANNOTATION] = "ada"
        elif what == "rollback":
            self.world.rollback = make.RUN
        else:
            self.world.cancel = "enough"

    # ------------------------------------------------------------------------------------------------- what is promised

    @invariant()
    def terminal_is_terminal(self) -> None:
        if self.before.phase is not None and self.before.phase.is_terminal:
            assert self.world.status.phase is self.before.phase
            assert self.world.status.rollout == self.before.rollout
        self.before = self.world.status

    @invariant()
    def a_rollback_that_was_decided_is_never_taken_back(self) -> None:
        if self.doomed:
            rollout = self.world.status.rollout
            assert rollout is not None
            assert rollout.intent is RolloutIntent.ROLL_BACK

    @invariant()
    def the_cap_holds(self) -> None:
        if self.cap is not None and self.pods == 2:
            assert sum(t.spent for t in self.world.taps.values()) <= self.cap

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.paused = world.suspended = False
        world.bad_canary = 0.0
        for tap in world.taps.values():
            tap.ready, tap.silent, tap.loads = True, False, "Ready"
        for _ in range(120):
            if world.ended:
                break
            world.time += 20
            world.users(300)
            world.reconcile()
        assert world.ended, (world.phase, world.status.rollout)
        assert world.arms is not None
        assert world.split.candidate is None
        assert world.split.weight == 0
        for tap in world.taps.values():  # one that was fenced reads what is mounted, when it comes back
            tap.take(world.arms)
            assert tap.split.candidate is None
        if self.doomed:
            assert world.phase == "RolledBack"
        promoted = world.split.stable.digest == make.ADAPTER
        assert promoted == (world.phase == "Promoted")
        writes = world.writes
        world.time += 60
        self._step(None)
        assert world.writes == writes, "a finished rollout is never written again"


Rollout.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
)
TestAnyRollout = Rollout.TestCase
