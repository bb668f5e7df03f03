"""Architectures and file types that are not converted, with what they are, for the error message.

Names are llama.cpp's, of `general.architecture` and `general.type`; a name without a row is refused as unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotYet:
    """One kind. what: the end of the sentence 'is NAME, …'. names: of the architectures."""

    what: str
    names: tuple[str, ...]


ENCODER = "an encoder, which embeds text and writes none"

KINDS = (
    NotYet(
        ENCODER,
        ("bert", "eurobert", "gemma-embedding", "jina-bert-v2", "jina-bert-v3", "llama-embed", "modern-bert",
         "neo-bert", "nomic-bert", "nomic-bert-moe", "t5encoder"),
    ),
    NotYet("an encoder and a decoder", ("t5",)),
    NotYet("the vision or audio tower of a model whose text is in another file", ("clip",)),
    NotYet("a model that speaks or hears", ("pockettts", "qwen3tts", "wavtokenizer-dec")),
    NotYet("a draft of another model's tokens", ("dflash", "eagle3", "gemma4-assistant")),
    NotYet("a recurrent model whose block is not computed here", ("arwkv7", "rwkv6", "rwkv6qwen2", "rwkv7")),
    NotYet(
        "a model with attention and a recurrence whose blocks are not computed here",
        ("bailingmoe3", "jamba", "kimi-linear", "minimax-01", "plamo2", "qwen4exp"),
    ),
    NotYet(
        "a model whose attention is not computed here",
        ("deepseek32", "deepseek4", "dots3note", "glm-dsa", "glm5-next", "hy_v4", "kimi-k3", "minimax-m3"),
    ),
    NotYet(
        "a model that fills in tokens and does not write from left to right",
        ("dream", "llada", "llada-moe", "rnd1"),
    ),
    NotYet("a model that draws and sees with tokens of its own", ("chameleon",)),
    NotYet("a model whose layers each have weights for text and others for images", ("cogvlm",)),
    NotYet("a model that goes through its layers several times", ("hrm_text", "nanbeige")),
    NotYet("a name of llama.cpp that it builds no model of", ("gptj",)),
    NotYet("a model that sees, and of its text alone transformers has no class", ("muse-glimmer",)),
    NotYet(
        "a model whose class comes as code, and no class of transformers was found to be the same",
        ("arctic", "bailingmoe", "deci", "deepseek", "deepseek2-ocr", "graniteswitch", "grok", "grovemoe", "jais",
         "maple", "openelm", "plamo", "plamo3", "plm", "refact", "smallthinker", "spark2_5", "step35", "talkie"),
    ),
)  # fmt: skip

# Known names, and what file of theirs fits none of their classes.
PARTLY: Mapping[str, str] = {
    "baichuan": "of 40 layers: the 13B, which has alibi where the 7B rotates, and no class has that beside its norms",
}

TYPES: Mapping[str, str] = {
    "adapter": "a LoRA adapter, which changes the weights of another file's model",
    "imatrix": "an importance matrix, which is no model",
    "mmproj": "the vision or audio tower of a model whose text is in another file",
}


def what_it_is(architecture: str) -> str | None:
    """Return what kind of model an architecture's name stands for; None if it has no row."""
    return next((kind.what for kind in KINDS if architecture in kind.names), None)
