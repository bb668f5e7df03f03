"""Signatures: other libraries accept ours and we theirs; any later change is refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import json_format
from in_toto_attestation.v1 import statement_pb2
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from llorch.commands.convert.command import main as convert
from llorch.commands.registry.command import main as registry
from llorch.commands.sign import main as sign
from llorch.commands.verify_signature import main as verify_signature
from tests.commands.conftest import invoke
from tests.models.tiny import random_llama

PEM = serialization.Encoding.PEM


def key_pair(folder: Path, name: str, curve: ec.EllipticCurve | None = None) -> tuple[Path, Path]:
    """Write a private and a public key in PEM."""
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    form = serialization.PrivateFormat.PKCS8
    private.write_bytes(key.private_bytes(PEM, form, serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(alone: Path) -> tuple[Path, Path]:
    """A converted and signed folder, and the public key."""
    random_llama().write(alone / "model.gguf")
    assert invoke(convert, "model.gguf", "-o", "made", "--verify", "none").exit_code == 0
    private, public = key_pair(alone, "release")
    result = invoke(sign, "made", "--key", private)
    assert result.exit_code == 0, result.output
    return alone / "made", public


def test_what_was_signed_is_verified(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    result = invoke(verify_signature, folder, "--key", public)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "and its provenance" in result.stdout


@pytest.mark.parametrize(
    "curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name
)
def test_the_official_verifier_accepts_ours_and_refuses_a_changed_copy(
    signed: tuple[Path, Path], curve: ec.EllipticCurve
) -> None:
    import model_signing

    folder, _ = signed
    private, public = key_pair(folder.parent, "other", curve)
    assert invoke(sign, folder, "--key", private).exit_code == 0
    verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
    verifier.verify(folder, folder / "model.sig")
    (folder / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"config\.json"):
        verifier.verify(folder, folder / "model.sig")


def test_ours_accepts_what_the_official_signer_signed(signed: tuple[Path, Path]) -> None:
    import model_signing

    folder, _ = signed
    private, public = key_pair(folder.parent, "other")
    (folder.parent / "made.intoto.jsonl").unlink()
    signer = model_signing.signing.Config().use_elliptic_key_signer(private_key=private)
    hashing = model_signing.hashing.Config().set_ignored_paths(paths=["model.sig"], ignore_git_paths=True)
    signer.set_hashing_config(hashing)
    (folder / "model.sig").unlink()
    signer.sign(folder, folder / "model.sig")
    assert invoke(verify_signature, folder, "--key", public).exit_code == 0
    (folder / "config.json").write_text("{}")
    result = invoke(verify_signature, folder, "--key", public)
    assert (result.exit_code, "config.json: has other bytes" in result.stderr) == (1, True)


def test_securesystemslib_and_in_toto_accept_the_envelope(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    document = json.loads((folder.parent / "made.intoto.jsonl").read_text())
    key_id = document["signatures"][0]["keyid"]
    envelope = Envelope.from_dict(document)
    theirs = SSlibKey.from_crypto(serialization.load_pem_public_key(public.read_bytes()), keyid=key_id)
    assert list(envelope.verify([theirs], 1)) == [key_id]
    statement = json_format.Parse(envelope.payload, statement_pb2.Statement())
    assert {one.name for one in statement.subject} >= {"config.json", "model.safetensors"}
    envelope.payload += b" "
    with pytest.raises(VerificationError):
        envelope.verify([theirs], 1)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def swap_statement(folder: Path) -> None:
    """Replace the signed statement by that of another conversion."""
    path = folder / "provenance.intoto.json"
    document = json.loads(path.read_text())
    document["predicate"]["buildDefinition"]["externalParameters"]["dtype"] = "float16"
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            lambda folder: flip(folder / "model.safetensors"),
            "model.safetensors: has other bytes than were signed",
        ),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer.json: is signed and not there"),
        (lambda folder: (folder / "extra.py").write_text("x"), "extra.py: is there and not signed"),
        (swap_statement, "provenance.intoto.json: is not the statement that was signed"),
        (
            lambda folder: flip(folder / "conversion.json"),
            "conversion.json: has other bytes than were signed",
        ),
        (
            lambda folder: shutil.copy(folder / "config.json", folder / "generation_config.json"),
            "generation_config.json: is not what the signed statement says was made",
        ),
    ],
)
def test_a_change_is_refused_by_name(
    signed: tuple[Path, Path], fault: Callable[[Path], object], said: str
) -> None:
    folder, public = signed
    fault(folder)
    result = invoke(verify_signature, folder, "--key", public)
    assert result.exit_code == 1
    assert said in result.stderr


def test_another_key_is_refused_by_name(signed: tuple[Path, Path]) -> None:
    folder, _ = signed
    _, other = key_pair(folder.parent, "other")
    result = invoke(verify_signature, folder, "--key", other)
    assert result.exit_code == 1
    assert "model.sig: another key signed it" in result.stderr
    assert "made.intoto.jsonl: another key signed it" in result.stderr


def test_a_signature_that_was_moved_to_another_payload_is_refused(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    document = json.loads((folder / "model.sig").read_text())
    other = json.loads((folder.parent / "made.intoto.jsonl").read_text())
    document["dsseEnvelope"]["signatures"] = other["signatures"]
    (folder / "model.sig").write_text(json.dumps(document))
    result = invoke(verify_signature, folder, "--key", public)
    assert result.exit_code == 1
    assert "model.sig: the signature is not of this content" in result.stderr


EMPTY = '{"dsseEnvelope": {"payload": "e30=", "payloadType": "x", "signatures": []}}'


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", EMPTY])
def test_what_is_no_signature_is_named(signed: tuple[Path, Path], content: str) -> None:
    folder, public = signed
    (folder / "model.sig").write_text(content)
    result = invoke(verify_signature, folder, "--key", public)
    assert result.exit_code == 3
    assert "model.sig" in result.stderr


def test_signing_does_not_change_what_the_folder_is(signed: tuple[Path, Path]) -> None:
    from llorch.registry.digests import digest_of

    folder, _ = signed
    assert digest_of(folder) == json.loads((folder / "conversion.json").read_text())["tree"]


@pytest.mark.parametrize("where", ["beside the file", "in its folder"])
def test_a_conversion_carries_who_signed_its_source(alone: Path, where: str) -> None:
    import model_signing

    private, public = key_pair(alone, "release")
    (alone / "models").mkdir()
    source = random_llama().write(alone / "models" / "model.gguf")
    assert (
        invoke(sign, source if where == "beside the file" else source.parent, "--key", private).exit_code == 0
    )
    if where == "beside the file":
        verifier = model_signing.verifying.Config().use_elliptic_key_verifier(public_key=public)
        verifier.verify(source, source.with_name("model.gguf.sig"))
        assert invoke(verify_signature, source, "--key", public).exit_code == 0
    assert invoke(convert, source, "-o", "made", "--verify", "none", "--source-key", public).exit_code == 0
    signed = json.loads((alone / "made" / "conversion.json").read_text())["source_signature"]
    statement = json.loads((alone / "made" / "provenance.intoto.json").read_text())
    one, signature = statement["predicate"]["buildDefinition"]["resolvedDependencies"]
    name = "model.gguf.sig" if where == "beside the file" else "model.sig"
    assert (signed["verified"], [file["name"] for file in signed["files"]]) == (True, [name])
    assert one["annotations"]["signedBy"] == signed["signer"]
    assert (signature["name"], signature["uri"]) == ("input-signature", f"file:{name}")
    json_format.ParseDict(statement, statement_pb2.Statement())
    answer = json.loads(invoke(registry, "show", one["digest"]["sha256"], "--json").stdout)
    assert [(row["signer"], row["file"]) for row in answer["signatures"]] == [(signed["signer"], name)]
    exported = json.loads(invoke(registry, "export", "made", "--as", "slsa").stdout)
    [dependency] = exported["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert dependency["annotations"]["signedBy"] == signed["signer"]


def edit(path: Path) -> None:
    """Change the last byte of the last tensor: the file is still valid, but not what was signed."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda source, _: edit(source), "model.gguf: has other bytes than key:"),
        (lambda source, _: source.with_name("model.gguf.sig").unlink(), "model.gguf: is not signed"),
        (lambda _, other: other, "model.gguf.sig: another key signed it"),
    ],
    ids=["other bytes", "no signature", "another key"],
)
def test_a_source_that_is_not_as_it_was_signed_is_not_converted(
    alone: Path, fault: Callable[[Path, Path], object], said: str
) -> None:
    private, public = key_pair(alone, "release")
    _, other = key_pair(alone, "other")
    source = random_llama().write(alone / "model.gguf")
    invoke(sign, source, "--key", private)
    key = other if fault(source, other) == other else public
    result = invoke(convert, source, "-o", "made", "--verify", "none", "--source-key", key)
    assert (result.exit_code, said in result.stderr) == (3, True), result.stderr
    assert not (alone / "made").exists()


