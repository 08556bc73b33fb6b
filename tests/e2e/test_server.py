"""vLLM in the server's image keeps the contract that the tap and its tests build on."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hack.cluster import images
from hack.images.standin.upstream import Behaviour, Upstream

from tests.cluster.cluster import Cluster, eventually
from tests.e2e import conversation

LONG = 600.0
Transcript = dict[str, dict[str, Any]]
STRUCTURED = ("application/json", "text/event-stream")
# It counts no tokens of a prompt.
NOT_BY_THE_STAND_IN = {"a prompt too long"}


def held_with_vllm(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> tuple[Transcript, list[Any]]:
    """The conversation, held within a pod of the server's image; and what the base said alone and beside adapters."""
    container = {
        "name": "server",
        "image": images.noted()["server"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-c", Path(conversation.__file__).read_text()],
        "env": [
            {"name": "VLLM_ALLOW_RUNTIME_LORA_UPDATING", "value": "True"},
            {"name": "OMP_NUM_THREADS", "value": "1"},
        ],
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "6Gi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}, {"name": "shm", "mountPath": "/dev/shm"}],
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        # Its processes talk through more shared memory than the 64 MiB of a pod without such a volume.
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "shm", "emptyDir": {"medium": "Memory"}}],
    }
    cluster.core.create_namespaced_pod(cluster.namespace, {"metadata": {"name": "server"}, "spec": spec})

    def over() -> str:
        phase = cluster.core.read_namespaced_pod("server", cluster.namespace).status.phase
        return phase if phase in ("Succeeded", "Failed") else ""

    phase = eventually(over, LONG)
    # As bytes: the client would take a log that is JSON for an object, and print it as Python does.
    answer = cluster.core.read_namespaced_pod_log("server", cluster.namespace, _preload_content=False)
    log = answer.data.decode()
    assert phase == "Succeeded", log[-8000:]
    with capsys.disabled():
        for line in log.splitlines():
            if line.startswith("ready after"):
                print(f"  vLLM in the server's image: {line}")

    def said(mark: str) -> list[Any]:
        (line,) = (line for line in log.splitlines() if line.startswith(mark))
        return list(json.loads(line.removeprefix(mark)))

    return {entry["step"]: entry for entry in said(conversation.MARK)}, said(conversation.BESIDE)


def held_with_the_stand_in(folder: Path) -> Transcript:
    """The conversation, held with what the tap's unit tests take for a server."""
    for name in ("good", "another", "wide", "damaged"):
        (folder / name).mkdir()
        (folder / name / "adapter_config.json").write_text("{}")
    refused = {f"load:{name}": Behaviour(status=500) for name in ("damaged", "wide")}

    async def hold() -> list[dict[str, Any]]:
        async with Upstream(check_paths=True, behaviours=refused) as upstream:
            return await asyncio.to_thread(conversation.hold, upstream.url, folder)

    return {entry["step"]: entry for entry in asyncio.run(hold())}


def parts(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every path in a JSON value with the type that stands there; the entries of a list are taken together."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from parts(below, f"{path}.{key}")
    elif isinstance(value, list):
        for below in value:
            yield from parts(below, f"{path}[]")
    else:
        yield path, type(value).__name__


def differences(standing: dict[str, Any], vllm: dict[str, Any]) -> list[str]:
    """Where the stand-in's answer to one step is none that vLLM gives; vLLM may say more than it does."""
    found = []
    if standing["status"] != vllm["status"]:
        found.append(f"status {standing['status']}, not {vllm['status']}")
    if {standing["type"], vllm["type"]} & set(STRUCTURED) and standing["type"] != vllm["type"]:
        found.append(f"content type {standing['type']}, not {vllm['type']}")
    elif standing["type"] in STRUCTURED:
        found += [f"has {path}: {kind}" for path, kind in set(parts(standing["body"])) - set(parts(vllm["body"]))]
    if standing["status"] >= 400 and "error" in standing["body"]:
        ours, theirs = standing["body"]["error"], vllm["body"]["error"]
        found += [f"{key} {ours[key]!r}, not {theirs[key]!r}" for key in ("type", "code") if ours[key] != theirs[key]]
        # vLLM may name the place within: body.18.
        if ours["param"] != theirs["param"] and not str(theirs["param"]).startswith(f"{ours['param']}."):
            found.append(f"param {ours['param']!r}, not {theirs['param']!r}")
    return found


def test_vllm_answers_as_the_tap_expects(cluster: Cluster, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vllm, beside = held_with_vllm(cluster, capsys)

    wrong = {step: entry for step, entry in vllm.items() if entry["status"] != entry["wanted"]}
    assert not wrong

    listed = {model["id"]: model for model in vllm["models after loading"]["body"]["data"]}
    assert {name: listed[name]["parent"] for name in listed} == {"base": None, "triage": "base", "another": "base"}
    assert listed["triage"]["root"].endswith("/good")

    # A 200 to a load proves nothing: only the probe tells an adapter of another base.
    def likely(step: str) -> dict[str, float]:
        choice = vllm[step]["body"]["choices"][0]
        return dict(choice["logprobs"]["top_logprobs"][0])

    assert likely("a probe of one of another base") == likely("a probe of the base")
    assert likely("a probe of the adapter") != likely("a probe of the base")

    # What the base says must not depend on who is asked in the same batch.
    alone, *others = (body["choices"][0] for body in beside)
    assert others
    for choice in others:
        assert choice["text"] == alone["text"]
        said = zip(alone["logprobs"]["token_logprobs"], choice["logprobs"]["token_logprobs"], strict=True)
        assert all(abs(one - other) < 0.1 for one, other in said), "more than rounding"

    events = vllm["chat in a stream with usage"]["body"]
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"] == []
    assert events[-2]["usage"]["completion_tokens"] == 4

    standing = held_with_the_stand_in(tmp_path)
    assert standing.keys() == vllm.keys()
    lies = {step: differences(standing[step], vllm[step]) for step in standing.keys() - NOT_BY_THE_STAND_IN}
    assert not {step: found for step, found in lies.items() if found}
