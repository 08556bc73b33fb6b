"""Status first, then the actions, then the events; what fails on the way is taken up again by the next reconcile."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.make import virtually

from retune.act.carry_out import Hands
from retune.api import Attempt, AttemptStage, FineTuneRunStatus, RunPhase
from retune.decide.actions import CreateChild, CreateConfig, DeleteChild, Event, RunDecision
from retune.decide.facts import Stage
from retune.decide.run import decide_run
from retune.kube.client import ApiError

Raw = dict[str, Any]


class Client:
    """Remembers writes; fails those that it was told to."""

    def __init__(self, **errors: ApiError) -> None:
        self.errors, self.writes = errors, []

    async def _write(self, verb: str, resource: str, body: Raw) -> Raw:
        if resource in self.errors:
            raise self.errors[resource]
        self.writes.append((verb, resource, body))
        return {**body, "metadata": {**body["metadata"], "resourceVersion": "8"}}

    async def create(self, resource: str, namespace: str, body: Raw) -> Raw:
        return await self._write("create", resource, body)

    async def apply(self, resource: str, namespace: str, body: Raw, subresource: str) -> Raw:
        return await self._write("apply", f"{resource}/{subresource}", body)

    async def delete(self, resource: str, namespace: str, name: str, uid: str, *, foreground: bool = False) -> None:
        assert foreground, "a Job stays until its pods are gone"
        await self._write("delete", resource, {"metadata": {"name": name, "uid": uid}})


class Memory(list[str]):
    def job(self, raw: Raw) -> None:
        self.append("job")

    def run(self, raw: Raw) -> None:
        self.append("run")

    def child(self, raw: Raw) -> None:
        self.append("child")


ACTIONS = (CreateConfig(), CreateChild(Stage.PREFLIGHT, 1), DeleteChild("old", "old-uid"))
DECISION = RunDecision(FineTuneRunStatus(phase=RunPhase.PREFLIGHT), ACTIONS, (Event("Normal", "Retrying", "text"),))


def carried(client: Client, decision: RunDecision = DECISION) -> tuple[list[tuple[str, str]], Memory]:
    memory = Memory()
    virtually(Hands(client, memory).run(make.run_facts(), decision))  # type: ignore[arg-type]
    return [(verb, resource) for verb, resource, _ in client.writes], memory


def test_the_intent_is_written_first_and_everything_written_is_remembered() -> None:
    writes, memory = carried(Client())
    assert writes == [
        ("apply", "finetuneruns/status"),
        ("create", "configmaps"),
        ("create", "jobs"),
        ("delete", "jobs"),
        ("create", "events"),
    ]
    assert memory == ["run", "child"]


def test_a_status_that_did_not_change_is_not_written() -> None:
    writes, _ = carried(Client(), RunDecision(FineTuneRunStatus(), (CreateConfig(),)))
    assert writes == [("create", "configmaps")]


def test_a_status_decided_on_stale_facts_is_refused_by_its_version() -> None:
    client = Client()
    carried(client)
    assert client.writes[0][2]["metadata"]["resourceVersion"] == "7"  # the one that the facts had


def test_nothing_is_done_when_the_intent_cannot_be_written() -> None:
    client = Client(**{"finetuneruns/status": ApiError(409, "Conflict", "stale")})
    with pytest.raises(ApiError):
        carried(client)
    assert client.writes == []


@pytest.mark.parametrize(
    ("code", "shown"), [(400, True), (403, True), (422, True), (409, False), (500, False), (0, False)]
)
def test_a_child_refused_for_good_is_said_and_the_rest_only_tried_again(code: int, shown: bool) -> None:
    client = Client(jobs=ApiError(code, "Why", "quota of jobs is 0"))
    with pytest.raises(ApiError):
        carried(client)
    last = client.writes[-1][2]
    said = [c for c in last.get("status", {}).get("conditions", []) if c["reason"] == "Refused"]
    assert bool(said) == shown
    if said:
        assert "quota of jobs is 0" in said[0]["message"]
        assert last["metadata"]["resourceVersion"] == "8", "over the version that was just written"


def test_an_event_that_cannot_be_posted_stops_nothing() -> None:
    writes, _ = carried(Client(events=ApiError(500, "x", "y")))
    assert ("delete", "jobs") in writes


def test_an_attempt_that_ends_and_is_followed_in_one_step_counts_against_the_timeout() -> None:
    """After the operator was away for longer than the back-off, both happen at once."""
    spec = make.run_spec(spec=make.job_spec(training=make.training(timeout="1h")))
    begun = Attempt(stage=AttemptStage.TRAIN, number=1, started_at=make.NOW, job_uid="u")
    resolved = decide_run(
        make.run_facts(
            FineTuneRunStatus(phase=RunPhase.PREFLIGHT, attempts=(make.attempt(1, AttemptStage.PREFLIGHT),)),
            children=(make.child(Stage.PREFLIGHT, complete=True),),
            pods=(make.ended(0, make.CHECKED, Stage.PREFLIGHT),),
        )
    ).status.resolved
    status = FineTuneRunStatus(phase=RunPhase.TRAINING, resolved=resolved, attempts=(begun,))
    crashed = make.ended(1, finished=make.at(3000))
    facts = make.run_facts(status, spec=spec, now=make.at(9000), children=(make.failed_child(1),), pods=(crashed,))
    client = Client()
    virtually(Hands(client, Memory()).run(facts, decide_run(replace(facts))))  # type: ignore[arg-type]
    (job,) = (body for _, resource, body in client.writes if resource == "jobs")
    assert job["spec"]["template"]["spec"]["activeDeadlineSeconds"] == 600
