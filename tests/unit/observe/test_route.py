"""What an HTTPRoute says: the candidate's share, and whether its Gateways follow what is written."""

from typing import Any

import pytest
from tests.unit.serves import META

from retune.act.serving import http_route
from retune.api import HttpRoute
from retune.decide.actions import ApplyRoute
from retune.observe.projections import route

Raw = dict[str, Any]
TOLD = HttpRoute.model_validate({"parentRefs": [{"name": "gate"}]})


def raw(weight: int = 10, *, said: str = "True", of: int = 3, **spec: Any) -> Raw:
    made = http_route(META, ApplyRoute(TOLD, 8000, weight, "sha256:r"))
    made["metadata"]["generation"] = 3
    made["spec"].update(spec)
    conditions = [
        {"type": "Accepted", "status": said, "reason": "R", "message": "why", "observedGeneration": of},
        {"type": "ResolvedRefs", "status": "True", "observedGeneration": of},
    ]
    return {**made, "status": {"parents": [{"parentRef": {"name": "gate"}, "conditions": conditions}]}}


@pytest.mark.parametrize("weight", [0, 10, 99])
def test_what_was_written_is_read_back(weight: int) -> None:
    seen = route(raw(weight))
    assert (seen.digest, seen.weight, seen.refused) == ("sha256:r", weight, "")


def test_a_change_that_a_gateway_has_not_seen_yet_is_not_in_force() -> None:
    assert "not said Accepted" in route(raw(of=2)).refused


def test_a_gateway_that_refuses_is_quoted() -> None:
    assert "R: why" in route(raw(said="False")).refused


def test_what_a_gateway_once_said_that_the_route_has_left_since_holds_nothing_up() -> None:
    route_ = raw()
    stale = {"type": "Accepted", "status": "True", "observedGeneration": 1}
    parents = route_["status"]["parents"]
    for left in ({"name": "old"}, {"name": "gate", "namespace": "elsewhere"}, {"name": "gate", "sectionName": "web"}):
        parents.append({"parentRef": left, "conditions": [stale]})
    assert route(route_).refused == ""
    parents.append({"parentRef": {"name": "gate", "namespace": META.namespace}, "conditions": [stale]})
    assert "not said Accepted" in route(route_).refused, "the same Gateway, by its full name"


def test_weights_or_rules_of_somebody_else_are_no_share_of_ours() -> None:
    other = {"backendRefs": [{"name": "other", "port": 80}]}
    assert route(raw(rules=[other])).weight is None
    assert route(raw(rules=[*raw()["spec"]["rules"], other])).weight is None


def test_where_no_gateway_says_anything_the_route_is_as_it_is_written() -> None:
    assert route({**raw(), "status": {}}).refused == ""
