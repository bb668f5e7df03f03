"""`llorch-registry policy`: which names require a signature, and whose."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llorch.base.times import rfc3339
from llorch.commands import cli
from llorch.commands.cli import Cell, age, text
from llorch.commands.registry.output import NAME, open_registry, output_options, user, write_answers

if TYPE_CHECKING:
    from llorch.registry import Policy

commands = click.Group()  # `llorch.commands.registry.command` adds it to its group

TITLES = ("name", "demands a signature by", "met", "since", "by", "reason")
FINGERPRINT = re.compile(r"(?:key:)?([0-9a-f]{64})")


@cli.subcommand(
    commands,
    "policy",
    example=f"{NAME} policy smollm2@prod --key release.pub.pem --reason 'release gate'\n{NAME} policy",
)
@click.argument("name", metavar="[NAME[@ALIAS]]", required=False, shell_complete=cli.complete_reference)
@click.option(
    "--key",
    "keys",
    metavar="FILE.pem|HEX",
    multiple=True,
    help="Demand a signature by this public key, given as a file or by its SHA-256.",
)
@click.option(
    "--identity",
    "identities",
    metavar="WHO",
    multiple=True,
    help="Demand a signature by this identity, which --issuer vouches for.",
)
@click.option("--issuer", metavar="URL", help="The OpenID provider that vouches for --identity.")
@click.option("--none", "nothing", is_flag=True, help="Demand no signature any more.")
@click.option("--reason", help="Why, for the log.")
@cli.registry_option
@output_options
def policy(
    name: str | None,
    keys: tuple[str, ...],
    identities: tuple[str, ...],
    issuer: str | None,
    nothing: bool,
    reason: str | None,
    url: str | None,
    as_json: bool,
    output_format: str | None,
) -> int:
    """Show or set which names demand a signature.

    Without options: what every name demands, or what NAME demanded and when; ends with 1 if a name means something
    that lacks the signature.

    With --key or --identity, NAME can only mean what one of these signed: `tag`, `convert` and `fetch` give it to
    nothing else, and what it means already is neither run nor converted by that name until `llorch verify-signature`
    has recorded such a signature.
    """
    signers = list(signers_of(keys, identities, issuer))
    if (signers or nothing) and name is None:
        raise click.UsageError("which NAME[@ALIAS] demands it?")
    if signers and nothing:
        raise click.UsageError("--none demands nothing, and goes with no --key or --identity.")
    with open_registry(url) as store:
        if name is not None and (signers or nothing):
            found: Sequence[Policy] = [store.set_policy(name, signers, actor=user(), reason=reason)]
        else:
            found = store.policies() if name is None else store.policy_log(name)
    write_answers("policy", "policies", found, TITLES, policy_row, as_json, output_format)
    unmet = [one for one in found[: None if name is None else 1] if not one.is_met]
    for one in unmet:
        cli.note(NAME, f"{one.name} means {one.digest}, which has no such signature: its use is refused")
    return 1 if unmet and not signers else 0


def signers_of(keys: Sequence[str], identities: Sequence[str], issuer: str | None) -> Iterator[str]:
    """Yield the signers given by options, in the registry's spelling. Raises UsageError, and errors of key files."""
    for key in keys:
        if found := FINGERPRINT.fullmatch(key):
            yield f"key:{found[1]}"
            continue
        from llorch.formats import signatures  # cryptography, which a fingerprint does not need

        yield f"key:{signatures.key_id(signatures.public_key(Path(key)))}"
    if bool(identities) != bool(issuer):
        raise click.UsageError("--identity and --issuer go together.")
    for identity in identities:
        yield f"identity:{identity} issuer:{issuer}"


def policy_row(found: Policy) -> Sequence[Cell]:
    """Return the table row of one name's policy, or of one change to it."""
    met = "" if not found.signers else "yes" if found.is_met else "NO"
    demanded = " or ".join(found.signers) or "nothing"
    brief = " or ".join(one[:16] if one.startswith("key:") else one for one in found.signers) or "nothing"
    return (
        text(found.name),
        Cell(demanded, brief),
        text(met),
        age(rfc3339(found.since)),
        text(found.actor),
        text(found.reason),
    )
