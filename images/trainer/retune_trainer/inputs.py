"""What a run starts from: the base model's identity and the two data sets, found and checked without torch.

Used by preflight, which tells the operator what it found, and by training, which must find the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retune_stores import Store, open_store, split_file
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, NotFoundError
from retune_trainer import data
from retune_trainer.config import PreparedSet, RunConfig
from retune_trainer.data import Origin
from retune_trainer.places import place_of

TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
MAX_CONFIG = 4 << 20
# The largest in use have some 35 MB.
MAX_TOKENIZER = 64 << 20


@dataclass(frozen=True)
class DataFile:
    """A data set on this machine's disk."""

    path: Path
    origin: Origin
    digest: str


class Sources:
    """Opens what a run names."""

    def __init__(self, config: RunConfig, credentials: dict[Role, Credentials]) -> None:
        """Nothing is opened yet."""
        self._config = config
        self._credentials = credentials

    def base_model(self) -> Store:
        """The base model's folder."""
        return open_store(place_of(self._config, self._credentials, Role.BASE_MODEL), kind="model")

    def artifacts(self) -> Store:
        """This run's own folder below spec.artifacts.uri."""
        place = place_of(self._config, self._credentials, Role.ARTIFACTS)
        return open_store(replace(place, uri=self._config.artifacts_uri))

    def corrections(self) -> Store:
        """The folder that taps write the job's corrections to."""
        place = place_of(self._config, self._credentials, Role.ARTIFACTS)
        return open_store(replace(place, uri=self._config.corrections_uri))

    def fetch(self, role: Role, folder: Path) -> DataFile:
        """Bring a data set here and take its digest.

        Raises:
            InputError: it does not exist, may not be read, or its name ends in something no reader is for.
            StoreError: the store does not answer.
        """
        place = place_of(self._config, self._credentials, role)
        origin = Origin(place.uri, place.field)
        data.reader_of(origin)
        parent, name = split_file(place.uri)
        target = folder / role.name.lower() / name
        try:
            digest = open_store(replace(place, uri=parent), kind="dataset").download(name, target)
        except NotFoundError as error:
            message = f"{error}; upload it or correct {place.field}"
            raise InputError("DatasetNotFound", place.field, message) from None
        return DataFile(target, origin, f"sha256:{digest}")

    def prepared(self, found: PreparedSet, folder: Path) -> DataFile:
        """Bring a set here that preflight wrote into the run's folder, and hold it against its digest.

        Raises:
            InputError: it is gone, or not what preflight wrote.
            StoreError: the store does not answer.
        """
        store = self.artifacts()
        uri = f"{store.uri}/{found.path}"
        target = folder / found.path
        try:
            digest = f"sha256:{store.download(found.path, target)}"
        except NotFoundError as error:
            raise InputError("InputsChanged", "spec.artifacts.uri", f"{error}; start a new run") from None
        if digest != found.digest:
            message = f"{uri} was {found.digest} when this run was checked and is {digest} now; start a new run"
            raise InputError("InputsChanged", "spec.artifacts.uri", message)
        return DataFile(target, Origin(uri, "spec.dataset.train.uri"), digest)


def tokenizer(store: Store, folder: Path) -> Path | None:
    """The base model's tokenizer.json, brought here; None if it has none, or one that is too large to be one."""
    sizes = {entry.path: entry.size for entry in store.entries("tokenizer.json")}
    if not 0 < sizes.get("tokenizer.json", 0) <= MAX_TOKENIZER:
        return None
    target = folder / "tokenizer.json"
    store.download("tokenizer.json", target)
    return target


def identify(config: RunConfig, store: Store) -> str:
    """The base model's identity, once it is seen to be a model this image can train.

    Raises:
        InputError: there is none, something of it is missing, or it is not the one that was promised.
    """
    field, uri = "spec.baseModel.uri", config.spec.base_model.uri
    try:
        names = {entry.path: entry.size for entry in store.entries()}
    except NotFoundError as error:
        raise InputError("BaseModelNotFound", field, f"{error}; correct {field}") from None
    if not names:
        raise InputError("BaseModelNotFound", field, f"{uri} holds no files; upload the model or correct {field}")
    if "config.json" not in names:
        shown = ", ".join(sorted(names)[:5])
        message = f"{uri} has no config.json (found {shown}); give the folder of a Hugging Face model"
        raise InputError("BaseModelInvalid", field, message)
    _check_config(store, uri, names)
    _check_files(store, uri, set(names))
    digest = store.identity()
    if not digest.startswith("hf:"):
        digest = f"sha256:{digest}"
    promised = config.spec.base_model.digest
    # Written by hand, it may come without its prefix.
    if promised and promised.removeprefix("sha256:") != digest.removeprefix("sha256:"):
        message = f"{uri} is {digest}, but spec.baseModel.digest says {promised}; the model was changed in its place"
        raise InputError("BaseChanged", "spec.baseModel.digest", message)
    return digest


def _json(store: Store, uri: str, name: str) -> dict[str, Any]:
    try:
        content = json.loads(store.read(name))
    except (ValueError, RecursionError) as error:
        raise InputError("BaseModelInvalid", "spec.baseModel.uri", f"{uri}/{name} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError("BaseModelInvalid", "spec.baseModel.uri", f"{uri}/{name} is not a JSON object")
    return content


def _check_config(store: Store, uri: str, names: dict[str, int]) -> None:
    field = "spec.baseModel.uri"
    if names["config.json"] > MAX_CONFIG:
        raise InputError("BaseModelInvalid", field, f"{uri}/config.json is too large to be a model's configuration")
    config = _json(store, uri, "config.json")
    if "model_type" not in config:
        raise InputError("BaseModelInvalid", field, f"{uri}/config.json names no model_type")
    if "auto_map" in config:
        message = f"{uri} needs Python code of its own (auto_map in config.json), which is never run here"
        raise InputError("BaseModelInvalid", field, message)


def _check_files(store: Store, uri: str, names: set[str]) -> None:
    field = "spec.baseModel.uri"
    if not names & set(TOKENIZERS):
        raise InputError("BaseModelInvalid", field, f"{uri} has no tokenizer (one of {', '.join(TOKENIZERS)})")
    weights = {name for name in names if name.endswith(".safetensors") and "/" not in name}
    if not weights:
        message = f"{uri} has no *.safetensors; weights in other forms can carry code and are not loaded"
        raise InputError("BaseModelInvalid", field, message)
    index = "model.safetensors.index.json"
    if index in names:
        wanted = set(_json(store, uri, index).get("weight_map", {}).values())
        missing = sorted(wanted - weights)
        if missing:
            message = f"{uri} lacks {len(missing)} of its {len(wanted)} files of weights, {missing[0]} first"
            raise InputError("BaseModelInvalid", field, message)


def compare(config: RunConfig, *, base: str, train: str, gold: str) -> None:
    """Hold what was found against what preflight had found.

    Raises:
        InputError: something was changed in between.
    """
    expected = config.expected
    for field, uri, promised, found in (
        ("spec.baseModel.uri", config.spec.base_model.uri, expected.base_model, base),
        ("spec.dataset.train.uri", config.spec.dataset.train.uri, expected.train, train),
        ("spec.dataset.gold.uri", config.spec.dataset.gold.uri, expected.gold, gold),
    ):
        if promised is not None and promised.digest != found:
            message = (
                f"{uri} was {promised.digest} when this run was checked and is {found} now; "
                "start a new run, and change files under new names"
            )
            raise InputError("InputsChanged", field, message)
