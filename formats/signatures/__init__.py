"""Signatures of artifacts: DSSE envelopes, OpenSSF model signing, and what differs from what was signed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llorch.base.lazy import lazy_names

if TYPE_CHECKING:
    from llorch.formats.signatures.dsse import (
        Envelope,
        WrongSignature,
        private_key,
        public_key,
        sign_payload,
        verify_envelope,
    )
    from llorch.formats.signatures.model_signing import (
        SIGNATURE,
        SignedModel,
        bundle,
        file_digests,
        model_statement,
        read_bundle,
    )

__all__ = [
    "SIGNATURE",
    "Envelope",
    "SignedModel",
    "WrongSignature",
    "bundle",
    "file_digests",
    "model_statement",
    "private_key",
    "public_key",
    "read_bundle",
    "sign_payload",
    "verify_envelope",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "dsse": [
            "Envelope",
            "WrongSignature",
            "private_key",
            "public_key",
            "sign_payload",
            "verify_envelope",
        ],
        "model_signing": [
            "SIGNATURE",
            "SignedModel",
            "bundle",
            "file_digests",
            "model_statement",
            "read_bundle",
        ],
    },
)
