"""Which versions of what made a result. Asks package metadata, so that nothing heavy is imported."""

from __future__ import annotations

import os
import platform
from importlib import metadata

from retune_trainer import __version__

LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "safetensors")


def short() -> dict[str, str]:
    """Ours and Python's."""
    return {"trainer": __version__, "python": platform.python_version()}


def full() -> dict[str, str]:
    """Those of every library that has a part in the numbers."""
    found = short()
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def image() -> str | None:
    """The image's name, where the pod was told."""
    return os.environ.get("RETUNE_IMAGE")
