"""Whatever is killed, deleted, recreated or lost on the way: the ledger says what the pods have truly cost."""

import random
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import make
from tests.unit.bank import BUDGET, PER_SECOND, World

ENDS = ["Promoted", "Rejected", "Failed", "Cancelled", "Inconclusive"]
# (what happens, how much of it)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "begin", "begin", "kill", "finish", "retry", "wait", "wait", "remove", "sweep", "recreate", "collect",
                "crash", "crash", "restart",
            ]
        ),
        st.integers(0, 9),
    ),
    max_size=40,
)  # fmt: skip


def step(world: World, what: str, n: int) -> None:  # noqa: C901 - a table of what can happen
    run = world.flying()
    match what:
        case "begin" if run is not None:
            world.begin(run)
        case "kill" if run is not None:
            world.kill(run)
        case "finish" if run is not None:
            world.finish(run, ENDS[n % len(ENDS)])
        case "remove" if world.runs():
            world.remove(world.runs()[n % len(world.runs())])
        case "retry":
            world.apply(retry=f"{world.bank.versions}", resume=f"{world.bank.versions}")
        case "recreate":
            world.delete_job()
            if n % 2:
                world.look()
            world.apply()
        case "collect":
            world.collect()
        case "sweep":
            world.sweep(seen=n % 2 == 0)
        case "crash":
            world.bank.fuse, world.bank.late, world.bank.lost = n // 2, n % 2 == 0, n > 6
        case "restart":
            world.start()
        case "wait":
            world.wait((1, 7, 59, 60, 61, 150, 10, 3, 100, 30)[n])


def come_to_rest(world: World) -> None:
    """The run in flight ends, the job is deleted, and all pods go."""
    world.bank.fuse = None
    world.look()
    run = world.flying()
    if run is not None:
        world.finish(run, "Failed")
        world.look()
    world.delete_job()
    world.look()
    world.collect()
    world.look()
    world.sweep(seen=False)
    world.look()


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_the_ledger_is_what_the_pods_cost(steps: list[tuple[str, int]]) -> None:
    world = World(make.written(budget=BUDGET, training=make.training(timeout="2h")))  # longer than all waits together
    for what, n in steps:
        step(world, what, n)
        world.look()
        ledger = world.ledger()
        assert ledger.spent(world.now) <= world.truth(), "nothing is charged that did not run"
        for _, entry in ledger.open:
            assert ledger.spent(world.now) + ledger.committed(world.now) <= Decimal(BUDGET["total"]), entry
    come_to_rest(world)
    ledger = world.ledger()
    assert (ledger.spent(world.now), ledger.open) == (world.truth(), ())


def test_a_hundred_killed_attempts_cost_what_they_cost(capsys: pytest.CaptureFixture[str]) -> None:
    chance = random.Random(20260301)
    world = World(make.written(budget={**BUDGET, "total": "100000"}, training=make.training(timeout="400d")))
    kills = crashes = 0
    while kills < 100:
        world.look()
        run = world.flying()
        if run is None or len(run.get("status", {}).get("attempts", [])) >= 40:
            if run is not None:
                world.finish(run, chance.choice(ENDS))
            world.apply(retry=str(kills), resume=str(kills))
            continue
        world.begin(run)
        world.look()
        world.wait(chance.randrange(1, 20_000))
        if chance.random() < 0.5:  # the operator, too, at some write of what follows
            world.bank.fuse, world.bank.late = chance.randrange(4), chance.random() < 0.5
            crashes += 1
        if chance.random() < 0.1:
            world.remove(world.flying())  # type: ignore[arg-type]
            world.look()
            world.wait(chance.randrange(1, 100))
            world.sweep(seen=chance.random() < 0.5)
            world.look()
            world.apply(retry=str(kills), resume=str(kills))
        else:
            world.kill(world.flying())  # type: ignore[arg-type]
        kills += 1
    come_to_rest(world)
    with capsys.disabled():
        spent = world.ledger().spent(world.now)
        print(f"\n100 kills, {crashes} crashes of the operator: ledger {spent} EUR, pods {world.truth()} EUR")
    assert world.ledger().spent(world.now) == world.truth()
    assert len(world.pods) == 100


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("lost", [False, True])
@pytest.mark.parametrize("write", range(4))
def test_a_crash_at_any_write_of_a_start_leaves_one_run_and_one_reservation(write: int, lost: bool, late: bool) -> None:
    world = World()
    world.bank.fuse, world.bank.late, world.bank.lost = write, late, lost
    world.look()
    assert len(world.runs()) == 1
    assert [name for name, _ in world.ledger().open] == [world.runs()[0]["metadata"]["name"]]


def test_money_is_set_aside_before_the_run_exists() -> None:
    world = World()
    for write in range(20):
        world.bank.fuse, world.bank.late = write, True
        try:
            world.watch()
            world.look()
        finally:
            for run in world.runs():
                assert world.ledger().get(run["metadata"]["name"]) is not None
        world = World()


