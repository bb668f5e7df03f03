"""Which tensors a folder of a class must have, and their shapes, before any weight is read: no more and no less."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.shown import shown
from llorch.formats import SafetensorsTensor
from llorch.runtime.from_folder.config import Config
from llorch.runtime.from_folder.families import ClassFacts

IGNORED = re.compile(
    r"(^|\.)rotary_emb\.inv_freq$"
)  # old exports carry this buffer, transformers leaves it out
DTYPES = ("F32", "F16", "BF16")
MOST = 1 << 16  # channels of a head, heads, experts: far above every published model's 512

# E hidden size, Q and K all channels of queries and keys, D channels of a head, H and G heads of queries and keys,
# F, X, S feed-forward width, of an expert, of the shared expert, N experts, V vocabulary.
SHAPES: dict[str, str] = {
    "q": "Q E",
    "k": "K E",
    "v": "K E",
    "qkv": "Q+2K E",
    "output": "E Q",
    "gate": "F E",
    "up": "F E",
    "gate_up": "2F E",
    "down": "E F",
    "router": "N E",
    "expert_gate": "X E",
    "expert_up": "X E",
    "expert_down": "E X",
    "shared_router": "1 E",
    "shared_gate": "S E",
    "shared_up": "S E",
    "shared_down": "E S",
    "attention_norm": "E",
    "attention_post_norm": "E",
    "ffn_norm": "E",
    "ffn_post_norm": "E",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """The numbers that every tensor's shape is made of."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    width: int
    experts: int
    expert_width: int
    shared_width: int


@dataclass(frozen=True, slots=True)
class Structure:
    """What a config switches on: the roles that its layers have, and which of them have biases.

    tied: whether the embedding serves as the head when the folder has none.
    """

    roles: Mapping[str, str]
    biased: frozenset[str]
    tied: bool


def read_sizes(config: Config) -> Sizes:
    """The sizes; MalformedInput where they contradict one another."""
    experts = config.family.experts
    hidden, heads = config.positive("hidden_size"), config.positive("num_attention_heads")
    kv_heads = heads if config.get("num_key_value_heads") is None else config.positive("num_key_value_heads")
    head_dim = hidden // heads if config.get("head_dim") is None else config.positive("head_dim")
    if heads > MOST:
        raise config.malformed("num_attention_heads", f"is {heads}, expected at most {MOST}")
    if heads % kv_heads:
        raise config.malformed("num_key_value_heads", f"is {kv_heads}, which does not divide {heads} heads")
    if not 0 < head_dim <= MOST:
        raise config.malformed("head_dim", f"is {head_dim}, expected 1 to {MOST}")
    return Sizes(
        vocabulary=config.positive("vocab_size"),
        hidden=hidden,
        layers=config.positive("num_hidden_layers"),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        width=config.positive("intermediate_size"),
        experts=0 if experts is None else config.positive(expert_count_key(config)),
        expert_width=0 if experts is None else config.positive(experts.width),
        shared_width=config.positive(experts.shared_width) if experts and experts.shared_width else 0,
    )


def expert_count_key(config: Config) -> str:
    """The spelling of the number of experts that this config uses."""
    experts = config.family.experts
    assert experts is not None
    return next((key for key in experts.count if key in config.values), experts.count[0])


def read_structure(config: Config) -> Structure:
    """The roles and biases that the config's switches leave."""
    family = config.family
    without: set[str] = set()
    if family.head_norm_key is not None and not config.flag(family.head_norm_key):
        without |= {"q_norm", "k_norm"}
    if is_parallel(config):
        without |= {"ffn_norm"}
    said = {role: config.flag(by) if isinstance(by, str) else by for role, by in family.biases.items()}
    return Structure(
        roles={role: name for role, name in family.names.items() if role not in without},
        biased=frozenset(role for role, answer in said.items() if answer),
        tied=config.flag("tie_word_embeddings"),
    )


def is_parallel(config: Config) -> bool:
    """Whether attention and feed-forward read the same input."""
    parallel = config.family.parallel
    return config.flag(parallel) if isinstance(parallel, str) else parallel


