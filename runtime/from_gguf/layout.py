"""Which tensors a file of a family must and may have, and their shapes, before any weight is read.

Names are exact: a tensor that no rule speaks of is an error, since a graph that leaves out a weight is another model.
"""

from __future__ import annotations

import re

from llorch.base.errors import MalformedInput
from llorch.base.shown import shown
from llorch.formats.gguf import Header
from llorch.runtime.from_gguf.families import EXPERTS, FUSED_EXPERTS, SHARED, SPLIT_EXPERTS, ArchitectureFacts
from llorch.runtime.from_gguf.keys import Sizes

OBSOLETE = "attn_rot_embd.weight"  # old converters wrote it, nothing reads it

# E hidden size, Q and K all channels of queries and keys, D channels of a head, H and G heads of queries and keys,
# F, X, S feed-forward width of the layer, of an expert, of the shared expert, N experts, V vocabulary.
SHAPES: dict[str, str] = {
    "token_embd.weight": "V E",
    "output_norm.weight": "E",
    "output_norm.bias": "E",
    "output.weight": "V E",
    "output.bias": "V",
    "attn_norm.weight": "E",
    "attn_norm.bias": "E",
    "ffn_norm.weight": "E",
    "ffn_norm.bias": "E",
    "post_attention_norm.weight": "E",
    "post_ffw_norm.weight": "E",
    "attn_q.weight": "Q E",
    "attn_k.weight": "K E",
    "attn_v.weight": "K E",
    "attn_qkv.weight": "Q+2K E",
    "attn_q.bias": "Q",
    "attn_k.bias": "K",
    "attn_v.bias": "K",
    "attn_qkv.bias": "Q+2K",
    "attn_output.weight": "E Q",
    "attn_output.bias": "E",
    "ffn_gate.weight": "F E",
    "ffn_up.weight": "F E",
    "ffn_down.weight": "E F",
    "ffn_gate.bias": "F",
    "ffn_up.bias": "F",
    "ffn_down.bias": "E",
    "ffn_gate_inp.weight": "N E",
    "ffn_gate_exps.weight": "N X E",
    "ffn_up_exps.weight": "N X E",
    "ffn_gate_up_exps.weight": "N 2X E",
    "ffn_down_exps.weight": "N E X",
    "ffn_gate.{e}.weight": "X E",
    "ffn_up.{e}.weight": "X E",
    "ffn_down.{e}.weight": "E X",
    "ffn_gate_inp_shexp.weight": "1 E",
    "ffn_gate_shexp.weight": "S E",
    "ffn_up_shexp.weight": "S E",
    "ffn_down_shexp.weight": "E S",
}
# Weights that may have a `.scale`, which their product is multiplied by, and an `.input_scale`, which no graph uses:
# of one number, or of one an expert. Source: src/llama-model.cpp, `load_tensors`.
SCALED: dict[str, str] = {
    **dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_qkv", "attn_output"), "1"),
    **dict.fromkeys(("ffn_gate", "ffn_up", "ffn_down"), "1"),
    **dict.fromkeys(("ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp"), "1"),
    **dict.fromkeys(("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"), "N"),
    "output": "1",  # only where it is NVFP4
}
SHAPES |= {f"{stem}.{kind}": shape for stem, shape in SCALED.items() for kind in ("scale", "input_scale")}
HEAD_NORM_SHAPES = {"head": ("D", "D"), "heads": ("H D", "G D"), "row": ("Q", "K")}
EXPERT_NUMBER = re.compile(r"\.\d+\.")
WIDTHS = {
    "F": "ffn_down.weight",
    "X": "ffn_down_exps.weight",
    "S": "ffn_down_shexp.weight",
}  # their columns say it


def check_layout(header: Header, family: ArchitectureFacts, sizes: Sizes) -> None:
    """MalformedInput naming all that is missing, all that is unexpected, or all that has another shape."""
    required, optional = _names(header, family, sizes)
    missing = sorted(required - header.tensors.keys())
    unexpected = sorted(
        name for name in header.tensors.keys() - required - optional if not name.endswith(f".{OBSOLETE}")
    )
    if missing or unexpected:
        said = [
            f"{what} {_listed(names)}"
            for what, names in (("lacks", missing), ("has unexpected", unexpected))
            if names
        ]
        raise MalformedInput(
            f"as a model of this architecture the file {' and '.join(said)}", path=header.path
        )
    _check_same_norms(header, family, sizes)
    wrong = [
        problem
        for name in sorted(required | optional)
        if (problem := _misshaped(header, family, sizes, name))
    ]
    if wrong:
        raise MalformedInput("; ".join(wrong[:8]) + (" …" if wrong[8:] else ""), path=header.path)


def _check_same_norms(header: Header, family: ArchitectureFacts, sizes: Sizes) -> None:
    """Norms that a family may have are in all layers or in none: one traits' value speaks for all."""
    for stem in (*family.optional, "attn_q_norm.weight", "attn_k_norm.weight"):
        having = [layer for layer in range(sizes.layers) if f"blk.{layer}.{stem}" in header.tensors]
        if "norm" in stem and having and len(having) < sizes.layers:
            raise MalformedInput(
                f"is in {len(having)} of {sizes.layers} layers",
                where=f"tensor {shown(f'blk.{having[0]}.{stem}')}",
            )


