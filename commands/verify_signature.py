"""`llorch verify-signature`: whether a folder still is what somebody signed, and how it was made what they said."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.base.errors import MalformedInput
from llorch.base.record_files import PROVENANCE
from llorch.commands import cli
from llorch.commands.ledger import MODEL
from llorch.commands.sign import attestation_of, require_folder

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

NAME = "llorch-verify-signature"


@cli.command(NAME, example=f"{NAME} smollm2 --key release.pub.pem")
@click.argument("folder", metavar="FOLDER", type=MODEL, shell_complete=cli.complete_model)
@click.option("--key", metavar="FILE.pem", type=cli.PATH, required=True, help="The public key.")
@click.option(
    "--signature",
    "given",
    metavar="FILE",
    type=cli.PATH,
    help="[default: FOLDER/model.sig]",
)
def main(folder: Path, key: Path, given: Path | None, as_json: bool) -> int:
    """Check that KEY signed FOLDER and that every file is as it was then. Ends with 1 if not, and says what differs.

    Where FOLDER.intoto.jsonl lies beside it, the statement about the conversion is checked too.
    """
    from llorch.formats import signatures  # cryptography, 0.1 s, and --help does not need it

    require_folder(folder)
    public = signatures.public_key(key)
    place = given or folder / signatures.SIGNATURE
    envelope, signed = signatures.read_bundle(place)
    problems = []
    try:
        signatures.verify_envelope(envelope, public)
    except signatures.WrongSignature as error:
        problems.append(f"{place.name}: {error}")
    found = signatures.file_digests(folder)
    problems += signed.differences(found)
    attested = attestation_of(folder)
    if attested.exists():
        problems += attestation_problems(folder, attested, public, found)
    for one in problems:
        cli.note(NAME, one)
    if as_json:
        cli.write_json({
            "schema": "llorch.verify-signature/v1",
            "signed_files": len(signed.files),
            "attestation": os.fspath(attested) if attested.exists() else None,
            "problems": problems,
        })  # fmt: skip
    elif not problems:
        also = " and its provenance" if attested.exists() else ""
        click.echo(f"signed     {folder}: {len(signed.files)} files{also}")
    return 1 if problems else 0


def attestation_problems(
    folder: Path, attested: Path, key: ec.EllipticCurvePublicKey, found: Mapping[str, str]
) -> list[str]:
    """What is wrong with the signed statement beside a folder."""
    from llorch.formats import signatures  # as in `main`

    lines = attested.read_text(encoding="utf-8").splitlines()
    try:
        envelope = signatures.Envelope.from_json(json.loads(lines[0]), attested)
        subjects = {one["name"]: one["digest"]["sha256"] for one in json.loads(envelope.payload)["subject"]}
    except (ValueError, LookupError, TypeError) as error:
        if isinstance(error, MalformedInput):
            raise
        raise MalformedInput("holds no statement in a DSSE envelope", path=attested) from None
    problems = []
    try:
        signatures.verify_envelope(envelope, key)
    except signatures.WrongSignature as error:
        problems.append(f"{attested.name}: {error}")
    if not (folder / PROVENANCE).exists() or (folder / PROVENANCE).read_bytes() != envelope.payload:
        problems.append(f"{PROVENANCE}: is not the statement that was signed")
    problems += [
        f"{name}: is not what the signed statement says was made"
        for name, digest in subjects.items()
        if found.get(name) != digest
    ]
    return problems


if __name__ == "__main__":
    main()