def check_layout(
    stored: Mapping[str, SafetensorsTensor],
    family: ClassFacts,
    sizes: Sizes,
    structure: Structure,
    folder: Path,
) -> None:
    """An error naming all that is missing, all that is unexpected, or all that has another shape or dtype."""
    for what, count in (("layers", sizes.layers), ("experts", sizes.experts)):
        if count > len(stored):
            raise MalformedInput(f"has {len(stored)} tensors for {count} {what}", path=folder)
    expected = _expected(family, sizes, structure)
    if structure.tied and "lm_head.weight" not in stored:
        del expected["lm_head.weight"]
    missing = sorted(expected.keys() - stored.keys())
    unexpected = sorted(name for name in stored.keys() - expected.keys() if not IGNORED.search(name))
    if missing or unexpected:
        parts = (("lacks", missing), ("has unexpected", unexpected))
        said = " and ".join(f"{what} {_listed(names)}" for what, names in parts if names)
        raise MalformedInput(f"as a {family.class_name} the folder {said}", path=folder)
    wrong = [
        f"{stored[name]} should be {' × '.join(map(str, shape))}"
        for name, shape in sorted(expected.items())
        if stored[name].shape != shape
    ]
    if wrong:
        raise MalformedInput("; ".join(wrong[:8]) + (" …" if wrong[8:] else ""), path=folder)
    strange = sorted(name for name in expected if stored[name].dtype not in DTYPES)
    if strange:
        raise UnsupportedInput(f"{_listed(strange)}: no dtype of {', '.join(DTYPES)}", path=folder)


def _expected(family: ClassFacts, sizes: Sizes, structure: Structure) -> dict[str, tuple[int, ...]]:
    letters = _letters(sizes)
    expected = {
        "model.embed_tokens.weight": (sizes.vocabulary, sizes.hidden),
        "lm_head.weight": (sizes.vocabulary, sizes.hidden),
        f"{family.final_norm}.weight": (sizes.hidden,),
    }
    if family.norm_bias:
        expected[f"{family.final_norm}.bias"] = (sizes.hidden,)
    if "head" in structure.biased:
        expected["lm_head.bias"] = (sizes.vocabulary,)
    for role, name in structure.roles.items():
        shape = _head_norm_shape(family, role, name, sizes)
        if shape is None:
            shape = tuple(letters[term] for term in SHAPES[role].split())
        biased = role in structure.biased or (family.norm_bias and role.endswith("norm") and role[1] != "_")
        for layer in range(sizes.layers):
            for full in spelled(name, role, sizes):
                expected[f"model.layers.{layer}.{full}.weight"] = shape
                if biased:
                    expected[f"model.layers.{layer}.{full}.bias"] = shape[:1]
    return expected


def spelled(name: str, role: str, sizes: Sizes) -> list[str]:
    """A role's names in a layer: one for every expert or head where the name counts them."""
    if "{e}" in name:
        return [name.format(e=e) for e in range(sizes.experts)]
    if "{h}" in name:
        return [name.format(h=h) for h in range(sizes.heads if role == "q_norm" else sizes.kv_heads)]
    return [name]


def _head_norm_shape(family: ClassFacts, role: str, name: str, sizes: Sizes) -> tuple[int, ...] | None:
    if role not in ("q_norm", "k_norm"):
        return None
    heads = sizes.heads if role == "q_norm" else sizes.kv_heads
    if family.head_norm == "row":
        return (heads * sizes.head_dim,)
    if family.head_norm_key is not None and "{h}" not in name:  # one tensor with a row for every head
        return (heads, sizes.head_dim)
    return (sizes.head_dim,)


def _letters(sizes: Sizes) -> dict[str, int]:
    q, k = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    return {
        "1": 1,
        "E": sizes.hidden,
        "Q": q,
        "K": k,
        "Q+2K": q + 2 * k,
        "F": sizes.width,
        "2F": 2 * sizes.width,
        "N": sizes.experts,
        "X": sizes.expert_width,
        "S": sizes.shared_width,
    }


def _listed(names: list[str]) -> str:
    return ", ".join(shown(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if names[12:] else ""
    )
