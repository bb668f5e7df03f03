"""The signature of a source: verified before the conversion, and compared with the bytes that were read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llorch.base.errors import InputError, MalformedInput
from llorch.converter.provenance.record import Source

if TYPE_CHECKING:
    from llorch.formats.signatures import Envelope


@dataclass(frozen=True, slots=True)
class SourceSignature:
    """Who signed a source's files, and the digests that were signed.

    signer: `key:` and the SHA-256 of the key's PEM, or `identity:WHO issuer:URL`. files: name → SHA-256 of the
    signature files. digests: source file by name → the SHA-256 that was signed.
    """

    signer: str
    files: Mapping[str, str]
    digests: Mapping[str, str]

    def to_json(self) -> dict[str, object]:
        """Return the signature as in conversion.json."""
        files = [{"name": name, "sha256": sha256} for name, sha256 in sorted(self.files.items())]
        return {"signer": self.signer, "verified": True, "files": files}

    def require_same(self, sources: Sequence[Source]) -> None:
        """Raise MalformedInput for a file whose bytes are not the signed ones."""
        for source in sources:
            if self.digests[source.name] != source.sha256:
                raise MalformedInput(f"has other bytes than {self.signer[:16]}… signed", path=source.path)


def read_source_signature(
    parts: Sequence[Path], signer: str, verify: Callable[[Path, Envelope], None]
) -> SourceSignature:
    """Read the signatures of a source's files: FILE.sig beside each, else model.sig in its folder.

    verify: raises WrongSignature for an envelope that `signer` did not sign. Raises InputError and OSError.
    """
    from llorch.formats import signatures  # imports cryptography, which an unsigned source does not need

    files, digests = {}, {}
    for part in parts:
        own = signatures.signature_of(part)
        place = own if own.is_file() else part.with_name(signatures.SIGNATURE)
        if not place.is_file():
            raise MalformedInput(
                f"is not signed: neither {own.name} nor {signatures.SIGNATURE} lies beside it", path=part
            )
        envelope, signed = signatures.read_bundle(place)
        try:
            verify(place, envelope)
        except signatures.WrongSignature as error:
            raise MalformedInput(str(error), path=place, hint="take the source from who signed it") from None
        name = signatures.ITSELF if place == own else part.name
        if name not in signed.files:
            raise InputError(f"signs no file {part.name}", path=place)
        files[place.name] = hashlib.sha256(place.read_bytes()).hexdigest()
        digests[part.name] = signed.files[name]
    return SourceSignature(signer, files, digests)
