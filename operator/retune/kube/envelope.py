"""Signed arms documents: what a tap believes, and what a ConfigMap may be believed to hold. The contract: design/0012.

Stands here because those who look and those who act both need it.
"""

import base64
import binascii
import json
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from retune.decide.arms import Arms, read_arms


class Opener(Protocol):
    """Who can tell a document of ours."""

    def opened(self, envelope: str) -> Arms | None:
        """The document in an envelope; None if it is not one that was signed with our key."""


class Unopened:
    """Stands for a key where there is none: believes nothing."""

    def opened(self, envelope: str) -> Arms | None:  # noqa: ARG002 - the protocol's
        """Nothing is ours."""
        return None


class Signer:
    """Signs and opens envelopes with an Ed25519 key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: str) -> "Signer":
        """The key in a PEM file (PKCS8).

        Raises:
            ValueError: there is no such key; the message names the file and holds nothing of its content.
        """
        try:
            key = load_pem_private_key(Path(path).read_bytes(), password=None)
        except OSError as error:
            raise ValueError(f"{path} cannot be read: {error.strerror}") from error
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise ValueError(f"{path} holds no private key in PEM (PKCS8, without a password)") from None
        if not isinstance(key, Ed25519PrivateKey):
            other = f"{path} holds a key of another kind; make one with: openssl genpkey -algorithm ed25519"
            raise ValueError(other)  # noqa: TRY004 - a file's content, not a caller's type
        return cls(key)

    @property
    def public(self) -> str:
        """The public key: 32 bytes, base64."""
        return base64.b64encode(self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def sealed(self, arms: Arms) -> str:
        """The envelope of a document, as JSON."""
        payload = arms.json().encode()
        told = {"payload": payload, "signature": self._key.sign(payload)}
        return json.dumps({key: base64.b64encode(value).decode() for key, value in told.items()})

    def opened(self, envelope: str) -> Arms | None:
        """The document in an envelope; None if it is not one that was signed with this key."""
        try:
            told = json.loads(envelope)
            payload = base64.b64decode(told["payload"], validate=True)
            self._key.public_key().verify(base64.b64decode(told["signature"], validate=True), payload)
            return read_arms(payload.decode())
        except (InvalidSignature, binascii.Error, ValueError, KeyError, TypeError):
            return None
