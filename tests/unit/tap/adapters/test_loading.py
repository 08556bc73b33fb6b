"""An adapter is served only if it is the one its run published, the server has it, and it does something."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.unit.tap.adapters.published import arm_of, config, publish, tensors

from retune_stores import Place
from retune_stores.credentials import Credentials, Role
from retune_stores.pvc import PvcStore
from retune_tap.adapters import Loader, folder
from retune_tap.arms import AdapterError, Arm, Kind


def files(weights=None, **changes):
    return {
        "adapter_config.json": json.dumps(config(**changes)).encode(),
        "adapter_model.safetensors": tensors() if weights is None else weights,
    }


async def test_a_published_adapter_is_fetched_loaded_read_back_and_told_apart(published, models, server, loader):
    arm = arm_of(publish(published, **{"README.md": b"# An adapter"}))
    await loader.ensure(arm)
    folder = models / "adapters" / arm.digest.removeprefix("sha256:")[:12]
    assert server.adapters == {arm.name: str(folder)}
    assert await loader.loaded() == {"base", arm.name}
    assert {model for model, _ in server.asked} == {"base", arm.name}


async def test_only_what_the_server_reads_is_kept(published, models, loader):
    arm = arm_of(publish(published, **{"training_args.bin": b"a pickle", "setup.py": b"import os"}))
    await loader.ensure(arm)
    (folder,) = (models / "adapters").iterdir()
    kept = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    assert kept == {"adapter_config.json", "adapter_model.safetensors"}


async def test_files_other_than_those_published_never_get_into_place(published, models, server, loader):
    arm = arm_of(publish(published))
    (published / "adapter_model.safetensors").write_bytes(tensors(value=9.0))
    with pytest.raises(AdapterError, match=r"not sha256:.* as its run published"):
        await loader.ensure(arm)
    assert list((models / "adapters").iterdir()) == []
    assert server.loads == []


async def test_a_file_added_to_the_folder_is_noticed(published, loader):
    arm = arm_of(publish(published))
    (published / "more.safetensors").write_bytes(tensors())
    with pytest.raises(AdapterError, match="as its run published"):
        await loader.ensure(arm)


async def test_a_name_that_leads_out_of_the_folder_is_refused(published, loader, monkeypatch):
    arm = arm_of(publish(published))
    (published / "sub").mkdir()
    (published / "sub" / "adapter_config.json").write_text("{}")
    with pytest.raises(AdapterError, match="which no run publishes"):
        await loader.ensure(arm)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (files(peft_type="IA3"), "'IA3'"),
        (files(use_dora=True), "use_dora"),
        (files(weights=tensors(rank=32)), "rank is 32.*at most 16"),
        (files(weights=tensors()[:40]), "damaged"),
        (files(weights=tensors()[:-1]), "damaged"),
        (files(weights=b"\xff" * 64), "damaged"),
        ({"adapter_config.json": b"[1]", "adapter_model.safetensors": tensors()}, "not a JSON object"),
        ({"adapter_model.safetensors": tensors()}, "no adapter_config.json"),
        ({"adapter_config.json": json.dumps(config()).encode()}, "no adapter_model.safetensors"),
    ],
)
async def test_what_is_no_adapter_for_this_server_is_not_given_to_it(published, server, loader, content, problem):
    arm = arm_of(publish(published, content))
    with pytest.raises(AdapterError, match=problem):
        await loader.ensure(arm)
    assert server.loads == []


async def test_an_adapter_of_another_base_loads_and_is_found_out(published, server, loader):
    arm = arm_of(publish(published, files(base_model_name_or_path="another")))
    with pytest.raises(AdapterError, match="answers as its base does"):
        await loader.ensure(arm)
    assert arm.name in server.adapters


async def test_an_adapter_of_another_base_is_found_out_among_noise_too(published, server, loader):
    server.noise = 0.1
    arm = arm_of(publish(published, files(base_model_name_or_path="another")))
    with pytest.raises(AdapterError, match="answers as its base does"):
        await loader.ensure(arm)


async def test_an_adapter_that_does_something_is_seen_among_noise(published, server, loader):
    server.noise = 0.1
    arm = arm_of(publish(published))
    await loader.ensure(arm)
    assert arm.name in await loader.loaded()


@pytest.mark.parametrize("zero", [0.0, -0.0])
async def test_an_adapter_that_learnt_nothing_yet_is_served_unprobed(published, server, loader, zero):
    arm = arm_of(publish(published, files(weights=tensors(value=zero), base_model_name_or_path="another")))
    await loader.ensure(arm)
    assert server.asked == []
    assert arm.name in await loader.loaded()


async def test_a_loaded_adapter_is_neither_loaded_nor_probed_again(published, server, loader):
    arm = arm_of(publish(published))
    await asyncio.gather(loader.ensure(arm), loader.ensure(arm), loader.ensure(arm))
    asked = len(server.asked)
    await loader.ensure(arm)
    assert len(server.loads) == 1
    assert len(server.asked) == asked


async def test_after_the_server_was_started_again_the_adapter_is_loaded_again_without_the_store(
    published, server, loader
):
    arm = arm_of(publish(published))
    await loader.ensure(arm)
    server.adapters.clear()
    assert arm.name not in await loader.loaded()
    for path in published.iterdir():
        path.unlink()
    await loader.ensure(arm)
    assert arm.name in await loader.loaded()


async def test_an_adapter_loaded_before_the_tap_was_started_again_is_taken_as_loaded(published, models, server, loader):
    arm = arm_of(publish(published))
    await loader.ensure(arm)
    again = Loader(server.address, models, {}, most_rank=16)
    try:
        await again.ensure(arm)
        assert arm.name in await again.loaded()
    finally:
        await again.close()


async def test_files_changed_in_the_pod_are_not_loaded_by_the_next_tap(published, models, server, loader):
    arm = arm_of(publish(published))
    await loader.ensure(arm)
    (folder,) = (models / "adapters").iterdir()
    (folder / "adapter_model.safetensors").write_bytes(tensors(value=3.0))
    again = Loader(server.address, models, {})
    try:
        with pytest.raises(AdapterError, match="changed after they were fetched"):
            await again.ensure(arm)
    finally:
        await again.close()
    assert folder.is_dir()  # the server still has it loaded, and dies without its folder


async def test_another_model_under_the_same_name_is_not_taken_for_it(published, server, loader):
    arm = arm_of(publish(published))
    server.adapters[arm.name] = "/models/adapters/000000000000"
    with pytest.raises(AdapterError, match="does not list it"):
        await loader.ensure(arm)


async def test_a_success_that_is_not_listed_is_none(published, server, loader):
    server.hidden = True
    with pytest.raises(AdapterError, match="does not list it"):
        await loader.ensure(arm_of(publish(published)))


async def test_the_servers_refusal_is_told_in_its_own_words(published, server, loader):
    server.refuses = (500, "Call to add_lora method failed: wrong keys")
    with pytest.raises(AdapterError, match="500: Call to add_lora method failed: wrong keys"):
        await loader.ensure(arm_of(publish(published)))


async def test_a_server_that_is_gone_is_told_from_one_that_refuses(published, server, loader):
    arm = arm_of(publish(published))
    await loader.ensure(arm)
    await server.stop()
    with pytest.raises(AdapterError, match="does not answer"):
        await loader.loaded()
    with pytest.raises(AdapterError, match="does not answer"):
        await loader.ensure(arm)


async def test_a_store_that_cannot_be_reached_is_named_without_its_secrets(models, server, unused_tcp_port_factory):
    keys = Credentials(
        {
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "very-secret",
            "AWS_ENDPOINT_URL": f"http://user:pass@127.0.0.1:{unused_tcp_port_factory()}",
        }
    )
    loader = Loader(server.address, models, {Role.ARTIFACTS: keys})
    with pytest.raises(AdapterError, match=r"s3://models/run/adapter/x") as caught:
        await loader.ensure(arm_of(f"sha256:{'a' * 64}", "s3://models/run/adapter/x"))
    assert not {"very-secret", "AKIAEXAMPLE", "user:pass"} & set(str(caught.value).split())
    assert "very-secret" not in str(caught.value)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("digest", ["", "sha256:abc", "../../../etc/passwd", "md5:" + "a" * 64])
async def test_a_digest_that_is_none_names_no_folder(models, loader, digest):
    with pytest.raises(AdapterError, match="is no sha256"):
        await loader.ensure(Arm(kind=Kind.ADAPTER, name="triage-x", digest=digest, uri="pvc://store/run"))
    assert list(models.iterdir()) == []


async def test_base_and_endpoint_need_no_files(models, loader):
    await loader.ensure(Arm(kind=Kind.BASE, name="base"))
    await loader.ensure(Arm(kind=Kind.ENDPOINT, name="elsewhere", url="https://example.com/v1"))
    assert list(models.iterdir()) == []


async def test_two_models_that_are_served_by_the_same_files_are_loaded_at_once(published, server, loader):
    arm = arm_of(publish(published))
    other = Arm(**{**arm.__dict__, "name": arm.name.replace("triage", "router")})
    await asyncio.gather(loader.ensure(arm), loader.ensure(other))
    assert set(server.adapters) == {arm.name, other.name}


async def test_a_download_that_was_given_up_does_not_stand_in_the_way_of_the_next(published, models):
    arm = arm_of(publish(published))
    digest, target = arm.digest.removeprefix("sha256:"), models / "adapters" / "twice"
    place = Place(uri=arm.uri, field="x", secret=None, secret_field="y", credentials=Credentials())

    class Overtaken(PvcStore):
        def entries(self, prefix: str = ""):
            if not target.is_dir():
                folder.bring(PvcStore(place), digest, target)
            return super().entries(prefix)

    folder.bring(Overtaken(place), digest, target)
    assert [path.name for path in target.parent.iterdir()] == ["twice"]
