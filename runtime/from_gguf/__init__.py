"""Reads a GGUF file as llama.cpp does: its keys and tensors into Traits, and its weights for the decoder.

Nothing here asks the converter or the folder's reading: when both readings agree, that is why it means something.
`read_traits` needs no torch; `weights.build_weights` does.
"""

from __future__ import annotations

from typing import Literal

from llorch.formats.gguf import Header, TensorData
from llorch.formats.quants import decode
from llorch.runtime.from_gguf.families import ArchitectureFacts
from llorch.runtime.from_gguf.keys import Keys, Sizes, read_sizes
from llorch.runtime.from_gguf.layout import check_layout
from llorch.runtime.from_gguf.rope import ropes
from llorch.runtime.from_gguf.scales import read_scales
from llorch.runtime.traits import Routing, Traits


def read_traits(header: Header, data: TensorData) -> tuple[Traits, ArchitectureFacts]:
    """The model that a header describes, its layout checked; of the weights only rotary divisors are read."""
    keys = Keys(header)
    family, sizes = keys.family, read_sizes(keys, header)
    check_layout(header, family, sizes)

    def factors(name: str) -> tuple[float, ...] | None:
        tensor = header.tensors.get(name)
        return None if tensor is None else tuple(decode(tensor.type, data.read(tensor)).tolist())

    windows, scales = keys.windows(sizes.layers), read_scales(keys, sizes)
    eps = "attention.layer_norm_rms_epsilon" if family.norm == "rms" else "attention.layer_norm_epsilon"
    traits = Traits(
        vocabulary_size=sizes.vocabulary,
        hidden_size=sizes.hidden,
        n_ctx=sizes.n_ctx,
        heads=sizes.heads,
        kv_heads=sizes.kv_heads,
        head_dim=sizes.head_dim,
        norm=family.norm,
        norm_eps=keys.number(eps),
        activation=family.activation,
        windows=windows,
        ropes=ropes(keys, sizes, windows, factors),
        attention_scale=scales.attention,
        head_norm=_head_norm(header, family),
        parallel=_is_parallel(header, family),
        routing=_routing(family, sizes),
        embedding_scale=scales.embedding,
        residual_scale=scales.residual,
        logit_scale=scales.logit,
        attention_softcap=scales.attention_softcap,
        logit_softcap=scales.logit_softcap,
    )
    return traits, family


def _head_norm(header: Header, family: ArchitectureFacts) -> Literal["head", "row"] | None:
    if family.head_norms is None or "blk.0.attn_q_norm.weight" not in header.tensors:
        return None
    return "row" if family.head_norms == "row" else "head"


def _is_parallel(header: Header, family: ArchitectureFacts) -> bool:
    if family.parallel == "without ffn_norm":
        return "blk.0.ffn_norm.weight" not in header.tensors
    return family.parallel


def _routing(family: ArchitectureFacts, sizes: Sizes) -> Routing | None:
    if not sizes.experts:
        return None
    return Routing(sizes.experts, sizes.experts_used, family.experts_renormalised)
