"""`llorch sign` and `llorch verify-signature`: who stands for an artifact, and whether it still is what they signed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch.base.errors import MalformedInput
from llorch.base.record_files import PROVENANCE, RECORD
from llorch.commands import cli

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec

SIGN, VERIFY = "llorch-sign", "llorch-verify-signature"
ATTESTATION = ".intoto.jsonl"  # beside the folder: a file in it would be another folder
PASSWORD = "LLORCH_KEY_PASSWORD"  # noqa: S105 - the variable's name


@cli.command(SIGN, example=f"{SIGN} smollm2 --key release.pem")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--key", metavar="FILE.pem", type=click.Path(path_type=Path), required=True, help="The private key."
)
@click.option(
    "--rehash", is_flag=True, help="Read every file, instead of what the conversion recorded of it."
)
def sign(folder: Path, key: Path, rehash: bool, as_json: bool) -> int:
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


@cli.command(VERIFY, example=f"{VERIFY} smollm2 --key release.pub.pem")
@click.argument("folder", metavar="FOLDER", type=click.Path(path_type=Path))
@click.option(
    "--key", metavar="FILE.pem", type=click.Path(path_type=Path), required=True, help="The public key."
)
@click.option(
    "--signature",
    "given",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="[default: FOLDER/model.sig]",
)
def verify_signature(folder: Path, key: Path, given: Path | None, as_json: bool) -> int:
    """Check that KEY signed FOLDER and that every file is as it was then. Ends with 1 if not, and says what differs.

    Where FOLDER.intoto.jsonl lies beside it, the statement about the conversion is checked too.
    """
    from llorch.formats import signatures  # as in `sign`

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
        cli.note(VERIFY, one)
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
    from llorch.formats import signatures  # as in `sign`

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
