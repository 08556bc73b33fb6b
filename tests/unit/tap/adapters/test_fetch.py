"""The base model comes whole, is the one that was trained on, and brings nothing that could carry code."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest

from retune_stores import pvc
from retune_tap import fetch

URI = "pvc://store/base"
CONTENT = {
    "config.json": b"{}",
    "generation_config.json": b"{}",
    "model.safetensors": b"w" * 5000,
    "tokenizer.json": b"{}",
    "merges.txt": b"a b",
    "chat_template.jinja": b"{{ messages }}",
    "consolidated.safetensors": b"w" * 5000,
    "modeling_own.py": b"import os",
    "pytorch_model.bin": b"a pickle",
    ".gitattributes": b"",
}
SERVED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "merges.txt"} | {
    "chat_template.jinja"
}


@pytest.fixture
def model(claim):
    folder = claim / "base"
    folder.mkdir()
    for name, content in CONTENT.items():
        (folder / name).write_bytes(content)
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_bytes(b"{}")
    return folder


@pytest.fixture
def told(tmp_path):
    """The termination message."""
    path = tmp_path / "termination-log"
    path.touch()
    return path


def identity(folder):
    files = [path for path in folder.rglob("*") if path.is_file()]
    lines = [
        f"{path.relative_to(folder)} {path.stat().st_size} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in files
    ]
    return f"sha256:{hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()}"


def run(models, told, uri=URI, digest="", **more):
    environ = {"RETUNE_BASE_URI": uri, "RETUNE_BASE_DIGEST": digest, "RETUNE_MODELS": str(models), **more}
    return fetch.main(environ, told)


def served(models):
    return {path.name for path in (models / "base").iterdir() if not path.name.startswith(".")}


@pytest.fixture
def downloads(monkeypatch):
    """The paths that were downloaded, in their order."""
    seen = []
    real = pvc.PvcStore.download

    def download(self, path, target):
        seen.append(path)
        return real(self, path, target)

    monkeypatch.setattr(pvc.PvcStore, "download", download)
    return seen


def test_what_a_server_reads_comes_and_nothing_else(model, models, told):
    assert run(models, told, digest=identity(model)) == 0
    assert served(models) == SERVED
    assert (models / "base/model.safetensors").read_bytes() == CONTENT["model.safetensors"]
    assert told.read_text() == ""


def test_a_complete_folder_is_left_alone_even_when_the_store_is_gone(model, models, told, downloads):
    digest = identity(model)
    assert run(models, told, digest=digest) == 0
    downloads.clear()
    for path in model.rglob("*.safetensors"):
        path.unlink()
    assert run(models, told, digest=digest) == 0
    assert downloads == []


def test_an_interrupted_fetch_is_gone_on_with(model, models, told, downloads, monkeypatch):
    real = pvc.PvcStore.download

    def breaks(self, path, target):
        if path == "model.safetensors":
            target.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        return real(self, path, target)

    with monkeypatch.context() as patch:
        patch.setattr(pvc.PvcStore, "download", breaks)
        assert run(models, told, digest=identity(model)) == 65
    assert "more storage" in told.read_text()
    assert "model.safetensors" not in served(models)
    before = set(downloads)
    downloads.clear()
    assert run(models, told, digest=identity(model)) == 0
    assert served(models) == SERVED
    assert before
    assert not before & set(downloads)


def test_a_model_that_was_changed_since_is_refused(model, models, told):
    digest = identity(model)
    (model / "model.safetensors").write_bytes(b"x" * 5000)
    assert run(models, told, digest=digest) == 64
    assert digest in told.read_text()
    assert "\n" not in told.read_text()
    assert not (models / "base").exists()


def test_a_model_changed_while_it_is_read_is_not_complete(model, models, told, monkeypatch):
    real = pvc.PvcStore.download

    def download(self, path, target):
        (model / "model.safetensors").write_bytes(b"x" * 5000)
        return real(self, path, target)

    monkeypatch.setattr(pvc.PvcStore, "download", download)
    assert run(models, told) == 64
    monkeypatch.undo()


def test_another_model_under_the_same_address_replaces_the_old_one_whole(model, models, told):
    assert run(models, told) == 0
    (model / "merges.txt").unlink()
    (model / "model.safetensors").write_bytes(b"x" * 5000)
    assert run(models, told) == 0
    assert served(models) == SERVED - {"merges.txt"}
    assert (models / "base/model.safetensors").read_bytes() == b"x" * 5000


def test_a_promised_digest_may_come_without_its_prefix(model, models, told):
    assert run(models, told, digest=identity(model).removeprefix("sha256:")) == 0


@pytest.mark.parametrize(
    ("gone", "message"),
    [("config.json", "has no config.json"), ("*.safetensors", "has no *.safetensors")],
)
def test_what_is_no_model_is_refused_with_its_address(model, models, told, gone, message):
    for path in model.glob(gone):
        path.unlink()
    assert run(models, told) == 64
    assert message in told.read_text()
    assert URI in told.read_text()


def test_a_store_that_is_not_there_can_be_tried_again(models, told, claim):
    assert run(models, told, uri="pvc://absent/base") == 65
    assert "absent" in told.read_text()


def test_a_store_that_refuses_the_connection_names_no_secret(models, told, unused_tcp_port):
    keys = {
        "RETUNE_BASE_MODEL_AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
        "RETUNE_BASE_MODEL_AWS_SECRET_ACCESS_KEY": "very-secret",
        "RETUNE_BASE_MODEL_AWS_ENDPOINT_URL": f"http://someone:password@127.0.0.1:{unused_tcp_port}",
    }
    assert run(models, told, uri="s3://models/base", **keys) == 65
    said = told.read_text()
    assert "s3://models/base" in said
    assert not any(secret in said for secret in ("AKIAEXAMPLE", "very-secret", "password@"))


def test_an_address_without_a_scheme_is_the_users_error(models, told):
    assert run(models, told, uri="/models/base") == 64
    assert "s3://, hf:// or pvc://" in told.read_text()


def test_a_file_in_the_hubs_cache_is_moved_out_of_it(model, models, told, monkeypatch, tmp_path):
    """The hub's store links to its cache, which is deleted in the end and which the server could not see."""
    real = pvc.PvcStore.download

    def download(self, path, target):
        cached = models / ".hf" / path
        digest = real(self, path, cached)
        target.symlink_to(cached)
        return digest

    monkeypatch.setattr(pvc.PvcStore, "download", download)
    assert run(models, told) == 0
    assert not (models / ".hf").exists()
    weights = models / "base/model.safetensors"
    assert not weights.is_symlink()
    assert weights.read_bytes() == CONTENT["model.safetensors"]


