"""The generated table of docs/tokenizers.md: `python -m tests.formats.tokenizer.tokenizers_page` regenerates it."""

from __future__ import annotations

from pathlib import Path

from llorch.formats.tokenizer import REFUSED as REFUSED_MODELS
from llorch.formats.tokenizer import pretokenizers
from llorch.formats.tokenizer.pretokenizers import PRETOKENIZERS, REFUSED, PreTokenizer, Splits

PAGE = Path(__file__).parents[3] / "docs" / "tokenizers.md"
BEGIN, END = "<!-- the table: begin -->\n", "<!-- the table: end -->\n"
SPLITS = {id(value): name for name, value in vars(pretokenizers).items() if isinstance(value, Splits)}
LIVE = "llama.cpp itself, on random text"
# Further evidence for a name, beside llama.cpp: ids from the original tokenizer.
ORIGINALS = {
    "gpt-2": "46/46 vectors of gpt-2, 20/20 of a made phi2",
    "falcon": "46/46 vectors of falcon",
    "starcoder": "46/46 vectors of starcoder",
    "llama-bpe": "46/46 vectors of llama-bpe, 20/20 of a made llama",
    "qwen2": "46/46 vectors of qwen2, 20/20 each of a made qwen2, qwen3 and qwen2moe",
}


def table() -> str:
    """Return rows for every name, in the order of the code's table."""
    lines = [
        "| `tokenizer.ggml.pre` | | cut by | authors' and llama.cpp's ids | settings | proven by |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in PRETOKENIZERS.items():
        proofs = "; ".join(filter(None, (LIVE, ORIGINALS.get(name))))
        lines.append(
            f"| `{name}` | supported | {SPLITS[id(row.splits)]} | {_forms(row)} | {_settings(row)} | {proofs} |"
        )
    lines += [f"| `{name}` | refused | | | | {reason} |" for name, reason in REFUSED.items()]
    lines += ["", "| `tokenizer.ggml.model` | refused because |", "| --- | --- |"]
    lines += [f"| `{name}` | {reason} |" for name, reason in REFUSED_MODELS.items()]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page with the table regenerated."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def _forms(row: PreTokenizer) -> str:
    folded = tuple(
        pattern.replace(pretokenizers.ANY_CASE, pretokenizers.ASCII_CASE) for pattern in row.splits.authors
    )
    differences = []
    if folded != row.splits.llama_cpp:
        differences.append("differ")
    elif row.splits.authors != row.splits.llama_cpp:
        differences.append("differ on `'ſ`")
    if row.nfc:
        differences.append("NFC first")
    return ", ".join(differences) or "the same"


def _settings(row: PreTokenizer) -> str:
    said = {
        "ignore_merges": row.ignore_merges,
        "adds BOS": row.add_bos,
        "raw text, bytes as fallback": row.raw,
        "merges may be absent": row.ranked,
        "no BOS by default": not row.default_bos,
    }
    return ", ".join(name for name, holds in said.items() if holds)


if __name__ == "__main__":
    PAGE.write_text(page())
