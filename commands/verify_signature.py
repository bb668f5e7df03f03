"""`llorch verify-signature`: check that a model is unchanged since it was signed, and its signed provenance."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from llorch.base.errors import MalformedInput
from llorch.base.record_files import PROVENANCE
from llorch.commands import cli
from llorch.commands.cli import Failure
from llorch.commands.ledger import INSPECTED_MODEL, RecordResult, record_signature, registry_location
from llorch.commands.sign import attestation_of, require_model

if TYPE_CHECKING:
    from llorch.formats.signatures import Envelope

NAME = "llorch-verify-signature"


@cli.command(
    NAME,
    example=f"{NAME} smollm2 --key release.pub.pem\n"
    f"{NAME} model.gguf --identity release@example.org --issuer https://accounts.example.org",
)
@click.argument("model", metavar="MODEL", type=INSPECTED_MODEL, shell_complete=cli.complete_model)
@click.option("--key", metavar="FILE.pem", type=cli.PATH, help="The public key.")
@click.option(
    "--identity", metavar="WHO", help="Who must have signed it, by Sigstore: an address, or a CI job's URL."
)
@click.option("--issuer", metavar="URL", help="The OpenID provider that vouches for --identity.")
@cli.trust_option
@click.option(
    "--signature",
    "given",
    metavar="FILE",
    type=cli.PATH,
    help="The signature.  [default: model.sig in a folder, FILE.sig beside a file]",
)
@cli.registry_option
@click.option("--no-record", is_flag=True, help="Do not record the result in the registry.")
def main(
    model: Path,
    key: Path | None,
    identity: str | None,
    issuer: str | None,
    trust: Path | None,
    given: Path | None,
    url: str | None,
    no_record: bool,
    as_json: bool,
) -> int:
    """Check that a key or an identity signed MODEL, and that every file is as it was then.

    Ends with 1 if not, and says what differs. Where FOLDER.intoto.jsonl lies beside a folder, the statement about
    the conversion is checked too. Who signed is recorded if the registry knows the model: names can demand that, by
    `llorch-registry policy`.
    """
    from llorch.formats import signatures  # cryptography, 0.1 s, and --help does not need it

    signer = signer_of(key, identity, issuer, trust)
    require_model(model)
    place = given or signatures.signature_of(model)
    envelope, signed = signatures.read_bundle(place)
    problems = signer.problems(place, envelope)
    with cli.progress(f"hashing {model.name}"):
        found = signatures.file_digests(model)
    problems += signed.differences(found)
    attested = attestation_of(model) if model.is_dir() else None
    if attested is not None and attested.exists():
        problems += attestation_problems(model, attested, signer, found)
    else:
        attested = None
    recorded = None
    if not problems and not no_record:
        recorded = record_signature(model, found, signer.name, place.name, registry_location(url))
    for one in problems:
        cli.note(NAME, one)
    if isinstance(recorded, Failure):
        cli.note(NAME, recorded.message)
    if as_json:
        cli.write_json({
            "schema": "llorch.verify-signature/v1",
            "signer": signer.name,
            "signed_files": len(signed.files),
            "attestation": None if attested is None else os.fspath(attested),
            "problems": problems,
            "registry": None if recorded is None else recorded.to_json(),
        })  # fmt: skip
    elif not problems:
        also = " and its provenance" if attested is not None else ""
        click.echo(f"signed     {model}: {len(signed.files)} files{also}")
        if isinstance(recorded, RecordResult):
            click.echo(f"recorded   {recorded.name}  (signed by {signer.name[:16]}…, in {recorded.registry})")
    if problems:
        return 1
    return recorded.exit_code if isinstance(recorded, Failure) else 0


@dataclass(frozen=True, slots=True)
class ExpectedSigner:
    """The required signer. name: in the registry's spelling. problems: returns what is wrong with a signature."""

    name: str
    problems: Callable[[Path, Envelope], list[str]]


def signer_of(
    key: Path | None, identity: str | None, issuer: str | None, trust: Path | None
) -> ExpectedSigner:
    """Return the signer given by the options. Raises UsageError, and errors of reading a key."""
    from llorch.formats import signatures  # as in `main`

    if (key is None) == (identity is None) or (identity is None) != (issuer is None):
        raise click.UsageError("--key is needed, or --identity with --issuer.")
    check: Callable[[Path, Envelope], None]
    if key is not None:
        public = signatures.public_key(key)
        name = f"key:{signatures.key_id(public)}"
        check = lambda _, envelope: signatures.verify_envelope(envelope, public)  # noqa: E731
    else:
        name = f"identity:{identity} issuer:{issuer}"
        check = lambda place, _: signatures.verify_identity(place, str(identity), str(issuer), trust=trust)  # noqa: E731

    def problems(place: Path, envelope: Envelope) -> list[str]:
        try:
            check(place, envelope)
        except signatures.WrongSignature as error:
            return [f"{place.name}: {error}"]
        return []

    return ExpectedSigner(name, problems)


def attestation_problems(
    folder: Path, attested: Path, signer: ExpectedSigner, found: Mapping[str, str]
) -> list[str]:
    """Return what is wrong with the signed statement beside a folder; raises MalformedInput."""
    from llorch.formats import signatures  # as in `main`

    try:
        document: Any = json.loads(attested.read_text(encoding="utf-8").splitlines()[0])
        envelope = signatures.Envelope.from_json(document.get("dsseEnvelope", document), attested)
        subjects = {one["name"]: one["digest"]["sha256"] for one in json.loads(envelope.payload)["subject"]}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, MalformedInput):
            raise
        raise MalformedInput("holds no statement in a DSSE envelope", path=attested) from None
    problems = signer.problems(attested, envelope)
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
