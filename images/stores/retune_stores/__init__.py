"""Where objects lie, by scheme, for the trainer and the tap. A new kind of store is one new file and one line here."""

from __future__ import annotations

from typing import Literal

from retune_stores.base import Entry, Place, Store
from retune_stores.errors import InputError
from retune_stores.hf import HfStore
from retune_stores.pvc import PvcStore
from retune_stores.s3 import S3Store

__all__ = ["Entry", "Place", "Store", "open_store", "split_file"]


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


def split_file(uri: str) -> tuple[str, str]:
    """The folder and the name of a file's URI."""
    folder, _, name = uri.rstrip("/").rpartition("/")
    return folder, name
