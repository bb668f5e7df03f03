"""OpenSSF model signing 1.0: a statement with every file's digest, in a DSSE envelope, in a Sigstore bundle.

Source: ossf/model-signing-spec and what sigstore/model-transparency 1.1 writes and accepts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cryptography.hazmat.primitives.asymmetric import ec

from llorch.base.errors import MalformedInput
from llorch.base.folder_walk import walk
from llorch.base.printable import printable
from llorch.formats.signatures.dsse import Envelope, key_id, read_json

SIGNATURE = "model.sig"
ITSELF = "."  # the file's name in a statement about a single file
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
IGNORED = (".cache", ".git", ".gitattributes", ".github", ".gitignore", SIGNATURE)
CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class SignedModel:
    """A signed statement: the model's name, and the SHA-256 of every file. ignored: paths that it does not cover."""

    name: str
    files: Mapping[str, str]
    ignored: tuple[str, ...]

    def differences(self, found: Mapping[str, str]) -> list[str]:
        """Compare with the files found, path → SHA-256; return one line for each difference, sorted by path."""
        here = {path: digest for path, digest in found.items() if not self._is_ignored(path)}
        problems = dict.fromkeys(self.files.keys() - here.keys(), "is signed and not there")
        problems |= dict.fromkeys(here.keys() - self.files.keys(), "is there and not signed")
        problems |= {
            path: "has other bytes than were signed"
            for path in here.keys() & self.files.keys()
            if here[path] != self.files[path]
        }
        return [f"{printable(path, 200, quoted=False)}: {what}" for path, what in sorted(problems.items())]

    def _is_ignored(self, path: str) -> bool:
        return any(path == one or path.startswith(f"{one}/") for one in self.ignored)


def signature_of(model: Path) -> Path:
    """Return the path of the signature: inside a folder, or beside a file."""
    return model / SIGNATURE if model.is_dir() else model.with_name(f"{model.name}.sig")


def file_digests(folder: Path, known: Mapping[str, tuple[str, int]] | None = None) -> dict[str, str]:
    """Return path → SHA-256 of every file in a folder except `IGNORED`; for a single file, of the file itself.

    known: path → (SHA-256, size), as a conversion recorded them: a file of that size is not read again. Raises
    MalformedInput for a link, and OSError.
    """
    if folder.is_file():
        return {ITSELF: _sha256(folder)}
    found = {}
    for parent, folders, names in walk(folder):
        at = Path(parent).relative_to(folder)
        top = at == Path()
        folders[:] = sorted(name for name in folders if not (top and name in IGNORED))
        for name in sorted(names):
            if top and name in IGNORED:
                continue
            path, inside = Path(parent) / name, PurePosixPath(at / name).as_posix()
            if path.is_symlink():
                raise MalformedInput(
                    f"{printable(inside)} is a link: what it leads to cannot be signed", path=folder
                )
            recorded = (known or {}).get(inside)
            if recorded is not None and path.stat().st_size == recorded[1]:
                found[inside] = recorded[0]
            else:
                found[inside] = _sha256(path)
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def model_statement(name: str, files: Mapping[str, str]) -> bytes:
    """Return the in-toto statement of a model's files, given as path → SHA-256."""
    resources = [
        {"name": path, "algorithm": "sha256", "digest": digest} for path, digest in sorted(files.items())
    ]
    whole = hashlib.sha256(b"".join(bytes.fromhex(digest) for _, digest in sorted(files.items())))
    document = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": whole.hexdigest()}}],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": list(IGNORED),
            },
            "resources": resources,
        },
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def bundle(envelope: Envelope, key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the content of `model.sig`."""
    document = {
        "mediaType": BUNDLE_TYPE,
        "verificationMaterial": {"publicKey": {"hint": key_id(key)}, "tlogEntries": []},
        "dsseEnvelope": envelope.to_json(),
    }
    return json.dumps(document, separators=(",", ":")).encode() + b"\n"


def read_bundle(path: Path) -> tuple[Envelope, SignedModel]:
    """Read the envelope and the statement of a `model.sig`; the caller must verify the signature."""
    document = read_json(path)
    envelope = Envelope.from_json(document.get("dsseEnvelope") if isinstance(document, dict) else None, path)
    try:
        statement = json.loads(envelope.payload)
        predicate = statement["predicate"]
        if statement["predicateType"] != PREDICATE_TYPE or predicate["serialization"]["method"] != "files":
            raise MalformedInput("signs something else than a model's files", path=path)
        if any(one["algorithm"] != "sha256" for one in predicate["resources"]):
            raise MalformedInput("signs other digests than SHA-256", path=path)
        files = {str(one["name"]): str(one["digest"]) for one in predicate["resources"]}
        if len(files) != len(predicate["resources"]):
            raise MalformedInput("signs a file twice", path=path)
        ignored = tuple(str(one) for one in predicate["serialization"].get("ignore_paths", ()))
        return envelope, SignedModel(str(statement["subject"][0]["name"]), files, ignored)
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as error:
        if isinstance(error, MalformedInput):
            raise
        raise MalformedInput("holds no statement of OpenSSF model signing", path=path) from None
