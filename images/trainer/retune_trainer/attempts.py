"""Which attempt of a run may write: claims, and the manifest that ends all of them. Touches the run's own folder.

An object of another run is never believed: a job that was deleted and made again has runs of the same names.
"""

from __future__ import annotations

import json
import time
from typing import Any

from retune_stores import Store
from retune_stores.errors import InputError, NotFoundError
from retune_trainer.config import RunConfig
from retune_trainer.errors import SupersededError

CLAIMS = "attempts/"
MANIFEST = "manifest.json"


def _json(store: Store, path: str) -> dict[str, Any] | None:
    try:
        content = json.loads(store.read(path))
    except (NotFoundError, ValueError):
        return None
    return content if isinstance(content, dict) else None


class Attempts:
    """This attempt's standing among the attempts of its run."""

    def __init__(self, config: RunConfig, store: Store) -> None:
        """Nothing is claimed yet."""
        self._config = config
        self._store = store

    def _rivals(self) -> list[int]:
        numbers = []
        for entry in self._store.entries(CLAIMS):
            name = entry.path.removeprefix(CLAIMS).removesuffix(".json")
            if name.isdecimal() and int(name) > self._config.attempt:
                claim = _json(self._store, entry.path)
                if claim is not None and claim.get("uid") == self._config.run.uid:
                    numbers.append(int(name))
        return numbers

    def check(self) -> None:
        """Raise SupersededError if a newer attempt has claimed the run."""
        newer = max(self._rivals(), default=None)
        if newer is not None:
            raise SupersededError(self._config.attempt, newer)

    def claim(self) -> None:
        """Write this attempt's claim, unless a newer one stands."""
        self.check()
        content = {
            "run": self._config.run.name,
            "uid": self._config.run.uid,
            "attempt": self._config.attempt,
            "claimedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        self._store.put(f"{CLAIMS}{self._config.attempt}.json", json.dumps(content).encode())

    def finished(self) -> dict[str, Any] | None:
        """The result in this run's manifest, or None while there is no manifest.

        Raises:
            InputError: a manifest is there, but of another run of the same name.
        """
        manifest = _json(self._store, MANIFEST)
        if manifest is None:
            return None
        owner = manifest.get("run", {}).get("uid")
        if owner != self._config.run.uid:
            message = (
                f"{self._store.uri} already holds the result of another run of this name (uid {owner}); "
                "nothing published is ever overwritten: give the job another name, or spec.artifacts.uri another path"
            )
            raise InputError("ArtifactsNotWritable", "spec.artifacts.uri", message)
        result: dict[str, Any] = manifest["result"]
        return result
