"""The place and the credentials of each role in a run's spec."""

from __future__ import annotations

from retune_stores import Place
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError
from retune_trainer.config import Location, RunConfig

FIELDS = {
    Role.BASE_MODEL: "spec.baseModel",
    Role.TRAIN: "spec.dataset.train",
    Role.GOLD: "spec.dataset.gold",
    Role.ARTIFACTS: "spec.artifacts",
    Role.GUARD: "spec.evaluation.guard",
}


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