def test_the_stores_need_neither_pydantic_nor_torch():
    """The tap's image has none of them."""
    code = (
        "import sys, retune_stores, retune_tap.fetch; print({'pydantic', 'torch', 'retune_trainer'} & set(sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == "set()"


def content_digest(folder):
    lines = [f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n" for path in folder.iterdir()]
    return f"sha256:{hashlib.sha256(''.join(sorted(lines)).encode()).hexdigest()}"


@pytest.fixture
def trained(claim):
    """A whole model as a run publishes it."""
    folder = claim / "base"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "training_args.bin"):
        (folder / name).write_bytes(CONTENT.get(name, b"a pickle"))
    return folder


def test_a_trained_model_comes_if_its_files_are_those_that_were_published(trained, models, told):
    assert run(models, told, RETUNE_BASE_CONTENT=content_digest(trained)) == 0
    assert served(models) == {"config.json", "model.safetensors", "tokenizer.json"}


def test_a_complete_trained_model_is_left_alone_even_when_the_store_is_gone(trained, models, told, downloads):
    content = content_digest(trained)
    assert run(models, told, RETUNE_BASE_CONTENT=content) == 0
    downloads.clear()
    for path in trained.iterdir():
        path.unlink()
    assert run(models, told, RETUNE_BASE_CONTENT=content) == 0
    assert downloads == []


def test_a_trained_model_that_was_changed_in_the_store_is_refused(trained, models, told):
    published = content_digest(trained)
    (trained / "model.safetensors").write_bytes(b"x" * 5000)
    assert run(models, told, RETUNE_BASE_CONTENT=published) == 64
    assert "as it was published" in told.read_text()
    assert not (models / "base").exists()