def _feed_forward(header: Header, family: ArchitectureFacts, sizes: Sizes, prefix: str) -> list[str]:
    """Stems of a layer's feed-forward network; experts are stacked, stacked with gate and up as one, or apart."""
    if not sizes.experts:
        return list(family.ffn)
    shared = SHARED if family.experts == "shared" else ()
    if f"{prefix}{FUSED_EXPERTS[1]}" in header.tensors:
        return [*FUSED_EXPERTS, *shared]
    if f"{prefix}{SPLIT_EXPERTS[0]}.0.weight" in header.tensors:
        apart = [f"{stem}.{e}.weight" for stem in SPLIT_EXPERTS for e in range(sizes.experts)]
        return [EXPERTS[0], *apart, *shared]
    return [*EXPERTS, *shared]


def _names(header: Header, family: ArchitectureFacts, sizes: Sizes) -> tuple[set[str], set[str]]:
    required = {"token_embd.weight", "output_norm.weight", *family.final}
    optional = set(family.final_optional)
    (required if family.head_required else optional).add("output.weight")
    if family.rope_factors != "none":
        optional |= {"rope_freqs.weight"} if family.rope_factors == "freqs" else set()
        optional |= {"rope_factors_long.weight", "rope_factors_short.weight"}
    for layer in range(sizes.layers):
        prefix = f"blk.{layer}."
        must, may = _of_layer(header, family, sizes, prefix)
        required.update(prefix + stem for stem in must)
        optional.update(prefix + stem for stem in may)
    return required, optional | _scales(header, required | optional)


def _scales(header: Header, names: set[str]) -> set[str]:
    """Names of scales beside those weights that are there; after a dense layer's bias llama.cpp means another thing."""
    found = set()
    for name in names & header.tensors.keys():
        whole, _, kind = name.rpartition(".")
        stem = _split(whole)[1]
        biased = stem.startswith("ffn_") and f"{whole}.bias" in header.tensors
        other = stem == "output" and header.tensors[name].type.name != "NVFP4"
        if kind == "weight" and stem in SCALED and not biased and not other:
            found |= {f"{whole}.scale", f"{whole}.input_scale"}
    return found


def _of_layer(
    header: Header, family: ArchitectureFacts, sizes: Sizes, prefix: str
) -> tuple[list[str], list[str]]:
    must = [*family.norms, "attn_output.weight", *family.required]
    must += _feed_forward(header, family, sizes, prefix)
    may = [*family.optional, "attn_q.bias", "attn_k.bias", "attn_v.bias"]
    if f"{prefix}attn_qkv.weight" in header.tensors:
        must.append("attn_qkv.weight")
        may.append("attn_qkv.bias")
    else:
        must += ["attn_q.weight", "attn_k.weight", "attn_v.weight"]
    if family.head_norms is not None:
        (must if family.head_norms_required else may).extend(["attn_q_norm.weight", "attn_k_norm.weight"])
    return must, may


def _misshaped(header: Header, family: ArchitectureFacts, sizes: Sizes, name: str) -> str | None:
    tensor = header.tensors.get(name)
    if tensor is None or name.startswith("rope_"):  # the factors' length is checked where they are read
        return None
    prefix, stem = _split(name)
    if family.head_norms is not None and stem in ("attn_q_norm.weight", "attn_k_norm.weight"):
        rule = HEAD_NORM_SHAPES[family.head_norms][stem == "attn_k_norm.weight"]
    else:
        rule = SHAPES[EXPERT_NUMBER.sub(".{e}.", stem)]
    if family.fused_gate and stem == "ffn_up.weight":
        rule = "2F E"
    expected = tuple(_size(term, header, sizes, prefix) for term in rule.split())
    if _squeezed(tensor.shape) == _squeezed(expected):
        return None
    return f"{tensor} should be {' × '.join(map(str, expected))}"


def _split(name: str) -> tuple[str, str]:
    if not name.startswith("blk."):
        return "", name
    _, number, stem = name.split(".", 2)
    return f"blk.{number}.", stem


def _size(term: str, header: Header, sizes: Sizes, prefix: str) -> int:
    q, k = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    known = {
        "1": 1,
        "E": sizes.hidden,
        "V": sizes.vocabulary,
        "Q": q,
        "K": k,
        "Q+2K": q + 2 * k,
        "D": sizes.head_dim,
        "H": sizes.heads,
        "G": sizes.kv_heads,
        "N": sizes.experts,
    }
    if term in known:
        return known[term]
    name = prefix + WIDTHS[term[-1]]
    down = header.tensors.get(name) or header.tensors[prefix + f"{SPLIT_EXPERTS[2]}.0.weight"]
    return down.shape[-1] * (2 if term.startswith("2") else 1)


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Without leading dimensions of 1: the converter writes them, llama-quantize drops them."""
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _listed(names: list[str]) -> str:
    return ", ".join(shown(name) for name in names[:12]) + (
        f" and {len(names) - 12} more" if names[12:] else ""
    )
