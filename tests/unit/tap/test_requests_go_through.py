"""What a user sees: the answer, unchanged but for the model's public name, from an arm that is named."""

from __future__ import annotations

import json


async def test_an_answer_names_the_public_model_its_arm_and_its_id(running):
    await running.serve(weight=100)
    reply = await running.ask("ann")
    answer = await reply.json()
    assert reply.status == 200
    assert answer["choices"][0]["message"]["content"] == "answer of triage-bbbbbbbbbbbb"
    assert answer["model"] == "triage"
    assert reply.headers["x-retune-arm"] == "canary"
    assert reply.headers["x-retune-id"] == answer["id"]


async def test_a_stream_comes_in_events_with_the_public_name_and_no_usage_nobody_asked_for(running):
    await running.serve(weight=0)
    reply = await running.ask("ann", stream=True)
    events = [line[6:] for line in (await reply.text()).split("\n\n") if line]
    assert events.pop() == "[DONE]"
    chunks = [json.loads(event) for event in events]
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == "answer of triage-aaaaaaaaaaaa"
    assert {chunk["model"] for chunk in chunks} == {"triage"}
    assert {chunk["id"] for chunk in chunks} == {reply.headers["x-retune-id"]}
    assert all(chunk["choices"] for chunk in chunks)


async def test_a_user_who_asks_for_the_usage_of_a_stream_gets_it(running):
    await running.serve(weight=0)
    reply = await running.ask("ann", stream=True, stream_options={"include_usage": True})
    events = [json.loads(line[6:]) for line in (await reply.text()).split("\n\n") if line and "[DONE]" not in line]
    assert events[-1]["usage"]["completion_tokens"] == 4


async def test_ten_megabytes_go_through_and_seventeen_are_refused(running):
    await running.serve(weight=0)
    long = "x" * (10 * 1024 * 1024)
    reply = await running.ask("ann", messages=[{"role": "user", "content": long}])
    assert reply.status == 200
    assert len(running.upstream.seen[-1][1]["messages"][0]["content"]) == len(long)
    reply = await running.ask("ann", messages=[{"role": "user", "content": "x" * (17 * 1024 * 1024)}])
    assert reply.status == 413


async def test_the_models_list_holds_the_public_name_only(running):
    await running.serve()
    async with running.http.get(f"{running.users}/v1/models") as reply:
        assert [entry["id"] for entry in (await reply.json())["data"]] == ["triage"]


async def test_an_unknown_model_is_not_found_as_by_the_server_itself(running):
    await running.serve()
    for name in ("gpt", "base", "triage-bbbbbbbbbbbb"):
        reply = await running.ask(model=name)
        problem = (await reply.json())["error"]
        assert (reply.status, problem["type"], problem["param"]) == (404, "NotFoundError", "model")
    assert not running.upstream.seen


async def test_malformed_bodies_are_the_clients_fault_and_never_reach_the_server(running):
    await running.serve()
    for body in (b"{", b"[]", b"\xff", b'"text"', b"[" * 200_000, b'{"model": 3}', b""):
        async with running.http.post(f"{running.users}/v1/chat/completions", data=body) as reply:
            problem = (await reply.json())["error"]
            assert (reply.status, problem["type"]) == (400, "Bad Request"), body[:20]
    assert not running.upstream.seen
    assert await running.counts() == {}


async def test_the_servers_own_400_goes_to_the_user_and_counts_for_nobody(running):
    await running.serve(weight=100)
    reply = await running.ask("ann", temperature=-1)
    assert (reply.status, (await reply.json())["error"]["param"]) == (400, "temperature")
    assert await running.counts() == {}


async def test_adapters_cannot_be_loaded_from_outside_however_the_path_is_spelt(running):
    await running.serve()
    for path in (
        "/v1/load_lora_adapter",
        "/v1/unload_lora_adapter",
        "/v1/Load_Lora_Adapter",
        "/v1/%6coad_lora_adapter",
        "/v1//load_lora_adapter",
        "/v1/./load_lora_adapter",
        "/v1/chat/../load_lora_adapter",
        "/load_lora_adapter",
        "/v1/load_lora_adapter/",
    ):
        from yarl import URL

        url = URL(f"{running.users}{path}", encoded=True)
        async with running.http.post(url, json={"lora_name": "evil", "lora_path": "/"}) as reply:
            assert reply.status == 404, path
    assert "evil" not in running.upstream.adapters


async def test_headers_of_the_connection_and_credentials_end_at_the_tap(running):
    await running.serve(weight=0)
    headers = {
        "Connection": "x-secret-hop",
        "x-secret-hop": "1",
        "Proxy-Authorization": "x",
        "Authorization": "Bearer user",
        "Cookie": "a=b",
        "x-request-id": "kept",
    }
    await running.ask("ann", headers=headers)
    seen = {name.lower(): value for name, value in running.upstream.seen[-1][2].items()}
    assert seen["x-request-id"] == "kept"
    assert not seen.keys() & {"x-secret-hop", "proxy-authorization", "authorization", "cookie"}
