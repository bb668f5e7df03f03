"""`llorch sign`: sign a folder or a file, and a folder's provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from llorch.base.record_files import PROVENANCE, RECORD
from llorch.commands import cli
from llorch.commands.ledger import INSPECTED_MODEL

NAME = "llorch-sign"
ATTESTATION = ".intoto.jsonl"  # beside the folder: a file inside would change the folder's digest
PASSWORD = "LLORCH_KEY_PASSWORD"  # noqa: S105 - the variable's name
TOKEN = "SIGSTORE_ID_TOKEN"  # noqa: S105 - as Sigstore's own client calls it


@cli.command(NAME, example=f"{NAME} smollm2 --key release.pem\n{NAME} model.gguf --identity")
@click.argument("model", metavar="MODEL", type=INSPECTED_MODEL, shell_complete=cli.complete_model)
@click.option("--key", metavar="FILE.pem", type=cli.PATH, help="The private key.")
@click.option(
    "--identity", is_flag=True, help="Sign by Sigstore, as the identity that an OpenID provider vouches for."
)
@cli.trust_option
@click.option(
    "--rehash", is_flag=True, help="Read every file, instead of what the conversion recorded of it."
)
def main(
    model: Path, key: Path | None, identity: bool, trust: Path | None, rehash: bool, as_json: bool
) -> int:
    """Sign MODEL, a folder or a file, as OpenSSF model signing does; of a folder also its provenance, as DSSE.

    A folder's signature is model.sig in it, a file's is FILE.sig beside it. The digests are those of conversion.json,
    so that nothing is read again. A password of the key is read from LLORCH_KEY_PASSWORD, an identity's token from
    SIGSTORE_ID_TOKEN; without one the CI job's is taken, or a browser asks.
    """
    from llorch.formats import signatures  # cryptography, 0.1 s, and --help does not need it

    if (key is None) != identity:
        raise click.UsageError("one of --key and --identity is needed.")
    if trust is not None and not identity:
        raise click.UsageError("--trust-config goes with --identity.")
    require_model(model)
    signer = key_signer(key) if key is not None else identity_signer(trust)
    with cli.progress(f"hashing {model.name}"):
        files = signatures.file_digests(model, None if rehash else recorded_digests(model))
    place = signatures.signature_of(model)
    cli.write_file(place, signer.bundle(signatures.model_statement(model.resolve().name, files)))
    written = [place]
    if (model / PROVENANCE).exists():
        attested = attestation_of(model)
        cli.write_file(attested, signer.attestation((model / PROVENANCE).read_bytes()))
        written.append(attested)
    if as_json:
        document = {
            "schema": "llorch.sign/v1",
            "files": len(files),
            "written": [os.fspath(one) for one in written],
        }
        cli.write_json(document)
    else:
        for one in written:
            click.echo(f"signed     {one}")
    return 0


@dataclass(frozen=True, slots=True)
class Signer:
    """Functions that sign a statement. bundle: of files, for `model.sig`. attestation: of a conversion, as one line."""

    bundle: Callable[[bytes], bytes]
    attestation: Callable[[bytes], bytes]


def key_signer(key: Path) -> Signer:
    """Return a signer with a private key; its password, if any, is read from the environment."""
    from llorch.formats import signatures  # as in `main`

    password = os.environ.get(PASSWORD)
    secret = signatures.private_key(key, password.encode() if password else None)

    def attestation(statement: bytes) -> bytes:
        return (json.dumps(signatures.sign_payload(statement, secret).to_json()) + "\n").encode()

    return Signer(
        lambda statement: signatures.bundle(signatures.sign_payload(statement, secret), secret.public_key()),
        attestation,
    )


def identity_signer(trust: Path | None) -> Signer:
    """Return a signer by the user's OpenID identity; both statements are Sigstore bundles."""
    from llorch.formats import signatures  # as in `main`

    def sign_statement(statement: bytes) -> bytes:
        return signatures.sign_by_identity(statement, token=os.environ.get(TOKEN), trust=trust)

    return Signer(sign_statement, sign_statement)


def attestation_of(folder: Path) -> Path:
    """Return the path of the signed statement about a folder, beside it."""
    whole = folder.resolve()
    return whole.with_name(whole.name + ATTESTATION)


def require_model(model: Path) -> None:
    """Raise FileNotFoundError if there is no such folder or file."""
    if not model.is_dir() and not model.is_file():
        raise FileNotFoundError(2, "there is no such folder or file", os.fspath(model))


def recorded_digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Read path → (SHA-256, bytes) of a conversion's files from its record; empty if there is no readable one."""
    try:
        document: Any = json.loads((folder / RECORD).read_bytes())
        return {row["path"]: (row["sha256"], row["size"]) for row in document["files"]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


if __name__ == "__main__":
    main()
