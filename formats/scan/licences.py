"""Licences that a base model's weights keep whoever quantizes them, and files that state a different one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from llorch.base.printable import printable
from llorch.formats.scan.rules import Finding


@dataclass(frozen=True, slots=True)
class Family:
    """Base models under one licence.

    name: pattern of their names. licences: beginnings of licence names that agree with it. source: where that was read.
    """

    name: re.Pattern[str]
    licences: tuple[str, ...]
    source: str


def family(name: str, licence: str, source: str, *others: str) -> Family:
    """Return a row of the table."""
    return Family(re.compile(name, re.IGNORECASE), (licence, *others), source)


HUB = "huggingface/hub-docs, docs/hub/repositories-licenses.md"
LLAMA = "meta-llama/llama-models, models/{}/LICENSE, and " + HUB
# The terms themselves list their models in an appendix, and say that Gemma 4 comes under Apache-2.0.
GEMMA = "ai.google.dev/gemma/terms, last modified 2026-04-01, and " + HUB
HEALTH = "Health AI Developer Foundations, terms of use, as its models carry them"

# The first row whose pattern matches applies.
FAMILIES: Sequence[Family] = (
    family(r"\b(?:meta-)?llama-?2(?![.\d])", "llama2", LLAMA.format("llama2")),
    family(r"\b(?:meta-)?llama-?3\.1", "llama3.1", "meta-llama/Llama-3.1-8B, README.md"),
    family(r"\b(?:meta-)?llama-?3\.2", "llama3.2", LLAMA.format("llama3_2")),
    family(r"\b(?:meta-)?llama-?3\.3", "llama3.3", LLAMA.format("llama3_3")),
    family(r"\b(?:meta-)?llama-?3(?![.\d])", "llama3", LLAMA.format("llama3")),
    family(r"\bllama-?4\b", "llama4", LLAMA.format("llama4")),
    family(r"\b(?:med|tx)gemma", "health-ai-developer-foundations", HEALTH, "hai-def"),
    family(r"\b(?:code|shield|recurrent)?gemma(?:-?[1-3]n?(?!\d)|\b(?!-?[4-9]))", "gemma", GEMMA),
    family(r"\bc4ai-command-", "cc-by-nc", "CohereForAI/c4ai-command-r-v01, README.md"),
    family(r"\baya-expanse", "cc-by-nc", "cohere.com/c4ai-cc-by-nc-license, as models made of it cite it"),
    family(r"\bqwen2\.5-3b", "qwen-research", "Qwen/Qwen2.5-3B-Instruct, README.md"),
    family(r"\bcodestral-22b", "mnpl", "mistralai/Codestral-22B-v0.1, README.md"),
    family(r"\bmistral-small-instruct-2409", "mrl", "mistralai/Mistral-Small-Instruct-2409, README.md"),
    family(
        r"\bministral-8b-instruct-2410",
        "mrl",
        "mistral.ai/licenses/MRL-0.1.md, as copies of the card cite it",
    ),
)
NAMED = frozenset({"other", "unknown", ""})  # with these, the licence's name or link says which one it is


def licence_findings(
    where: str, licence: str, bases: Sequence[str], details: Sequence[str] = ()
) -> Iterator[Finding]:
    """Report a licence that contradicts the licence of a base model.

    bases: names and addresses of the base models. details: the licence's own name and link.
    """
    name_of_licence = licence.strip().lower()
    if name_of_licence in NAMED and not any(details):
        return
    texts = [name_of_licence, *(one.lower() for one in details)]
    for base in bases:
        name = base.rstrip("/").rsplit("/", 1)[-1]
        expected = next((one.licences for one in FAMILIES if one.name.search(name)), ())
        if expected and not any(_agrees(text, one) for text in texts for one in expected):
            what = f"says {printable(licence, 60)}, and {printable(name, 80)} comes under {' or '.join(expected)}"
            yield Finding("licence-contradiction", where, None, what)
            return


def _agrees(text: str, licence: str) -> bool:
    """Return whether a text contains a licence's name, ignoring case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", licence) in re.sub(r"[^a-z0-9]", "", text)
