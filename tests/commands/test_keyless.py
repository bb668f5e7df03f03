"""Signatures by an identity, as far as possible without Sigstore: the services asked, the refusals and their lines."""

from __future__ import annotations

import base64
import importlib.resources
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from llorch.commands.sign import main as sign
from llorch.commands.verify_signature import main as verify_signature
from tests.commands.conftest import invoke
from tests.commands.test_sign import key_pair

NOBODY = "http://127.0.0.1:9"  # where no server is
WHO = ("--identity", "ada@example.org", "--issuer", "https://accounts.example.org")


def trust_config(url: str) -> Mapping[str, Any]:
    """The public Sigstore's configuration, as its library keeps it, with its services elsewhere."""
    kept = importlib.resources.files("sigstore._store") / "https%3A%2F%2Ftuf-repo-cdn.sigstore.dev"
    signing = json.loads((kept / "signing_config.v0.2.json").read_text())
    for services in ("caUrls", "oidcUrls", "rekorTlogUrls", "tsaUrls"):
        for service in signing[services]:
            service["url"] = url
    return {
        "mediaType": "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json",
        "trustedRoot": json.loads((kept / "trusted_root.json").read_text()),
        "signingConfig": signing,
    }


@pytest.fixture
def config(alone: Path) -> Path:
    file = alone / "trust.json"
    file.write_text(json.dumps(trust_config(NOBODY)))
    return file


@pytest.fixture
def model(alone: Path) -> Path:
    file = alone / "model.bin"
    file.write_bytes(b"weights")
    return file


def token(**changed: object) -> str:
    """An OpenID token, as an issuer would sign it."""
    now = int(time.time())
    claims = {"iss": WHO[3], "aud": "sigstore", "sub": "ada", "email": WHO[1], "email_verified": True,
              "iat": now, "nbf": now, "exp": now + 600}  # fmt: skip
    parts = [{"alg": "RS256", "typ": "JWT"}, {**claims, **changed}]
    texts = [base64.urlsafe_b64encode(json.dumps(one).encode()).rstrip(b"=").decode() for one in parts]
    return ".".join([*texts, "c2ln"])  # who the client is, the server finds out by the signature


def test_a_sigstore_that_does_not_serve_is_one_line_and_nothing_is_written(
    model: Path, config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", token())
    result = invoke(sign, model, "--identity", "--trust-config", config)
    assert (result.exit_code, result.stderr.count("\n")) == (5, 1)
    assert "sigstore did not serve" in result.stderr
    assert not model.with_name("model.bin.sig").exists()


@pytest.mark.parametrize(
    "given", ["no token", token(exp=1), token(aud="somebody else")], ids=["none", "old", "other"]
)
def test_a_token_that_names_nobody_is_refused(
    model: Path, config: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("SIGSTORE_ID_TOKEN", given)
    result = invoke(sign, model, "--identity", "--trust-config", config)
    assert (result.exit_code, result.stderr.count("\n")) == (3, 1)
    assert "identity token" in result.stderr


def test_a_trust_configuration_that_is_none_is_named(model: Path, alone: Path) -> None:
    (alone / "trust.json").write_text("{}")
    result = invoke(sign, model, "--identity", "--trust-config", "trust.json")
    assert (result.exit_code, "trust.json" in result.stderr) == (3, True)


def test_a_keys_signature_is_no_identitys(model: Path, config: Path) -> None:
    private, _ = key_pair(model.parent, "release")
    assert invoke(sign, model, "--key", private).exit_code == 0
    result = invoke(verify_signature, model, *WHO, "--trust-config", config)
    assert (result.exit_code, "is no Sigstore bundle of an identity" in result.stderr) == (3, True)


@pytest.mark.parametrize(
    "words",
    [(), ("--key", "k.pem", "--identity"), ("--key", "k.pem", "--trust-config", "t.json")],
    ids=["neither", "both", "trust of a key"],
)
def test_who_signs_is_said_once(model: Path, words: tuple[str, ...]) -> None:
    assert invoke(sign, model, *words).exit_code == 2


@pytest.mark.parametrize(
    "words",
    [(), WHO[:2], WHO[2:], ("--key", "k.pem", *WHO)],
    ids=["nobody", "no issuer", "no identity", "both"],
)
def test_who_signed_is_said_once(model: Path, words: tuple[str, ...]) -> None:
    assert invoke(verify_signature, model, *words).exit_code == 2
