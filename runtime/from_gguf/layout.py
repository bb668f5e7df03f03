"""Which tensors a file must and may have, and their shapes; checked before any weight is read.

Names are exact: a tensor that no rule names is an error, because a graph that ignores a weight is another model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.formats.gguf import Header
from llorch.runtime.from_gguf.facts import (
    EXPERTS,
    FUSED_EXPERTS,
    MAY_LACK,
    OWN_GATE,
    ROLES,
    SHARED,
    SPLIT_EXPERTS,
    ArchitectureFacts,
)
from llorch.runtime.from_gguf.keys import Sizes
from llorch.runtime.from_gguf.kinds import LayerKind
from llorch.runtime.from_gguf.shapes import HEAD_NORM_SHAPES, MIXER_SHAPES, SCALED, SHAPES, WIDTHS
from llorch.runtime.shapes import extent
from llorch.runtime.traits import (
    DeltaNet,
    FfnKind,
    Heads,
    Latent,
    Mamba,
    Mamba2,
    NoMixer,
    ShortConv,
    SingleMixer,
    parts,
)

OBSOLETE = "attn_rot_embd.weight"  # old converters wrote it, nothing reads it

EXPERT_NUMBER = re.compile(r"\.\d+\.")


@dataclass(frozen=True, slots=True)
class DescribedHeader:
    """A header, with what its keys say about its tensors."""

    header: Header
    family: ArchitectureFacts
    sizes: Sizes
    kinds: Sequence[LayerKind]

    @property
    def architecture(self) -> str:
        """The architecture's name, which prefixes its keys."""
        return self.header.metadata.text("general.architecture")


def check_layout(header: Header, family: ArchitectureFacts, sizes: Sizes, kinds: Sequence[LayerKind]) -> None:
    """Raise MalformedInput naming all missing and unexpected tensors, or up to eight with a wrong shape."""
    described = DescribedHeader(header, family, sizes, kinds)
    required, optional = _names(described)
    missing = sorted(required - header.tensors.keys())
    unexpected = sorted(
        name
        for name in header.tensors.keys() - required - optional
        if not name.endswith(f".{OBSOLETE}") and not _predicts(name, described)
    )
    if missing or unexpected:
        differences = [
            f"{what} {_list_text(names)}"
            for what, names in (("lacks", missing), ("has unexpected", unexpected))
            if names
        ]
        raise MalformedInput(
            f"as a model of this architecture the file {' and '.join(differences)}", path=header.path
        )
    _check_same_norms(header, family, sizes)
    wrong = [problem for name in sorted(required | optional) if (problem := _shape_error(described, name))]
    if wrong:
        raise MalformedInput("; ".join(wrong[:8]) + (" …" if wrong[8:] else ""), path=header.path)


def _predicts(name: str, described: DescribedHeader) -> bool:
    """Whether a tensor belongs to a multi-token-prediction layer, which is not run here."""
    found = re.match(r"blk\.(\d+)\.", name)
    return described.family.prediction and found is not None and int(found[1]) >= described.sizes.layers


def _check_same_norms(header: Header, family: ArchitectureFacts, sizes: Sizes) -> None:
    """Require that an optional norm is in all layers or in none: `Traits` has one value for all."""
    if family.mixers != "attention" or family.shares_keys:  # only some layers have attention, or keys
        return
    for stem in (*family.optional, "attn_q_norm.weight", "attn_k_norm.weight"):
        having = [layer for layer in range(sizes.layers) if f"blk.{layer}.{stem}" in header.tensors]
        if "norm" in stem and having and len(having) < sizes.layers:
            raise MalformedInput(
                f"is in {len(having)} of {sizes.layers} layers",
                where=f"tensor {printable(f'blk.{having[0]}.{stem}')}",
            )


def _feed_forward(described: DescribedHeader, kind: FfnKind, prefix: str) -> tuple[list[str], list[str]]:
    """Tensors that a layer's network must and may have; experts are stacked (gate and up fused or not) or separate."""
    family = described.family
    dense = [] if kind in ("mixture", "none") else list(family.ffn)
    if kind in ("dense", "none"):
        return dense, []
    always = [stem for stem in family.mixture if stem not in MAY_LACK]
    may = [stem for stem in family.mixture if stem in MAY_LACK]
    stems = list(EXPERTS)
    if f"{prefix}{FUSED_EXPERTS[1]}" in described.header.tensors:
        stems = list(FUSED_EXPERTS)
    elif f"{prefix}{SPLIT_EXPERTS[0]}.0.weight" in described.header.tensors:
        apart = [f"{stem}.{e}.weight" for stem in SPLIT_EXPERTS for e in range(described.sizes.experts)]
        stems = [EXPERTS[0], *apart]
    if family.ungated_experts:
        stems.remove(EXPERTS[1])
    shared = SHARED if family.experts == "shared" else family.shared
    return [*dense, *stems, *always, *shared], may


