"""Of all attempts of a run exactly one result counts, and no late one can change it."""

from __future__ import annotations

import hashlib
import json

import pytest
from tests.unit.trainer.fakes import MemoryStore, run_config

from retune_stores.errors import InputError
from retune_trainer.attempts import Attempts
from retune_trainer.errors import SupersededError
from retune_trainer.publish import digest_of, publish

CONFIG, WEIGHTS = (hashlib.sha256(content).hexdigest() for content in (b"{}", b"learned"))
DIGEST = digest_of({"adapter_config.json": {"sha256": CONFIG}, "adapter_model.safetensors": {"sha256": WEIGHTS}})


def attempt(store, number, uid="uid-1"):
    return Attempts(run_config(uid=uid, attempt=number), store)


def publish_as(store, number, tmp_path, uid="uid-1", weights=b"learned", kind="adapter", outcome=None):
    folder = tmp_path / f"adapter-{number}"
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(weights)
    (folder / "adapter_config.json").write_text("{}")
    config = run_config(uid=uid, attempt=number)
    return publish(
        config,
        store,
        Attempts(config, store),
        folder=folder,
        kind=kind,
        evaluation={"by": number},
        resolved={},
        outcome=outcome or {"steps": number},
    )


class TestClaims:
    def test_an_attempt_goes_on_beside_older_claims(self):
        store = MemoryStore()
        attempt(store, 1).claim()
        attempt(store, 2).claim()
        attempt(store, 2).check()
        assert store.writes == ["attempts/1.json", "attempts/2.json"]

    def test_a_zombie_stops_with_70_and_writes_nothing(self):
        store = MemoryStore()
        attempt(store, 10).claim()
        with pytest.raises(SupersededError) as caught:
            attempt(store, 9).claim()
        assert (caught.value.exit_code, caught.value.outcome) == (70, "Superseded")
        assert store.writes == ["attempts/10.json"]

    def test_a_claim_of_another_run_of_the_same_name_is_not_believed(self):
        store = MemoryStore()
        attempt(store, 5, uid="deleted").claim()
        attempt(store, 1).claim()
        attempt(store, 1).check()

    def test_what_is_no_claim_is_not_believed(self):
        store = MemoryStore()
        for name in ("attempts/9.txt", "attempts/x.json", "attempts/9.json"):
            store.put(name, b"{half a claim")
        attempt(store, 1).check()


class TestManifest:
    def test_it_is_written_last_and_lists_every_file_with_its_digest(self, tmp_path):
        store = MemoryStore()
        result = publish_as(store, 1, tmp_path)
        assert store.writes[-1] == "manifest.json"
        manifest = json.loads(store.objects["manifest.json"])
        assert set(manifest["adapter"]["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
        assert manifest["adapter"]["digest"] == f"sha256:{digest_of(manifest['adapter']['files'])}"
        assert manifest["adapter"]["path"] == f"adapter/{digest_of(manifest['adapter']['files'])[:12]}/"
        assert manifest["result"] == result
        for name in manifest["adapter"]["files"]:
            assert manifest["adapter"]["path"] + name in store.objects
        assert result["artifact"]["uri"] == f"{store.uri}/{manifest['adapter']['path'].rstrip('/')}"

    def test_a_second_attempt_answers_with_the_first_ones_result(self, tmp_path):
        store = MemoryStore()
        first = publish_as(store, 1, tmp_path)
        manifest = store.objects["manifest.json"]
        second = publish_as(store, 2, tmp_path, weights=b"learned otherwise")
        assert second == first
        assert store.objects["manifest.json"] == manifest

    def test_two_attempts_never_mix_their_files(self, tmp_path):
        store = MemoryStore()
        first = publish_as(store, 1, tmp_path)
        publish_as(store, 2, tmp_path, weights=b"learned otherwise")
        path = first["artifact"]["uri"].removeprefix(f"{store.uri}/")
        assert store.objects[f"{path}/adapter_model.safetensors"] == b"learned"

    def test_a_run_of_the_same_name_cannot_publish_over_another(self, tmp_path):
        store = MemoryStore()
        publish_as(store, 1, tmp_path, uid="deleted")
        manifest = store.objects["manifest.json"]
        with pytest.raises(InputError) as caught:
            publish_as(store, 1, tmp_path)
        assert (caught.value.reason, caught.value.field) == ("ArtifactsNotWritable", "spec.artifacts.uri")
        assert "another run of this name (uid deleted)" in caught.value.message
        assert store.objects["manifest.json"] == manifest

    def test_a_zombie_does_not_publish_even_when_no_manifest_is_there(self, tmp_path):
        store = MemoryStore()
        attempt(store, 2).claim()
        with pytest.raises(SupersededError):
            publish_as(store, 1, tmp_path)
        assert store.writes == ["attempts/2.json"]

    @pytest.mark.parametrize("written", ["evaluation.json", f"adapter/{DIGEST[:12]}/adapter_config.json"])
    def test_an_attempt_superseded_while_it_uploads_writes_no_manifest(self, tmp_path, written):
        class Overtaken(MemoryStore):
            def put(self, path, content, *, if_absent=False):
                if path == written:
                    attempt(self, 2).claim()
                return super().put(path, content, if_absent=if_absent)

        store = Overtaken()
        with pytest.raises(SupersededError):
            publish_as(store, 1, tmp_path)
        assert "manifest.json" not in store.objects

    def test_the_manifest_names_the_evaluation_by_size_and_digest_and_no_late_attempt_changes_it(self, tmp_path):
        store = MemoryStore()
        publish_as(store, 1, tmp_path)
        publish_as(store, 2, tmp_path, weights=b"learned otherwise")
        named = json.loads(store.objects["manifest.json"])["evaluation"]
        written = store.objects[named["path"]]
        assert (named["size"], named["sha256"]) == (len(written), hashlib.sha256(written).hexdigest())
        assert json.loads(written) == {"by": 1}

    def test_a_segment_with_half_of_an_emoji_in_its_name_loses_no_training(self, tmp_path):
        store = MemoryStore()
        outcome = {"segments": [{"name": "teen \ud83d", "n": 60}]}
        publish_as(store, 1, tmp_path, outcome=outcome)
        assert json.loads(store.objects["manifest.json"])["result"]["segments"][0]["name"] == "teen ?"

    def test_a_full_fine_tune_is_published_as_a_model(self, tmp_path):
        store = MemoryStore()
        result = publish_as(store, 1, tmp_path, kind="model")
        manifest = json.loads(store.objects["manifest.json"])
        assert "adapter" not in manifest
        assert result["artifact"]["uri"] == f"{store.uri}/{manifest['model']['path'].rstrip('/')}"
        assert manifest["model"]["path"].startswith("model/")
