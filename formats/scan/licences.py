"""Licences that go with a model's weights whoever quantizes them, and files that say another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from llorch.base.shown import shown
from llorch.formats.scan.rules import Finding

# Name of a base model → how licences that go with it begin. Sources: the licence files of the publishers' repositories.
OF_FAMILY: Mapping[re.Pattern[str], tuple[str, ...]] = {
    re.compile(pattern, re.IGNORECASE): licences
    for pattern, licences in (
        (r"\b(?:meta-)?llama-?2(?!\.\d)", ("llama2",)),
        (r"\b(?:meta-)?llama-?3\.1", ("llama3.1",)),
        (r"\b(?:meta-)?llama-?3\.2", ("llama3.2",)),
        (r"\b(?:meta-)?llama-?3\.3", ("llama3.3",)),
        (r"\b(?:meta-)?llama-?3(?![.\d])", ("llama3",)),
        (r"\bllama-?4\b", ("llama4",)),
        (r"\b(?:code|med|shield|txs?|rec)?gemma(?:-?[1-3]n?(?!\d)|\b(?!-?[4-9]))", ("gemma",)),
        (r"\bc4ai-|\baya-(?:expanse|23|vision)", ("cc-by-nc-4.0",)),
        (r"\bqwen2\.5-(?:coder-)?3b", ("qwen-research",)),
        (r"\bcodestral-22b", ("mnpl",)),
    )
}
NAMED = frozenset({"other", "unknown", ""})  # what a name beside it says counts


def licence_findings(
    where: str, licence: str, bases: Sequence[str], details: Sequence[str] = ()
) -> Iterator[Finding]:
    """Where a licence is not the one that a base model's weights come with.

    bases: names and addresses of what it was made of. details: the licence's own name and link.
    """
    said = licence.strip().lower()
    if said in NAMED and not any(details):
        return
    texts = [said, *(one.lower() for one in details)]
    for base in bases:
        for pattern, expected in OF_FAMILY.items():
            name = base.rstrip("/").rsplit("/", 1)[-1]
            if pattern.search(name) and not any(_agrees(text, one) for text in texts for one in expected):
                what = f"says {shown(licence, 60)}, and {shown(name, 80)} comes under {' or '.join(expected)}"
                yield Finding("licence-contradiction", where, None, what)
                return


def _agrees(text: str, licence: str) -> bool:
    """Whether a text names a licence, whatever stands between its words."""
    return re.sub(r"[^a-z0-9]", "", licence) in re.sub(r"[^a-z0-9]", "", text)