def test_recreating_the_job_refills_nothing() -> None:
    world = World()
    world.look()
    for _ in range(12):  # 3.60 each, at most, of 40
        run = world.flying()
        if run is None:
            break
        world.begin(run)
        world.look()
        world.wait(3500)
        world.finish(run if "status" in run else world.flying(), "Failed")  # type: ignore[arg-type]
        world.look()
        world.delete_job()
        world.look()
        world.collect()
        world.apply()
        world.look()
    assert world.flying() is None
    reason, message = world.progressing()
    assert reason == "BudgetExhausted"
    assert "38.50 spent" in message
    assert world.status()["budget"]["spent"] == "38.50"
    assert world.truth() == 11 * 3500 * PER_SECOND


def test_raising_the_total_lets_the_job_go_on_by_itself() -> None:
    world = World(make.written(budget={**BUDGET, "total": "3"}, training=make.training(timeout="1h")))
    world.look()
    assert world.status()["phase"] == "Halted"
    world.spec = make.written(budget={**BUDGET, "total": "4"}, training=make.training(timeout="1h"))
    world.apply()
    world.look()
    assert world.status()["phase"] == "Running"
    assert world.flying() is not None


def test_a_run_deleted_while_the_operator_was_away_is_charged_until_its_pod_was_gone() -> None:
    world = World()
    world.look()
    run = world.flying()
    assert run is not None
    world.begin(run)
    world.look()
    world.wait(100)
    world.remove(run)
    world.start()
    world.look()
    assert world.ledger().open, "its pod still runs"
    world.wait(50)
    world.sweep(seen=False)
    world.start()
    world.look()
    assert world.ledger().spent(world.now) == Decimal("0.15")
    assert not world.ledger().open


def test_a_run_deleted_before_anybody_booked_its_pod_is_charged_by_what_was_last_seen_of_it() -> None:
    world = World()
    world.look()
    run = world.flying()
    assert run is not None
    world.begin(run)
    world.watch()  # the watch has told, the job was not looked at yet
    world.wait(50)
    world.remove(run)
    world.look()
    assert world.ledger().open
    world.sweep(seen=True)
    world.look()
    assert world.ledger().spent(world.now) == Decimal("0.05")


def test_a_deleted_run_is_never_charged_more_than_was_set_aside() -> None:
    world = World()
    world.look()
    run = world.flying()
    assert run is not None
    world.begin(run)
    world.look()
    world.remove(run)
    world.start()
    world.wait(1_000_000)
    world.sweep(seen=False)
    world.look()
    assert world.ledger().spent(world.now) == Decimal("3.72")  # 3,600 s of the timeout, and 120 s to stop


def test_a_job_that_is_gone_is_settled_too() -> None:
    world = World()
    world.look()
    run = world.flying()
    assert run is not None
    world.begin(run)
    world.look()
    world.wait(100)
    world.delete_job()
    world.look()
    world.collect()
    world.look()
    assert world.ledger().open
    world.wait(20)
    world.sweep(seen=True)
    world.wait(500)
    world.look()
    assert world.ledger().spent(world.now) == Decimal("0.12")
    assert not world.ledger().open


def test_a_ledger_stays_small_however_many_runs_there_were() -> None:
    world = World(make.written(budget={**BUDGET, "total": "100000"}, history={"unsuccessful": 1}))
    for number in range(120):
        world.look()
        run = world.flying()
        assert run is not None
        world.begin(run)
        world.wait(10)
        world.finish(world.flying(), "Cancelled")  # type: ignore[arg-type]
        world.apply(retry=str(number))
    world.look()
    ledger = world.ledger()
    assert ledger.settled + sum(e.amount for _, e in ledger.runs) == 120 * 10 * PER_SECOND
    assert len(ledger.runs) < 60
    (raw,) = (o for (r, _, _), o in world.bank.objects.items() if r == "configmaps")
    assert len(raw["data"]["ledger.json"]) < 10_000


def test_a_broken_ledger_holds_the_job_instead_of_refilling_it() -> None:
    world = World(make.written(budget=BUDGET, training=make.training(timeout="2h")))
    world.look()
    world.finish(world.flying(), "Failed")  # type: ignore[arg-type]
    (key,) = (k for k in world.bank.objects if k[0] == "configmaps")
    good = world.bank.objects[key]
    world.bank.put(*key, {**good, "data": {"ledger.json": good["data"]["ledger.json"][:-5]}})
    world.start()
    world.apply(retry="again")
    world.look()
    assert world.flying() is None
    assert world.progressing()[0] == "LedgerUnreadable"
    (said,) = (c for c in world.status()["conditions"] if c["type"] == "BudgetAvailable")
    assert (said["status"], said["reason"]) == ("False", "LedgerUnreadable")
    world.bank.put(*key, good)  # mended by hand, under a running operator
    world.look()
    assert world.flying() is not None
