"""Nothing is wrong, so nothing happens: real A/A traffic for ten minutes, beside all other tests. Runs last."""

import time

from hack.load import answers

from tests.cluster.cluster import eventually
from tests.e2e.quiet import PREPARED, RATE, WEIGHT, Quiet

MINUTES = 10


def test_a_candidate_like_stable_is_left_alone_for_ten_minutes(quiet: Quiet) -> None:
    assert quiet.ready.wait(PREPARED * 2), "the quiet canary did not come to meet users"
    if quiet.error is not None:
        raise quiet.error
    eventually(lambda: time.time() - quiet.began >= MINUTES * 60, MINUTES * 60 + 60)
    got, status = quiet.answers(), quiet.status()
    if quiet.error is not None:
        raise quiet.error

    assert status["phase"] == "Canary", status["conditions"]
    assert quiet.weight() == WEIGHT
    for one in status["rollout"]["evidence"]:
        assert one["state"] != "Breached", one
        assert one.get("eValue", 0) < one["threshold"], one

    by_arm = answers.by_arm(got)
    assert len(got) >= MINUTES * 60 * RATE / 2, "the machine was too busy for this to show anything"
    assert min(by_arm[arm].requests for arm in ("stable", "canary")) >= len(got) / 4
    assert quiet.overridden >= len(got) / 40, "users objected now and then, to both alike"
    told = "; ".join(f"{arm}: {found.requests} answers, {found.errors} errors" for arm, found in by_arm.items())
    print(f"quiet canary, {MINUTES} minutes: {told}; {quiet.overridden} overrides; {status['rollout']['evidence']}")
