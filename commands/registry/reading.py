"""The output of `show` and `diff` for a person: facts first, then the long tables; the verdict before the checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import click

from llorch.base.times import rfc3339
from llorch.commands.cli import Cell, age, digest, flat, size, text, write_rows, write_table

if TYPE_CHECKING:
    from llorch.registry import ArtifactAnswer, ArtifactDiff, Policy, SignatureRecord

SHOWN = 8  # names in a list of differences
SIZES = ("size_bytes",)
DIGESTS = ("weights_digest", "digest")
CHECK_TITLES = ("check", "status", "value", "allowed", "unit")


def write_artifact(found: ArtifactAnswer) -> None:
    """Print everything recorded about an artifact."""
    listed = {
        "names": ", ".join(name.removesuffix("@latest") for name in found.names),
        "format": " ".join(filter(None, [found.architecture, found.kind])),
        "dtype": found.dtype,
        "verified": found.verified or "never",
    }
    facts = [[text(key), text(value)] for key, value in listed.items() if value]
    write_rows(
        [
            *facts,
            [text("digest"), digest(found.digest)],
            [text("weights"), digest(found.weights_digest)],
            [text("size"), size(found.size_bytes)],
            [text("first seen"), age(rfc3339(found.first_seen_at))],
            *([text(key), text(flat(value))] for key, value in found.facts.items()),
            *([text("place"), text(place.path)] for place in found.places),
            *([text("signed by"), signature(one)] for one in found.signatures),
            *([text("policy"), demand(one)] for one in found.policies),
            *([text("fetched"), text(f"{one.repository}/{one.path}")] for one in found.sources),
        ]
    )
    click.echo()
    write_table(
        ("file", "role", "size", "digest"),
        [
            [text(file.path), text(file.role), size(file.size_bytes), digest(f"sha256:{file.sha256}")]
            for file in found.files
        ],
    )
    click.echo()
    write_table(
        ("run", "kind", "status", "as", "called", "when"),
        [
            [
                Cell(use.run, f"run:{use.run[-12:]}", whole=True),
                text(use.kind),
                text(use.status),
                text(use.role),
                text(use.label),
                age(rfc3339(use.at)),
            ]
            for use in found.runs
        ],
    )
    write_checks(found)


def signature(found: SignatureRecord) -> Cell:
    """Return a cell of a signature: the signer, the file, and when it was verified."""
    whole = f"{found.signer} in {found.file}, verified {rfc3339(found.verified_at)}"
    return Cell(text(whole).full, text(whole).brief, below=True)


def demand(found: Policy) -> Cell:
    """Return a cell of a name's policy: the required signers, who set it, and whether the artifact meets it."""
    by = f", set by {found.actor}" if found.actor else ""
    why = f" ({found.reason})" if found.reason else ""
    met = "met" if found.is_met else "NOT MET: its use by this name is refused"
    whole = f"{found.name} demands a signature by {' or '.join(found.signers)}{by}{why}: {met}"
    return Cell(text(whole).full, text(whole).brief, below=True)


def write_checks(found: ArtifactAnswer) -> None:
    """Print the checks of the artifact's latest verification."""
    if not found.checks:
        return
    latest = [check.result for check in found.checks if check.run == found.checks[0].run]
    click.echo()
    write_table(
        CHECK_TITLES,
        [
            [
                text(one.name),
                Cell(one.status, one.status, whole=True),
                number_cell(one.value),
                number_cell(one.threshold),
                text(one.unit),
            ]
            for one in latest
        ],
    )


def number_cell(value: str | None) -> Cell:
    """Return a cell of a recorded number, in brief with two significant digits; of other text, the text."""
    if value is None:
        return Cell("", "–")
    try:
        return Cell(value, f"{float(value):.2g}")
    except ValueError:
        return text(value)


def write_diff(found: ArtifactDiff, first: str, second: str) -> None:
    """Print how two artifacts differ: facts side by side, then files and tensors by name."""
    if found.is_equal:
        write_rows([[text("equal"), digest(found.a)]])
        return
    rows = [[text(""), text(first), text(second)], [text("digest"), digest(found.a), digest(found.b)]]
    for name, pair in found.facts.items():
        rows.append([text(name.removesuffix("_bytes")), *(fact(name, one) for one in pair)])
    write_rows(rows)
    click.echo()
    for what, differences in (("files", found.files), ("tensors", found.tensors)):
        counts = {
            "equal": differences.equal,
            "different": len(differences.differing),
            f"only in {first}": len(differences.only_a),
            f"only in {second}": len(differences.only_b),
        }
        summed = ", ".join(f"{count} {how}" for how, count in counts.items() if count) or "none recorded"
        write_rows([[text(f"{what:<8}"), text(summed)]])
        names: Mapping[str, Sequence[str]] = {
            "differ": differences.differing,
            f"only in {first}": differences.only_a,
            f"only in {second}": differences.only_b,
        }
        write_rows(list(list_rows(names)))


def list_rows(lists: Mapping[str, Sequence[str]]) -> Iterator[list[Cell]]:
    """Yield a row for each non-empty list: on a terminal its first names, else all of them."""
    for how, names in lists.items():
        if names:
            more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            brief = f"{', '.join(names[:SHOWN])}{more}"
            yield [text(f"  {how}"), Cell(" ".join(names), text(brief).brief, below=True)]


def fact(name: str, value: object) -> Cell:
    """Return a cell of one artifact's value of a fact."""
    if name in SIZES and isinstance(value, int):
        return size(value)
    if name in DIGESTS and isinstance(value, str):
        return digest(value)
    return text("–" if value is None else flat(value))
