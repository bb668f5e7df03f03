"""Keyless signatures by an identity: Sigstore's certificates and public log, with the sigstore library.

A certificate is valid for minutes and states the identity that an OpenID provider confirmed; the log's timestamp proves
that the signature was made in that time. Verifying uses no network if a trust configuration is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.formats.signatures.dsse import IN_TOTO, WrongSignature

if TYPE_CHECKING:
    from sigstore.models import ClientTrustConfig
    from sigstore.oidc import IdentityToken

LIBRARY = "sigstore"


@contextmanager
def _sigstore_errors() -> Iterator[None]:
    """Turn the library's errors into a one-line ConnectionError; UnsupportedInput if it is not installed."""
    try:
        import requests
        from sigstore.errors import Error
        from sigstore.oidc import ExpiredIdentity, IssuerError
    except ImportError:
        raise UnsupportedInput(
            "an identity's signature needs Sigstore's library", hint="pip install 'llorch[keyless]'"
        ) from None
    try:
        yield
    except (Error, ExpiredIdentity, IssuerError, requests.RequestException) as error:
        cause = str(error) or type(error).__name__
        raise ConnectionError(f"Sigstore did not serve: {printable(cause, 200, quoted=False)}") from error


def sign_by_identity(payload: bytes, *, token: str | None = None, trust: Path | None = None) -> bytes:
    """Sign an in-toto statement with the identity of an OpenID token; return the Sigstore bundle.

    token: the OpenID token; by default the CI job's own, else the user logs in with a browser. trust: a client trust
    configuration, for another Sigstore instance than the public one. Raises ConnectionError, MalformedInput,
    UnsupportedInput and OSError.
    """
    with _sigstore_errors():
        from sigstore.dsse import Statement
        from sigstore.sign import SigningContext

        config = _trust_config(trust)
        identity = _identity_token(token, config)
        with SigningContext.from_trust_config(config).signer(identity) as signer:
            bundle: str = signer.sign_dsse(Statement(payload)).to_json()
            return bundle.encode() + b"\n"


def _trust_config(trust: Path | None) -> ClientTrustConfig:
    from pydantic import ValidationError
    from sigstore.errors import Error
    from sigstore.models import ClientTrustConfig

    if trust is None:
        return ClientTrustConfig.production()
    try:
        return ClientTrustConfig.from_json(trust.read_text(encoding="utf-8"))
    except (ValueError, ValidationError, Error):
        raise MalformedInput("is no client trust configuration of Sigstore", path=trust) from None


def _identity_token(token: str | None, config: ClientTrustConfig) -> IdentityToken:
    from sigstore.oidc import IdentityError, IdentityToken, Issuer, detect_credential

    try:
        if found := token or detect_credential():
            return IdentityToken(found)
    except IdentityError as error:
        raise MalformedInput(
            f"the identity token is refused: {printable(str(error), 200, quoted=False)}"
        ) from None
    return Issuer(config.signing_config.get_oidc_url()).identity_token()


def verify_identity(bundle: Path, identity: str, issuer: str, *, trust: Path | None = None) -> None:
    """Raise WrongSignature unless the bundle's statement was signed by `identity`, as confirmed by `issuer`.

    trust: as for signing; by default the public instance's root, as the library keeps it. Raises what signing does.
    """
    with _sigstore_errors():
        from sigstore.errors import VerificationError
        from sigstore.models import Bundle, InvalidBundle
        from sigstore.verify import Verifier, policy

        try:
            signed = Bundle.from_json(bundle.read_bytes())
        except (ValueError, InvalidBundle):
            raise MalformedInput("is no Sigstore bundle of an identity", path=bundle) from None
        root = (
            Verifier.production(offline=True)
            if trust is None
            else Verifier(trusted_root=_trust_config(trust).trusted_root)
        )
        try:
            kind, _ = root.verify_dsse(signed, policy.Identity(identity=identity, issuer=issuer))
        except VerificationError as error:
            raise WrongSignature(
                f"not signed by {identity}: {printable(str(error), 200, quoted=False)}"
            ) from None
        if kind != IN_TOTO:
            raise WrongSignature(f"the payload is {kind!r}, expected {IN_TOTO!r}")
