"""From an envelope to a document: is it well formed, the operator's, for this job, and newer? No I/O."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from retune_tap.arms import Arm, ArmsError, Builtin, Corrections, Document, Edge, Kind, Model, Pilot, Quota, Stage
from retune_tap.strict import Reader

# A ConfigMap holds 1 MiB.
MOST_BYTES = 1_048_576
MOST_MODELS = 64
MOST_KEEP = 8
MOST_EDGES = 32
MOST_ENTITIES = 128
MOST_TEMPLATE = 65_536
MOST_SECONDS = 30 * 86_400.0
# Of an edge: requests wait in memory for theirs, and answers are remembered for an hour.
MOST_WAIT = 3600.0
MOST_NUMBER = 2**53


class Desk:
    """Takes documents of one job, each generation once."""

    def __init__(self, key: bytes, namespace: str, job: str, uid: str) -> None:
        """`key` is the operator's Ed25519 public key, 32 bytes."""
        self._key = Ed25519PublicKey.from_public_bytes(key)
        self._of = {"namespace": namespace, "job": job, "uid": uid}
        self.current: Document | None = None

    @property
    def generation(self) -> int:
        """The highest that was taken; 0 before the first."""
        return self.current.generation if self.current else 0

    def take(self, envelope: bytes) -> Document:
        """Check an envelope and make its document the current one. The same one again is answered as taken.

        Raises:
            ArmsError: 400 malformed, 403 not signed or not for this job, 409 not newer.
        """
        payload = self._verified(envelope)
        if self.current and payload == self.current.payload:
            return self.current
        top = Reader(_json(payload), "")
        for key, mine in self._of.items():
            if top.text(key) != mine:
                raise ArmsError(403, f"the document is for another job: {key} is not this tap's")
        generation = top.whole("generation", 1, MOST_NUMBER)
        if generation <= self.generation:
            raise ArmsError(409, f"generation {generation} is not newer than {self.generation}")
        models = top.object("models")
        read = {name: _model(models.object(name)) for name in models.keys(MOST_MODELS)}
        if not read:
            raise ArmsError(400, "models is empty")
        self.current = Document(generation, read, payload)
        return self.current

    def _verified(self, envelope: bytes) -> bytes:
        if len(envelope) > MOST_BYTES:
            raise ArmsError(400, f"the envelope is larger than {MOST_BYTES} bytes")
        outer = Reader(_json(envelope), "")
        try:
            payload = base64.b64decode(outer.text("payload", most=MOST_BYTES), validate=True)
            signature = base64.b64decode(outer.text("signature", most=128), validate=True)
        except (binascii.Error, ValueError):
            raise ArmsError(400, "payload or signature is not base64") from None
        try:
            self._key.verify(signature, payload)
        except InvalidSignature:
            raise ArmsError(403, "the signature is not the operator's") from None
        return payload


def _json(text: bytes) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise ArmsError(400, "this is not JSON") from None


def _model(of: Reader) -> Model:
    return Model(
        stable=_arm(of.object("stable")),
        candidate=_arm(of.object("candidate"), of_trained=True) if of.has("candidate") else None,
        keep=tuple(_arm(entry, of_trained=True) for entry in of.objects("keep", MOST_KEEP)),
        stage=of.choice("stage", Stage),
        stratum=of.text("stratum", most=64),
        weight=of.whole("weight", 0, 100),
        salt=of.text("salt", most=128),
        shadow_percent=of.object("shadow").number("percent", 0, 100) if of.has("shadow") else 0.0,
        pilot=_pilot(of.object("pilot")) if of.has("pilot") else None,
        sticky_header=of.text("stickyHeader", most=128) if of.has("stickyHeader") else "",
        opt_out_header=of.text("optOutHeader", most=128) if of.has("optOutHeader") else "",
        edges=_edges(of.objects("edges", MOST_EDGES)),
        quota=_quota(of.object("quota")) if of.has("quota") else Quota(None, None),
        patience=of.number("patience", 0, MOST_SECONDS) if of.has("patience") else None,
        features=of.flag("features"),
        corrections=_corrections(of.object("corrections")) if of.has("corrections") else None,
    )


def _arm(of: Reader, *, of_trained: bool = False) -> Arm:
    kind = of.choice("kind", Kind)
    arm = Arm(
        kind=kind,
        name=of.text("name", most=253),
        **{key: of.text(key, default="") for key in ("run", "digest", "uri", "url", "model")},
        template=of.text("template", most=MOST_TEMPLATE, default=""),
    )
    trained = ("name", "digest", "uri")
    needed = {Kind.BASE: ("name",), Kind.ADAPTER: trained, Kind.MODEL: trained, Kind.ENDPOINT: ("url", "model")}[kind]
    of.filled(*needed)
    if of_trained:
        of.among("kind", Kind.ADAPTER, Kind.MODEL)
    return arm


def _pilot(of: Reader) -> Pilot:
    return Pilot(of.text("header", most=128), of.texts("values", 256))


def _edges(entries: list[Reader]) -> tuple[Edge, ...]:
    edges = tuple(_edge(entry) for entry in entries)
    if len({edge.name for edge in edges}) < len(edges):
        raise ArmsError(400, "edges has a name twice")
    return edges


def _edge(of: Reader) -> Edge:
    name, builtin = of.text("name", most=128), of.choice("builtin", Builtin)
    match builtin:
        case Builtin.SLOW:
            of.among("of", "FirstToken", "Response")
            seconds = of.number("seconds", 0.001, MOST_WAIT)
            return Edge(name, builtin, seconds=seconds, first_token=of.text("of") == "FirstToken")
        case Builtin.LONG:
            return Edge(name, builtin, tokens=of.whole("tokens", 1, MOST_NUMBER))
        case Builtin.OVERRIDES | Builtin.RATED:
            return Edge(name, builtin, window=of.number("window", 0, MOST_WAIT))
        case Builtin.INVALID_OUTPUT:
            return Edge(name, builtin, schema=of.mapping("schema"))
        case Builtin.ERRORS:
            return Edge(name, builtin)


def _corrections(of: Reader) -> Corrections:
    of.filled("uri")
    entities = of.texts("entities", MOST_ENTITIES) if of.has("entities") else ()
    return Corrections(of.text("uri"), tuple(sorted(entities)), of.whole("most", 0, MOST_NUMBER))


def _quota(of: Reader) -> Quota:
    def limit(key: str) -> int | None:
        return of.whole(key, 0, MOST_NUMBER) if of.has(key) else None

    return Quota(limit("requests"), limit("bad"))
