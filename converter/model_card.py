"""README.md of a converted folder: the file's `general.*` keys in the form of a model card.

The YAML keys are those of the Hugging Face Hub's model cards, and where there is none, those that llama.cpp's
converter looks for (`model_name`, `model_author`, …), so that they can get back into a GGUF file.
Source: the Hub's documentation of model cards; llama.cpp, gguf-py/gguf/metadata.py, `apply_metadata_heuristic`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from llorch.base.printable import printable
from llorch.formats.gguf import Metadata

MODEL_CARD = "README.md"

# Key of the card → `general.KEY` of GGUF: a string, or several, which then become a list.
TEXTS = {
    "license": "license",
    "license_name": "license.name",
    "license_link": "license.link",
    "model_name": "name",
    "model_author": "author",
    "model_version": "version",
    "model_organization": "organization",
    "model_description": "description",
    "model_finetune": "finetune",
    "model_basename": "basename",
    "model_size_label": "size_label",
    "model_url": "source.url",
    "model_doi": "source.doi",
    "model_uuid": "source.uuid",
    "model_repo_url": "source.repo_url",
    "quantized_by": "quantized_by",
}
LISTS = {"language": "languages", "tags": "tags"}
OTHERS = {"base_model": "base_model", "datasets": "dataset"}  # `general.KEY.count`, and `.0.repo_url`, …

_HUB = re.compile(r"https?://huggingface\.co/(?:datasets/)?([\w.-]+/[\w.-]+)/?")

Facts = dict[str, str | list[str]]


def model_card(metadata: Metadata) -> bytes:
    """Return the model card; it depends only on the metadata, not on the file's name."""
    facts = card_facts(metadata)
    front = ["---", *_yaml({"library_name": "transformers", **facts}), "---"]
    name = facts.get("model_name")
    title = name if isinstance(name, str) else metadata.text("general.architecture", "model")
    body = [
        "",
        f"# {printable(title, 200, quoted=False)}",
        "",
        "Converted from a GGUF file by llorch. conversion.json says how each tensor came about, and has the digests of",
        "the source and of every file here.",
    ]
    return "\n".join([*front, *body, ""]).encode()


def card_facts(metadata: Metadata) -> Facts:
    """Return the YAML keys and values: only what the file says, no guesses."""
    facts: Facts = {}
    for name, key in TEXTS.items():
        stated = [text for text in metadata.descriptive_texts(f"general.{key}") if text]
        if stated:
            facts[name] = stated[0] if len(stated) == 1 else stated
    for name, key in LISTS.items():
        if texts := metadata.descriptive_texts(f"general.{key}"):
            facts[name] = texts
    for name, key in OTHERS.items():
        found = [_reference(metadata, f"general.{key}.{i}") for i in range(_count(metadata, key))]
        if any(found):
            facts[name] = [reference for reference in found if reference]
    return facts


def _count(metadata: Metadata, key: str) -> int:
    count = metadata.get(f"general.{key}.count")
    if count is None or not isinstance(count.data, int):
        return 0
    return min(count.data, sum(name.startswith(f"general.{key}.") for name in metadata))


def _reference(metadata: Metadata, prefix: str) -> str:
    """Return a model or data set by its id on the Hub, else by its URL, else by its name."""
    parts = {
        name: "".join(metadata.descriptive_texts(f"{prefix}.{name}")[:1])
        for name in ("repo_url", "url", "name")
    }
    address = parts["repo_url"] or parts["url"]
    on_the_hub = _HUB.fullmatch(address)
    return on_the_hub[1] if on_the_hub else address or parts["name"]


def _yaml(values: Mapping[str, str | list[str]]) -> list[str]:
    """Write YAML lines with every text in JSON quotes: unquoted, `no` would be false and `1.10` a number."""
    lines = []
    for name, value in values.items():
        if isinstance(value, list):
            lines += [f"{name}:", *(f"- {json.dumps(item, ensure_ascii=True)}" for item in value)]
        else:
            lines.append(f"{name}: {json.dumps(value, ensure_ascii=True)}")
    return lines
