"""A volume is a store like the others, and nothing outside its claim is reached."""

from __future__ import annotations

import hashlib

import pytest

from retune_stores import Place, open_store
from retune_stores.credentials import Credentials
from retune_stores.errors import InputError, NotFoundError, StoreError


def volume(uri="pvc://store/models"):
    return open_store(Place(uri, "spec.baseModel.uri", None, "spec.baseModel.secretRef", Credentials()))


def test_the_identity_is_over_path_size_and_sha256(claim):
    store = volume("pvc://store/models/base")
    lines = [
        f"{path.name} {path.stat().st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in (claim / "models/base").iterdir()
    ]
    assert store.identity() == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def test_the_first_conditional_write_wins_and_leaves_no_draft(claim):
    store = volume("pvc://store/out")
    assert store.put("manifest.json", b"first", if_absent=True) is True
    assert store.put("manifest.json", b"second", if_absent=True) is False
    assert store.read("manifest.json") == b"first"
    assert [path.name for path in (claim / "out").iterdir()] == ["manifest.json"]


def test_a_plain_write_replaces(claim):
    store = volume("pvc://store/out")
    store.put("a/b.json", b"1")
    store.put("a/b.json", b"2")
    assert [(e.path, e.size) for e in store.entries()] == [("a/b.json", 1)]
    assert store.read("a/b.json") == b"2"


@pytest.mark.parametrize("uri", ["pvc://store/../other", "pvc://store/a/../../..", "pvc:///x"])
def test_a_uri_that_leads_out_of_the_claim_is_refused(claim, uri):
    (claim.parent / "other").mkdir()
    with pytest.raises(InputError, match="leads out of its claim"):
        volume(uri)


def test_a_link_that_leads_out_of_the_claim_is_refused(claim, tmp_path):
    (tmp_path / "secret").write_text("x")
    (claim / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InputError, match="leads out of"):
        volume("pvc://store").read("link")


def test_what_is_not_there_is_not_found(claim, tmp_path):
    for path in ("absent", "models"):
        with pytest.raises(NotFoundError):
            volume("pvc://store").read(path)
        with pytest.raises(NotFoundError):
            volume("pvc://store").download(path, tmp_path / "x")


def test_a_claim_that_is_not_mounted_may_come_later(claim):
    with pytest.raises(StoreError, match="claim 'other' of pvc://other/x is not mounted"):
        volume("pvc://other/x")


def test_deleting_what_is_not_there_is_no_error(claim):
    volume("pvc://store").delete(["train.jsonl", "absent"])
    assert not (claim / "train.jsonl").exists()
