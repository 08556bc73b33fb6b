"""Where objects lie, by scheme. A new kind of store is one new file and one line in `open_store`."""

from __future__ import annotations

from typing import Literal

from retune_trainer.config import Location, RunConfig
from retune_trainer.credentials import Credentials, Role
from retune_trainer.errors import InputError
from retune_trainer.stores.base import Entry, Place, Store
from retune_trainer.stores.hf import HfStore
from retune_trainer.stores.pvc import PvcStore
from retune_trainer.stores.s3 import S3Store

__all__ = ["Entry", "Place", "Store", "open_store", "place_of", "split_file"]

FIELDS = {
    Role.BASE_MODEL: "spec.baseModel",
    Role.TRAIN: "spec.dataset.train",
    Role.GOLD: "spec.dataset.gold",
    Role.ARTIFACTS: "spec.artifacts",
    Role.GUARD: "spec.evaluation.guard",
}


def open_store(place: Place, kind: Literal["model", "dataset"] = "model") -> Store:
    """The store a URI names.

    Raises:
        InputError: no store has this scheme.
    """
    scheme = place.uri.partition("://")[0]
    match scheme:
        case "s3":
            return S3Store(place)
        case "hf":
            return HfStore(place, kind=kind)
        case "pvc":
            return PvcStore(place)
        case _:
            message = f"{place.uri!r}: no such scheme; use s3://, hf:// or pvc://"
            raise InputError("ConfigInvalid", place.field, message)


def _location(config: RunConfig, role: Role) -> Location:
    spec = config.spec
    location = {
        Role.BASE_MODEL: spec.base_model,
        Role.TRAIN: spec.dataset.train,
        Role.GOLD: spec.dataset.gold,
        Role.ARTIFACTS: spec.artifacts,
        Role.GUARD: spec.evaluation.guard,
    }[role]
    if location is None:
        raise InputError("ConfigInvalid", FIELDS[role], f"{FIELDS[role]} is absent, yet was asked for")
    return location


def place_of(config: RunConfig, credentials: dict[Role, Credentials], role: Role) -> Place:
    """The place of a role, with the credentials that count: an s3:// URI without its own Secret uses the artifacts'."""
    location = _location(config, role)
    opener = role
    if location.secret_ref is None and location.uri.startswith("s3://"):
        opener = Role.ARTIFACTS
    secret = _location(config, opener).secret_ref
    return Place(
        uri=location.uri,
        field=f"{FIELDS[role]}.uri",
        secret=secret.name if secret else None,
        secret_field=f"{FIELDS[opener]}.secretRef",
        credentials=credentials.get(opener, Credentials()),
    )


def split_file(uri: str) -> tuple[str, str]:
    """The folder and the name of a file's URI."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    return folder, name
