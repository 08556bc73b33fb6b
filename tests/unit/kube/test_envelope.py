"""Signed documents: what was signed with our key is ours, and nothing else is."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.unit.serves import OTHER, SIGNER, arms, payload

from retune.kube.envelope import Signer


def test_what_was_signed_comes_out_again() -> None:
    document = arms(weight=25, generation=7)
    assert SIGNER.opened(SIGNER.sealed(document)) == document


def test_a_tap_can_verify_it_with_the_public_key_alone() -> None:
    envelope = json.loads(SIGNER.sealed(arms()))
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(SIGNER.public))
    key.verify(base64.b64decode(envelope["signature"]), base64.b64decode(envelope["payload"]))


def forged() -> list[str]:
    true = json.loads(SIGNER.sealed(arms(weight=10)))
    more = payload(SIGNER.sealed(arms(weight=90)))
    return [
        OTHER.sealed(arms(weight=90)),
        json.dumps({**true, "payload": base64.b64encode(more).decode()}),
        json.dumps({**true, "signature": ""}),
        json.dumps({**true, "signature": "%%"}),
        json.dumps({"payload": true["payload"]}),
        json.dumps([true]),
        "null",
        "",
    ]


@pytest.mark.parametrize("envelope", forged())
def test_a_document_that_was_not_signed_with_our_key_is_not_believed(envelope: str) -> None:
    assert SIGNER.opened(envelope) is None


def test_something_signed_that_is_no_document_is_not_believed() -> None:
    class Empty:
        def json(self) -> str:
            return "{}"

    assert SIGNER.opened(SIGNER.sealed(Empty())) is None  # type: ignore[arg-type]


def test_the_key_of_a_file_is_used(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    path = tmp_path / "key.pem"
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    assert Signer.from_file(str(path)).public == SIGNER.public


def test_a_file_without_such_a_key_is_named_and_nothing_of_it_is_shown(tmp_path: Path) -> None:
    rsa = generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (None, b"", b"my secret", rsa):
        path = tmp_path / "key.pem"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ValueError, match=r"key\.pem") as caught:
            Signer.from_file(str(path))
        assert "secret" not in str(caught.value)


def test_a_generation_is_part_of_what_is_signed() -> None:
    document = arms(generation=7)
    assert SIGNER.sealed(document) != SIGNER.sealed(replace(document, generation=8))