def _names(described: DescribedHeader) -> tuple[set[str], set[str]]:
    family, header = described.family, described.header
    required = {"token_embd.weight", *family.final}
    if not family.bare_norms:
        required |= {f"{role(family, 'final_norm')}.weight"}
    if family.learned_positions:
        required |= {"position_embd.weight"}
    if family.embedding_norm:
        required |= {"token_embd_norm.weight", "token_embd_norm.bias"}
    optional = {*family.final_optional, *family.outside_optional}
    (required if family.head_required else optional).add("output.weight")
    if family.rope_factors != "none":
        optional |= {"rope_freqs.weight"} if family.rope_factors == "freqs" else set()
        optional |= {"rope_factors_long.weight", "rope_factors_short.weight"}
    for layer, kind in enumerate(described.kinds):
        prefix = f"blk.{layer}."
        must, may = _of_layer(described, kind, prefix)
        required.update(prefix + stem for stem in must)
        optional.update(prefix + stem for stem in may)
    return required, optional | _scales(header, required | optional)


def role(family: ArchitectureFacts, name: str) -> str:
    """Name of a role's tensor without `.weight`; empty if the family has none, alternatives separated by spaces."""
    return family.roles.get(name, ROLES[name])


def _scales(header: Header, names: set[str]) -> set[str]:
    """Names of scales beside existing weights. With a dense layer's bias llama.cpp uses the name for something else."""
    found = set()
    for name in names & header.tensors.keys():
        whole, _, kind = name.rpartition(".")
        stem = re.sub(r"^blk\.\d+\.", "", whole)
        biased = stem.startswith("ffn_") and f"{whole}.bias" in header.tensors
        other = stem == "output" and header.tensors[name].type.name != "NVFP4"
        if kind == "weight" and stem in SCALED and not biased and not other:
            found |= {f"{whole}.scale", f"{whole}.input_scale"}
    return found


def _of_layer(described: DescribedHeader, kind: LayerKind, prefix: str) -> tuple[list[str], list[str]]:
    family = described.family
    must, may = _feed_forward(described, kind.ffn, prefix)
    must, may = [*family.norms, *must], [*family.layer_optional, *may]
    for mixer in parts(kind.mixer):
        if isinstance(mixer, Heads):
            reads_others = kind.keys_from != int(prefix.split(".")[1])
            mixing, may_mix = _attention(described, prefix, reads_others=reads_others)
            must, may = [*must, *mixing], [*may, *may_mix]
        elif not isinstance(mixer, NoMixer):
            must += family.recurrent
    if isinstance(kind.mixer, Latent):
        joined = f"{prefix}attn_kv_b.weight" in described.header.tensors
        must += ["attn_kv_b.weight"] if joined else ["attn_k_b.weight", "attn_v_b.weight"]
        whole = f"{prefix}attn_q.weight" in described.header.tensors
        must += ["attn_q.weight"] if whole else ["attn_q_a.weight", "attn_q_a_norm.weight", "attn_q_b.weight"]
    return must, may


def _attention(described: DescribedHeader, prefix: str, *, reads_others: bool) -> tuple[list[str], list[str]]:
    family = described.family
    must = ["attn_output.weight", *family.required]
    may = [*family.optional, "attn_q.bias", "attn_k.bias", "attn_v.bias"]
    keys = ["attn_k.weight", "attn_v.weight"]
    if f"{prefix}attn_qkv.weight" in described.header.tensors:
        must.append("attn_qkv.weight")
        may.append("attn_qkv.bias")
    else:
        must.append("attn_q.weight")
        (may if reads_others else must).extend(keys[:1])
        (may if family.value_norm else must).extend(keys[1:])
    if family.head_norms is not None:
        norms = must if family.head_norms_required else may
        norms.append("attn_q_norm.weight")
        (may if reads_others else norms).append("attn_k_norm.weight")
    return must, may


