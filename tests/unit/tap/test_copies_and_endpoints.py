"""Shadows that the user never notices, and the prompted model that serves before the first promotion."""

from __future__ import annotations

import asyncio

import pytest
from hack.images.standin.upstream import Behaviour, Upstream
from tests.unit.tap.running import CANDIDATE, STABLE

from retune_tap import outbound, template

SHADOW = {"stage": "Shadow", "stratum": "3:shadow", "weight": 0, "shadow": {"percent": 100}}


async def shadowed(running) -> dict[str, int]:
    await asyncio.gather(*running.tap.shadow.tasks)
    return (await running.state())["shadow"]


@pytest.mark.parametrize("stream", [False, True])
async def test_answers_are_compared_and_copies_counted_in_no_arm(running, stream):
    await running.serve(**SHADOW)
    running.upstream.behaviours[STABLE] = Behaviour(text="Billing  team")
    for text in ("billing team\n", "ops"):
        running.upstream.behaviours[CANDIDATE] = Behaviour(text=text)
        reply = await running.ask(text.strip(), stream=stream)
        await reply.read()
        assert reply.headers["x-retune-arm"] == "stable"
        await shadowed(running)
    assert await shadowed(running) == {"sent": 2, "dropped": 0, "failed": 0, "agreed": 1, "compared": 2}
    assert await running.counts() == {"stable": (0, 2)}


async def test_a_hanging_candidate_delays_no_user_and_four_copies_are_the_most(running):
    await running.serve(**SHADOW)
    running.upstream.behaviours[CANDIDATE] = Behaviour(before=(never := asyncio.Event()))
    for number in range(10):
        assert (await asyncio.wait_for(running.ask(f"u{number}"), 5)).status == 200
    state = (await running.state())["shadow"]
    assert (state["sent"], state["dropped"]) == (4, 6)
    never.set()
    await shadowed(running)


async def test_a_copy_that_fails_hurts_nobody(running):
    await running.serve(**SHADOW)
    running.upstream.behaviours[CANDIDATE] = Behaviour(status=500)
    assert (await running.ask("ann")).status == 200
    assert (await shadowed(running))["failed"] == 1
    assert await running.counts() == {"stable": (0, 1)}


def endpoint(url: str, text: str) -> dict[str, str]:
    return {"kind": "Endpoint", "name": "", "url": url, "model": "base", "template": text}


async def test_the_endpoint_gets_the_template_around_the_last_question_and_nothing_of_the_users(running):
    async with Upstream() as today:
        await running.serve(weight=0, stable=endpoint(f"{today.url}/v1", "Answer briefly: {{ prompt }}"))
        messages = [{"role": role, "content": role} for role in ("system", "user", "assistant", "user", "assistant")]
        reply = await running.ask("ann", messages=messages, headers={"Authorization": "Bearer users", "x-a": "1"})
        assert (await reply.json())["model"] == "triage"
        _, body, headers = today.seen[0]
        contents = [message["content"] for message in body["messages"]]
        assert contents == ["system", "user", "assistant", "Answer briefly: user", "assistant"]
        assert body["model"] == "base"
        assert not {name.lower() for name in headers} & {"authorization", "x-a", "x-user-id"}
        assert (await running.state())["arms"]["stable"]["state"] == "Ready"


async def test_an_endpoint_that_refuses_the_taps_key_is_not_the_users_fault(running):
    async with Upstream(default=Behaviour(status=401)) as today:
        await running.serve(weight=0, stable=endpoint(f"{today.url}/v1", ""))
        assert (await running.ask("ann")).status == 502
        assert await running.counts() == {"stable": (1, 1)}


def test_a_template_reaches_nothing_and_multiplies_nothing():
    body = {"messages": [{"role": "user", "content": "hi"}]}
    for source in ("{{ prompt.__class__.__mro__ }}", "{{ other }}", "{% for i in prompt * 9999 %}{{ i }}{% endfor %}"):
        with pytest.raises(template.TemplateError) as raised:
            template.filled(source, body)
        assert "hi" not in str(raised.value).split()
    assert template.filled("<{{ prompt }}>", body)["messages"][0]["content"] == "<hi>"
    assert body["messages"][0]["content"] == "hi"


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "::ffff:169.254.169.254", "fe80::1", "127.0.0.1", "0.0.0.0", "::1"]
)
def test_an_endpoint_may_not_lie_at_metadata_or_in_this_pod(address):
    assert outbound.forbidden(address, loopback=False)


def test_an_endpoint_may_lie_in_the_cluster_or_outside():
    assert not outbound.forbidden("10.0.3.4", loopback=False)
    assert not outbound.forbidden("8.8.8.8", loopback=False)
