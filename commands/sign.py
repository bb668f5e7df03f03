"""`llorch sign`: who stands for a folder, and for how it was made."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from llorch.base.record_files import PROVENANCE, RECORD
from llorch.commands import cli
from llorch.commands.ledger import MODEL

NAME = "llorch-sign"
ATTESTATION = ".intoto.jsonl"  # beside the folder: a file in it would be another folder
PASSWORD = "LLORCH_KEY_PASSWORD"  # noqa: S105 - the variable's name


@cli.command(NAME, example=f"{NAME} smollm2 --key release.pem")
@click.argument("folder", metavar="FOLDER", type=MODEL, shell_complete=cli.complete_model)
@click.option("--key", metavar="FILE.pem", type=cli.PATH, required=True, help="The private key.")
@click.option(
    "--rehash", is_flag=True, help="Read every file, instead of what the conversion recorded of it."
)
def main(folder: Path, key: Path, rehash: bool, as_json: bool) -> int:
    """Sign FOLDER: its files as OpenSSF model signing does, in model.sig, and its provenance as a DSSE envelope.

    The digests are those of conversion.json, so that nothing is read again. A password of the key is read from
    LLORCH_KEY_PASSWORD.
    """
    from llorch.formats import signatures  # cryptography, 0.1 s, and --help does not need it

    require_folder(folder)
    password = os.environ.get(PASSWORD)
    secret = signatures.private_key(key, password.encode() if password else None)
    files = signatures.file_digests(folder, None if rehash else recorded_digests(folder))
    envelope = signatures.sign_payload(signatures.model_statement(folder.resolve().name, files), secret)
    (folder / signatures.SIGNATURE).write_bytes(signatures.bundle(envelope, secret.public_key()))
    written = [folder / signatures.SIGNATURE]
    if (folder / PROVENANCE).exists():
        attested = signatures.sign_payload((folder / PROVENANCE).read_bytes(), secret)
        place = attestation_of(folder)
        place.write_text(json.dumps(attested.to_json()) + "\n", encoding="utf-8")
        written.append(place)
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


def attestation_of(folder: Path) -> Path:
    """Where the signed statement about a folder lies."""
    whole = folder.resolve()
    return whole.with_name(whole.name + ATTESTATION)


def require_folder(folder: Path) -> None:
    """An error that says so if there is no such folder."""
    if not folder.is_dir():
        raise NotADirectoryError(20, "is no folder", os.fspath(folder))


def recorded_digests(folder: Path) -> dict[str, tuple[str, int]]:
    """Path → (SHA-256, bytes) of what a conversion wrote; nothing where there is no record that can be read."""
    try:
        document: Any = json.loads((folder / RECORD).read_bytes())
        return {row["path"]: (row["sha256"], row["size"]) for row in document["files"]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


if __name__ == "__main__":
    main()
