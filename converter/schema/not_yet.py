"""Files that are no decoder known here: what each is, so that it is refused by what it is.

Names are llama.cpp's, of `general.architecture` and `general.type`; what has no row is refused by its name alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NotYet:
    """One kind. what: as it ends the sentence 'is NAME, …'. names: of the architectures."""

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
        ("jamba", "kimi-linear", "plamo2"),
    ),
    NotYet("a model whose attention is not computed here", ("deepseek32", "deepseek4", "glm-dsa", "glm5-next")),
    NotYet("routed by transformers in another way than by llama.cpp", ("phimoe",)),
    NotYet("a model that fills in tokens and does not write from left to right", ("dream", "llada", "llada-moe")),
)  # fmt: skip

# Of names that are known, what fits none of their classes.
PARTLY: Mapping[str, str] = {
    "baichuan": "of 40 layers: the 13B, which has alibi where the 7B rotates, and no class has that beside its norms",
}

TYPES: Mapping[str, str] = {
    "adapter": "a LoRA adapter, which changes the weights of another file's model",
    "imatrix": "an importance matrix, which is no model",
    "mmproj": "the vision or audio tower of a model whose text is in another file",
}


def what_it_is(architecture: str) -> str | None:
    """What an architecture's name says that a file is; None where there is no row."""
    return next((kind.what for kind in KINDS if architecture in kind.names), None)
