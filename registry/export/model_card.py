"""An artifact as a Hugging Face model card: README.md with the metadata that a hub reads.

Unknown values are left out, never guessed. `base_model_relation` is always left out: a change of format is none of its
four values. Source: the Hub's documentation of model cards.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from llorch.base.times import rfc3339_seconds
from llorch.registry.errors import printable
from llorch.registry.export.subject import Subject
from llorch.registry.records.records import Json

# Keys of the artifact's facts that are copied to the card under the same name.
FROM_FACTS = ("base_model", "language", "datasets", "license_name", "license_link")
# Licences with an id on the Hub; any other is given as `other` with its name.
LICENCES = {
    "afl-3.0", "agpl-3.0", "apache-2.0", "bigscience-bloom-rail-1.0", "bigscience-openrail-m", "bsd", "bsd-2-clause",
    "bsd-3-clause", "cc", "cc-by-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0",
    "creativeml-openrail-m", "gemma", "gpl", "gpl-2.0", "gpl-3.0", "lgpl-3.0", "llama2", "llama3", "llama3.1",
    "llama3.2", "llama3.3", "llama4", "mit", "mpl-2.0", "openrail", "unknown", "unlicense",
}  # fmt: skip


def model_card(subject: Subject) -> bytes:
    """Return the card: YAML metadata between two lines of dashes, then the weights' origin and the checks."""
    lines = ["---", *yaml(metadata(subject)), "---", "", *text(subject)]
    return ("\n".join(lines) + "\n").encode()


def metadata(subject: Subject) -> dict[str, Json]:
    """Return the card's metadata."""
    facts: dict[str, Json] = {}
    for one in (*(one.artifact for one in subject.inputs), subject.artifact):
        facts |= {name: one.facts[name] for name in FROM_FACTS if name in one.facts}
    found: dict[str, Json] = {"library_name": "transformers", "pipeline_tag": "text-generation", **facts}
    if subject.licence is not None:
        known = subject.licence.lower() in LICENCES
        found["license"] = subject.licence.lower() if known else "other"
        if not known:
            found.setdefault("license_name", subject.licence)
    if subject.artifact.architecture:
        found["tags"] = [subject.artifact.architecture]
    return dict(sorted(found.items()))


def yaml(values: Mapping[str, Json]) -> list[str]:
    """Return values as YAML, strings always quoted: unquoted, `no` is false and `1.10` a number."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list | tuple):
            lines += [f"{name}:", *(f"- {json.dumps(item, ensure_ascii=True)}" for item in value)]
        else:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=True)}")
    return lines


def text(subject: Subject) -> list[str]:
    """Return the lines of the card's Markdown text."""
    artifact, run = subject.artifact, subject.run
    lines = [f"# {plain(subject.name)}", ""]
    lines += [
        f"Converted from `{plain(one.label or one.artifact.digest)}`"
        f" ({plain(one.artifact.dtype or one.artifact.kind)}, `{one.artifact.digest}`) to {artifact.dtype}"
        f" safetensors with llorch {run.tools.get('llorch', 'of an unknown version')}"
        f" on {rfc3339_seconds(run.started_at)[:10]}."
        for one in subject.inputs
    ]
    lines += ["The values are those of the source; nothing was trained.", ""]
    lines += ["| | digest |", "| --- | --- |", f"| folder | `{artifact.digest}` |"]
    if artifact.weights_digest:
        lines.append(f"| weights | `{artifact.weights_digest}` |")
    if origins := sorted({uri for one in subject.inputs if one.sources for uri in one.uris}):
        lines += [
            "",
            "The source was downloaded from " + ", ".join(f"<{plain(uri)}>" for uri in origins) + ".",
        ]
    if artifact.checks:
        latest = [check.result for check in artifact.checks if check.run == artifact.checks[0].run]
        lines += [
            "",
            "## Checks",
            "",
            "| check | outcome | measured | allowed |",
            "| --- | --- | --- | --- |",
        ]
        lines += [
            f"| {plain(one.name)} | {one.status} | {plain(one.value or '')} |"
            f" {code(' '.join(filter(None, [one.op, one.threshold])))} |"
            for one in latest
        ]
    return lines


def code(words: str) -> str:
    """Return text in backticks, for a cell of a table."""
    return f"`{printable(words).replace('`', '')}`".replace("|", "\\|") if words else ""


def plain(words: str) -> str:
    """Return text from a model's file on one line, with Markdown and HTML characters escaped."""
    for mark in ("|", "`", "<", ">", "[", "]", "*"):
        words = words.replace(
            mark, f"\\{mark}" if mark not in "<>`" else {"<": "‹", ">": "›", "`": "'"}[mark]
        )
    return printable(words)
