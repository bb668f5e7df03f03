"""DSSE: an envelope with a payload, its type and signatures over both, with keys on the NIST curves.

Source: secure-systems-lab/dsse, protocol.md v1.0 (the pre-authentication encoding) and envelope.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llorch.base.errors import MalformedInput, UnsupportedInput

IN_TOTO = "application/vnd.in-toto+json"
MOST_BYTES = 64 << 20  # largest signature file
HASHES: Mapping[int, type[hashes.HashAlgorithm]] = {
    256: hashes.SHA256,
    384: hashes.SHA384,
    521: hashes.SHA512,
}


class WrongSignature(ValueError):
    """A signature that was not made by the key over this payload."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its signatures, each (key id, signature)."""

    payload: bytes
    payload_type: str
    signatures: tuple[tuple[str, bytes], ...]

    def to_json(self) -> dict[str, object]:
        """Return the envelope as a JSON object, as envelope.md specifies."""
        return {
            "payload": base64.b64encode(self.payload).decode(),
            "payloadType": self.payload_type,
            "signatures": [
                {"keyid": key, "sig": base64.b64encode(signature).decode()}
                for key, signature in self.signatures
            ],
        }

    @classmethod
    def from_json(cls, document: object, path: Path) -> Envelope:
        """Parse an envelope that was read from the file `path`; MalformedInput if it is not one."""
        try:
            fields: Any = document
            return cls(
                base64.b64decode(fields["payload"], validate=True),
                str(fields["payloadType"]),
                tuple(
                    (str(one.get("keyid", "")), base64.b64decode(one["sig"], validate=True))
                    for one in fields["signatures"]
                ),
            )
        except (KeyError, TypeError, AttributeError, ValueError, binascii.Error):
            raise MalformedInput("holds no DSSE envelope", path=path) from None


def encode(payload_type: str, payload: bytes) -> bytes:
    """Return the pre-authentication encoding, which is what is signed.

    >>> encode("http://example.com/HelloWorld", b"hello world")
    b'DSSEv1 29 http://example.com/HelloWorld 11 hello world'
    """
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def private_key(path: Path, password: bytes | None = None) -> ec.EllipticCurvePrivateKey:
    """Load a private key from a PEM file. Raises MalformedInput, UnsupportedInput and OSError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password)
    except TypeError as error:
        raise MalformedInput(str(error), path=path, hint="LLORCH_KEY_PASSWORD holds it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedInput("holds no private key in PEM, or another password is its", path=path) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.key_size not in HASHES:
        raise UnsupportedInput("is no key on P-256, P-384 or P-521", path=path)
    return key


def public_key(path: Path) -> ec.EllipticCurvePublicKey:
    """Load a public key from a PEM file. Raises MalformedInput, UnsupportedInput and OSError."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        raise MalformedInput("holds no public key in PEM", path=path) from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.key_size not in HASHES:
        raise UnsupportedInput("is no key on P-256, P-384 or P-521", path=path)
    return key


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """Return the SHA-256 of a key in PEM, which OpenSSF model signing uses as its id."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(serialization.Encoding.PEM, form)).hexdigest()


def sign_payload(payload: bytes, key: ec.EllipticCurvePrivateKey, payload_type: str = IN_TOTO) -> Envelope:
    """Return an envelope with one signature."""
    how = ec.ECDSA(HASHES[key.curve.key_size]())
    signature = key.sign(encode(payload_type, payload), how)
    return Envelope(payload, payload_type, ((key_id(key.public_key()), signature),))


def verify_envelope(envelope: Envelope, key: ec.EllipticCurvePublicKey, payload_type: str = IN_TOTO) -> None:
    """Raise WrongSignature unless the key made one of the signatures. Key ids are only hints and decide nothing."""
    if envelope.payload_type != payload_type:
        raise WrongSignature(f"the payload is {envelope.payload_type!r}, expected {payload_type!r}")
    signed = encode(envelope.payload_type, envelope.payload)
    for _, signature in envelope.signatures:
        try:
            key.verify(signature, signed, ec.ECDSA(HASHES[key.curve.key_size]()))
        except InvalidSignature:
            continue
        return
    others = [one for one, _ in envelope.signatures if one and one != key_id(key)]
    if others:
        raise WrongSignature(f"another key signed it: {others[0][:16]}…, not {key_id(key)[:16]}…")
    raise WrongSignature("the signature is not of this content")


def read_json(path: Path) -> Any:
    """Read a JSON file of at most MOST_BYTES. Raises MalformedInput and OSError."""
    with path.open("rb") as file:
        content = file.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise MalformedInput(f"has more than {MOST_BYTES} bytes", path=path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise MalformedInput("is no JSON", path=path) from None
