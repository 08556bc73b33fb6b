"""A tap that was started again has the mounted document, which lags behind what was pushed: it must not serve that."""

from __future__ import annotations

from tests.unit.tap.running import Running, envelope, payload


async def test_a_weight_that_was_taken_back_stays_taken_back_when_the_mounted_file_lags(tmp_path):
    old = envelope(payload(9, weight=100))
    (tmp_path / "arms.json").write_bytes(old)
    async with Running(tmp_path) as first:
        first.tap.start()
        assert await first.push(envelope(payload(10, weight=0))) == 200
    async with Running(tmp_path) as again:
        again.tap.start()
        await again.look()
        assert again.tap.desk.generation == 10
        assert (await again.ask("ann")).headers["x-retune-arm"] == "stable"
        (tmp_path / "arms.json").write_bytes(envelope(payload(11, weight=100)))
        again.tap.read_file()
        assert (await again.ask("ann")).headers["x-retune-arm"] == "canary"


async def test_what_was_kept_is_trusted_no_more_than_what_is_mounted(tmp_path):
    async with Running(tmp_path) as first:
        assert await first.push(envelope(payload(10))) == 200
        (kept,) = tmp_path.glob(".arms*")
    kept.write_bytes(kept.read_bytes().replace(b"a", b"b"))
    async with Running(tmp_path) as again:
        again.tap.start()
        assert again.tap.desk.generation == 0


async def test_a_pod_whose_disk_is_full_takes_documents_all_the_same(tmp_path):
    async with Running(tmp_path, models=tmp_path / "nowhere") as running:
        assert await running.push(envelope(payload(10))) == 200
        assert running.tap.desk.generation == 10


async def test_a_mount_that_is_swapped_under_its_name_is_seen_at_once(tmp_path):
    """The kubelet writes a new folder and turns a link to it."""
    for number, weight in ((1, 100), (2, 0)):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "arms.json").write_bytes(envelope(payload(number, weight=weight)))
    data, file = tmp_path / "..data", tmp_path / "mounted.json"
    data.symlink_to("..1")
    file.symlink_to("..data/arms.json")
    async with Running(tmp_path, arms_file=file) as running:
        running.tap.start()
        assert running.tap.desk.generation == 1
        turned = tmp_path / "..turned"
        turned.symlink_to("..2")
        turned.replace(data)
        running.tap.read_file()
        assert running.tap.desk.generation == 2