def _shape_error(described: DescribedHeader, name: str) -> str | None:
    tensor = described.header.tensors.get(name)
    # the length of RoPE factors is checked where they are read
    if tensor is None or name.startswith("rope_"):
        return None
    family = described.family
    prefix, stem = _split(name)
    mixer = described.kinds[int(prefix.split(".")[1])].mixer if prefix else described.kinds[0].mixer
    rule = SHAPES.get(EXPERT_NUMBER.sub(".{e}.", stem), "")
    for part in parts(mixer):
        rule = MIXER_SHAPES.get(type(part), {}).get(stem, rule)
    if family.head_norms is not None and stem in ("attn_q_norm.weight", "attn_k_norm.weight"):
        rule = HEAD_NORM_SHAPES[family.head_norms][stem == "attn_k_norm.weight"]
    if family.fused_gate and stem == "ffn_up.weight":
        rule = "2*F E"
    if family.fused_shared_gate and stem == "ffn_up_shexp.weight":
        rule = "2*S E"
    if stem == OWN_GATE and gates_heads(described.header, described.kinds):
        rule = "H E"
    if family.output_gate and stem == "attn_q.weight":
        rule = "2*Q E"
    known: dict[str, int] = {}
    for part in parts(mixer):
        known |= _known_sizes(described, part, prefix)
    expected = tuple(_size(term, described, known, prefix) for term in rule.split())
    if _squeeze(tensor.shape) == _squeeze(expected):
        return None
    return f"{tensor} should be {' × '.join(map(str, expected))}"


def gates_heads(header: Header, kinds: Sequence[LayerKind]) -> bool:
    """Whether attention has one gate per head, from the first layer's tensor. Source: src/models/laguna.cpp."""
    gate, mixer = header.tensors.get(f"blk.0.{OWN_GATE}"), kinds[0].mixer
    return gate is not None and isinstance(mixer, Heads) and gate.shape[0] == mixer.heads


def _split(name: str) -> tuple[str, str]:
    if not name.startswith("blk."):
        return "", name
    _, number, stem = name.split(".", 2)
    return f"blk.{number}.", stem


def _size(term: str, described: DescribedHeader, known: Mapping[str, int], prefix: str) -> int:
    """Evaluate a term of a shape: a sum of products of letters and numbers."""
    widths = {
        letter: _width(letter, described.header, prefix)
        for letter in WIDTHS
        if letter in re.split(r"[*+]", term)
    }
    return extent(term, {**known, **widths})


def _width(letter: str, header: Header, prefix: str) -> int:
    name = prefix + WIDTHS[letter]
    down = header.tensors.get(name) or header.tensors[prefix + f"{SPLIT_EXPERTS[2]}.0.weight"]
    return down.shape[-1]


def _known_sizes(described: DescribedHeader, mixer: SingleMixer, prefix: str) -> dict[str, int]:
    sizes = described.sizes
    known = {
        "E": sizes.hidden, "V": sizes.vocabulary, "L": sizes.layers, "N": sizes.experts, "H": sizes.heads,
    }  # fmt: skip
    known["C"] = sizes.n_ctx
    known["streams"] = described.header.metadata.integer(f"{described.architecture}.altup.num_inputs", 0)
    known["streams-1"] = known["streams"] - 1
    known["P"] = described.header.metadata.integer(
        f"{described.architecture}.embedding_length_per_layer_input", 0
    )
    match mixer:
        case Heads(heads, kv_heads, dim):
            own = {"Q": heads * dim, "K": kv_heads * dim, "D": dim, "G": kv_heads, "H": heads}
            return {**known, **own, "Y": kv_heads * mixer.value_width, "O": heads * mixer.value_width}
        case DeltaNet():
            keys, values = mixer.key_heads * mixer.key_dim, mixer.value_heads * mixer.value_dim
            own = {"keys": keys, "values": values, "vheads": mixer.value_heads, "vdim": mixer.value_dim}
            return {**known, **own, "taps": mixer.taps}
        case Mamba2():
            shared = mixer.groups * mixer.state
            own = {"inner": mixer.inner, "shared": shared, "mheads": mixer.heads, "groups": mixer.groups}
            return {**known, **own, "gdim": mixer.inner // mixer.groups, "taps": mixer.taps}
        case Mamba():
            own = {"inner": mixer.inner, "steprank": mixer.rank, "state": mixer.state, "taps": mixer.taps}
            return {**known, **own}
        case ShortConv():
            return {**known, "taps": mixer.taps}
        case Latent():
            first = described.header.tensors.get(f"{prefix}attn_q_a.weight")
            own = {"rank": mixer.rank, "nope": mixer.nope, "rope": mixer.rope, "vdim": mixer.value}
            return {**known, **own, "whole": mixer.nope + mixer.rope, "qrank": first.shape[0] if first else 0}
    return known


def _squeeze(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without leading dimensions of 1: the converter writes them, llama-quantize drops them."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _list_text(names: list[str]) -> str:
    return ", ".join(printable(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if names[12:] else ""
    )
