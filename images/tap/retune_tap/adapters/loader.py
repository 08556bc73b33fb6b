"""Brings an arm's adapter into the server, once, and knows what is there. The whole order of steps is here."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from retune_stores import Place, open_store
from retune_stores.credentials import Credentials, Role, Scrubber
from retune_stores.errors import PodError
from retune_tap.adapters import folder, probe, weights
from retune_tap.adapters.server import BASE, Server
from retune_tap.arms import AdapterError, Arm, Kind

FIELD = "spec.artifacts.uri"
SECRET_FIELD = "spec.artifacts.secretRef"  # noqa: S105 (a field's name)
log = logging.getLogger(__name__)


class Loader:
    """The `Adapters` of the proxy, for one server and one folder of models."""

    def __init__(
        self, upstream: str, models: Path, credentials: Mapping[Role, Credentials], most_rank: int | None = None
    ) -> None:
        """Nothing is asked or read yet. `most_rank` is the server's --max-lora-rank, where it is known."""
        self._server = Server(upstream)
        self._folders = models / "adapters"
        self._keys = credentials.get(Role.ARTIFACTS, Credentials())
        self._scrubber = Scrubber(credentials.values())
        self._most_rank = most_rank
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        # By name and digest: the same files in the same base need no second probe when the server was started again.
        self._probed: set[tuple[str, str]] = set()

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], credentials: Mapping[Role, Credentials]) -> Loader:
        """As the pod says: RETUNE_UPSTREAM, RETUNE_MODELS and, if it is there, RETUNE_MAX_RANK."""
        rank = environ.get("RETUNE_MAX_RANK")
        upstream = environ.get("RETUNE_UPSTREAM", "http://127.0.0.1:8001")
        models = Path(environ.get("RETUNE_MODELS", "/models"))
        return cls(upstream, models, credentials, int(rank) if rank else None)

    async def close(self) -> None:
        """Close the connections to the server."""
        await self._server.close()

    async def loaded(self) -> frozenset[str]:
        """The names that the server has now, whoever loaded them; only `ensure` says which can be served.

        Raises:
            AdapterError: the server does not answer.
        """
        return frozenset(await self._server.models())

    async def ensure(self, arm: Arm) -> None:
        """Fetch, check, load, read back and probe an arm's adapter; quick if that was done and the server still has it.

        Raises:
            AdapterError: it can't be served, and why, without anything secret.
        """
        try:
            if arm.kind is Kind.BASE:
                await self._has_base()
            elif arm.kind is Kind.ADAPTER:
                # By what is brought, not by name: two public models may be served by the same files.
                async with self._locks[arm.digest]:
                    await self._adapter(arm)
        except AdapterError as error:
            raise AdapterError(self._scrubber.text(f"{arm.name}: {error}")) from None

    async def _has_base(self) -> None:
        if BASE not in await self._server.models():
            raise AdapterError("the model server does not list its base model")

    async def _adapter(self, arm: Arm) -> None:
        digest = folder.hexadecimal(arm.digest)
        target = self._folders / digest[:12]
        key = (arm.name, digest)
        if key in self._probed and await self._stands(arm.name, target):
            return
        found = await asyncio.to_thread(self._bring, arm.uri, digest, target)
        await self._server.load(arm.name, target)
        if not await self._stands(arm.name, target):
            raise AdapterError(f"the model server says it is loaded, but does not list it with {target} on {BASE!r}")
        if key not in self._probed:
            if found.empty:
                log.info("every lora_B is zero, as before any training: it answers as its base does and is not probed")
            else:
                await probe.tell_apart(self._server, arm.name)
            self._probed.add(key)

    def _bring(self, uri: str, digest: str, target: Path) -> weights.Adapter:
        secret = SECRET_FIELD if self._keys else None
        place = Place(uri=uri, field=FIELD, secret=secret, secret_field=SECRET_FIELD, credentials=self._keys)
        try:
            store = open_store(place, kind="model")
        except PodError as error:
            raise AdapterError(f"its files cannot be fetched: {error.message}") from None
        folder.bring(store, digest, target)
        return weights.read(target, self._most_rank)

    async def _stands(self, name: str, target: Path) -> bool:
        there = (await self._server.models()).get(name)
        return there is not None and (there.root, there.parent) == (str(target), BASE)