def test_adopting_a_folder_believes_nothing_about_who_signed_its_source(alone: Path) -> None:
    private, public = key_pair(alone, "release")
    source = random_llama().write(alone / "model.gguf")
    invoke(sign, source, "--key", private)
    invoke(convert, source, "-o", "made", "--verify", "none", "--source-key", public)
    assert invoke(registry, "adopt", "made", "--registry", "other.db").exit_code == 0
    answer = json.loads(invoke(registry, "show", "./model.gguf", "--registry", "other.db", "--json").stdout)
    assert answer["signatures"] == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (
            lambda document: document["dsseEnvelope"].update(payloadType="text/plain"),
            "the payload is 'text/plain'",
        ),
        (
            lambda document: document["dsseEnvelope"]["signatures"][0].update(
                sig=document["dsseEnvelope"]["signatures"][0]["sig"][:40]
            ),
            "model.sig: the signature is not of this content",
        ),
        (
            lambda document: document["dsseEnvelope"].update(signatures=[]),
            "the signature is not of this content",
        ),
    ],
    ids=["other payload type", "truncated signature", "no signature"],
)
def test_an_envelope_that_was_changed_is_refused_by_name(
    signed: tuple[Path, Path], fault: Callable[[dict[str, Any]], object], said: str
) -> None:
    folder, public = signed
    document = json.loads((folder / "model.sig").read_text())
    fault(document)
    (folder / "model.sig").write_text(json.dumps(document))
    result = invoke(verify_signature, folder, "--key", public)
    assert (result.exit_code, said in result.stderr) == (1, True), result.stderr


def test_a_renamed_file_is_named_twice(signed: tuple[Path, Path]) -> None:
    folder, public = signed
    (folder / "config.json").rename(folder / "configuration.json")
    result = invoke(verify_signature, folder, "--key", public)
    assert result.exit_code == 1
    assert "config.json: is signed and not there" in result.stderr
    assert "configuration.json: is there and not signed" in result.stderr
