"""Signatures of artifacts: DSSE envelopes, OpenSSF model signing, and differences from what was signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.signatures.dsse import (
        Envelope,
        WrongSignature,
        key_id,
        private_key,
        public_key,
        sign_payload,
        verify_envelope,
    )
    from llorch.formats.signatures.keyless import sign_by_identity, verify_identity
    from llorch.formats.signatures.model_signing import (
        ITSELF,
        SIGNATURE,
        SignedModel,
        bundle,
        file_digests,
        model_statement,
        read_bundle,
        signature_of,
    )

__all__ = [
    "ITSELF",
    "SIGNATURE",
    "Envelope",
    "SignedModel",
    "WrongSignature",
    "bundle",
    "file_digests",
    "key_id",
    "model_statement",
    "private_key",
    "public_key",
    "read_bundle",
    "sign_by_identity",
    "sign_payload",
    "signature_of",
    "verify_envelope",
    "verify_identity",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "dsse": [
            "Envelope",
            "WrongSignature",
            "key_id",
            "private_key",
            "public_key",
            "sign_payload",
            "verify_envelope",
        ],
        "model_signing": [
            "ITSELF",
            "SIGNATURE",
            "SignedModel",
            "bundle",
            "file_digests",
            "model_statement",
            "read_bundle",
            "signature_of",
        ],
        "keyless": ["sign_by_identity", "verify_identity"],
    },
)
