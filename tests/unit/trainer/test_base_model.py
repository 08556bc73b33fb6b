"""A base model is known by its identity, and refused with what is missing before a GPU is asked for."""

from __future__ import annotations

import json

import pytest
from tests.unit.trainer.fakes import MemoryStore, run_config

from retune_stores.errors import InputError
from retune_trainer import inputs


def model(**changes):
    files = {"config.json": b'{"model_type": "llama"}', "tokenizer.json": b"{}", "model.safetensors": b"weights"}
    store = MemoryStore("s3://models/base")
    store.objects = {name.replace("__", "."): content for name, content in {**files, **changes}.items() if content}
    return store


def refused(store, **spec):
    with pytest.raises(InputError) as caught:
        inputs.identify(run_config(**spec), store)
    return caught.value


def test_the_identity_changes_with_any_file_and_with_nothing_else():
    digest = inputs.identify(run_config(), model())
    assert digest == inputs.identify(run_config(), model())
    changed = model()
    changed.objects["model.safetensors"] = b"Weights"
    assert digest != inputs.identify(run_config(), changed)


def test_an_empty_folder_is_no_model():
    assert refused(MemoryStore()).reason == "BaseModelNotFound"


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"config.json": None}, "has no config.json (found model.safetensors, tokenizer.json)"),
        ({"config.json": b"{"}, "config.json is not JSON"),
        ({"config.json": b"[]"}, "config.json is not a JSON object"),
        ({"config.json": b"{}"}, "names no model_type"),
        ({"config.json": b'{"model_type": "x", "auto_map": {}}'}, "needs Python code of its own"),
        ({"tokenizer.json": None}, "has no tokenizer"),
        ({"model.safetensors": None}, "has no *.safetensors"),
        ({"model.safetensors": None, "pytorch_model.bin": b"pickle"}, "has no *.safetensors"),
    ],
)
def test_what_is_missing_is_named(files, says):
    store = model()
    for name, content in files.items():
        store.objects.pop(name, None)
        if content is not None:
            store.objects[name] = content
    error = refused(store)
    assert (error.reason, error.field, says in error.message) == ("BaseModelInvalid", "spec.baseModel.uri", True), error


def test_a_lost_part_of_the_weights_is_named():
    store = model()
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    store.objects["model.safetensors.index.json"] = json.dumps({"weight_map": shards}).encode()
    store.objects["model-00001-of-00002.safetensors"] = b"one"
    assert "lacks 1 of its 2 files of weights, model-00002-of-00002.safetensors first" in refused(store).message


def test_a_model_changed_in_its_place_is_refused():
    error = refused(model(), baseModel={"uri": "s3://models/base", "digest": "sha256:0000"})
    assert (error.reason, error.field) == ("BaseChanged", "spec.baseModel.digest")


@pytest.mark.parametrize("prefix", ["sha256:", ""])
def test_the_promised_digest_is_accepted_with_and_without_its_prefix(prefix):
    digest = inputs.identify(run_config(), model())
    promised = prefix + digest.removeprefix("sha256:")
    config = run_config(baseModel={"uri": "s3://models/base", "digest": promised})
    assert inputs.identify(config, model()) == digest
