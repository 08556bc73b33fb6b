"""How many examples there are to train on: by a manifest beside the training set, else row by row. Keeps no text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from retune_stores import open_store, split_file
from retune_stores.credentials import Credentials, Role
from retune_stores.errors import InputError, NotFoundError
from retune_trainer import corrections, data
from retune_trainer.config import RunConfig
from retune_trainer.inputs import Sources
from retune_trainer.log import say
from retune_trainer.places import place_of

SUFFIX = ".count"
LONGEST = 64  # bytes of a manifest
MOST = 10**12


def count(config: RunConfig, credentials: dict[Role, Credentials], work: Path) -> dict[str, int]:
    """`train`: rows of the training set, `corrections`: rows that taps wrote, if they are trained on.

    Raises:
        InputError: the set does not exist, is malformed, or its manifest is no number.
        StoreError: a store does not answer.
    """
    sources = Sources(config, credentials)
    train = _manifest(config, credentials, work)
    if train is None:
        file = sources.fetch(Role.TRAIN, work)
        train = sum(1 for _ in data.reader_of(file.origin)(file.path, file.origin))
        file.path.unlink()
    asked = config.corrections
    found = {
        "train": train,
        "corrections": corrections.count(sources.corrections(), asked.max_examples) if asked else 0,
    }
    say("counted", **found)
    return found


def _manifest(config: RunConfig, credentials: dict[Role, Credentials], work: Path) -> int | None:
    """What the manifest says, or None if there is none."""
    place = place_of(config, credentials, Role.TRAIN)
    folder, name = split_file(place.uri)
    target = work / f"train{SUFFIX}"
    try:
        open_store(replace(place, uri=folder), kind="dataset").download(name + SUFFIX, target)
    except NotFoundError:
        return None
    except InputError as error:
        # Who may read the one file and not list the folder is told "forbidden" of whatever is not there.
        if error.reason == "CredentialsRejected":
            return None
        raise
    with target.open("rb") as file:
        raw = file.read(LONGEST + 1)
    text = raw.strip()
    # int() takes more than ten digits: underscores, signs, digits of other scripts.
    if not text.isdigit() or len(raw) > LONGEST or int(text) > MOST:
        message = f"{place.uri}{SUFFIX} is not one whole number; write how many rows {name} has, or delete the manifest"
        raise InputError("DatasetMalformed", place.field, message)
    return int(text)
