"""Launch the kernels between products: norms, gated activations, argmax."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from llorch.runtime.kernels.cuda import pointwise
from llorch.runtime.kernels.cuda.launch.activations import (
    PACK_COLUMNS,
    ActivationRows,
    chain_options,
    pad_width,
)
from llorch.runtime.traits import Activation, NormKind

NORM_COLUMNS = 512
TOP_PROGRAMS, TOP_BLOCK = 128, 1024


class Norm(Protocol):
    """The decoder's norm, as far as the kernels need it."""

    @property
    def kind(self) -> NormKind:
        """RMS norm or layer norm."""

    @property
    def eps(self) -> float:
        """Epsilon, added to the mean of squares."""

    @property
    def weight(self) -> Tensor | None:
        """(width,), or a row per head; the kernels require one."""

    @property
    def bias(self) -> Tensor | None:
        """Same shape as the weight, or None."""


def pack(x: Tensor, *, fast: bool) -> ActivationRows:
    """Pack float32 activations (m, columns) for the products."""
    out = ActivationRows.empty(len(x), x.shape[1], x.device, fast=fast)
    gate(x.contiguous()[:, None], None, out, None)
    return out


def gate(first: Tensor, second: Tensor | None, out: ActivationRows, activation: Activation | None) -> None:
    """Pack act(Σ first) · Σ second; both (m, parts, columns) float32, possibly views of the same wider rows."""
    m, columns = out.plain.shape
    pointwise.gate[-(-columns // PACK_COLUMNS), m](
        first,
        first if second is None else second,
        *out.buffers,
        columns,
        out.groups,
        first.stride(0),
        first.stride(1),
        PARTS=first.shape[1],
        ACT=activation or "none",
        GATED=second is not None,
        FAST=out.fast,
        PACK=out.packed,
        B=PACK_COLUMNS,
        num_warps=2,
        **chain_options(first),
    )


def add_and_norm(
    hidden: Tensor,
    after: Tensor,
    parts: Tensor | None,
    shares: Tensor | None,
    post: Norm | None,
    norm: Norm | None,
    out: ActivationRows,
    scale: float,
    *,
    few: bool,
) -> None:
    """after = hidden + scale · post(Σ shares · parts), and its norm, packed for the next product.

    hidden, after: (m, width), not the same memory. parts: (n, m, width), or None: then `after` is not written. shares:
    (n, m). few: for decode steps, gives a wide row more warps. The order of the sums depends on `few`, never on m, so
    that a row's bits don't depend on the others.
    """
    m, width = hidden.shape
    some = norm or post
    block = min(NORM_COLUMNS, pad_width(width))
    pointwise.add_and_norm[-(-width // block), m](
        hidden,
        after,
        hidden if parts is None else parts,
        shares,
        None if post is None else post.weight,
        None if post is None else post.bias,
        None if norm is None else norm.weight,
        None if norm is None else norm.bias,
        *out.buffers,
        width,
        out.groups,
        0 if parts is None else parts.stride(0),
        scale,
        0.0 if some is None else some.eps,
        PARTS=0 if parts is None else len(parts),
        POST="none" if post is None else post.kind,
        KIND="none" if norm is None else norm.kind,
        FAST=out.fast,
        PACK=out.packed,
        B=pad_width(width),
        C=block,
        num_warps=16 if few and width > 2048 else 4,
        **chain_options(hidden),
    )


def most_probable(logits: Tensor, never: Tensor, scratch: Tensor, token: Tensor, position: Tensor) -> None:
    """Write the argmax of each row into `token` (m,) int64, and increment `position` (m,).

    logits, never: (m, vocabulary); never is added and is −∞ for forbidden ids. scratch: (m, TOP_PROGRAMS) float32.
    """
    m, width = logits.shape
    share = -(-width // TOP_PROGRAMS)
    pointwise.top_of_blocks[TOP_PROGRAMS, m](
        scratch, logits, never, width, share, B=TOP_BLOCK, num_warps=4, **chain_options(logits)
    )
    pointwise.first_top[m,](
        token,
        position,
        scratch,
        logits,
        never,
        width,
        share,
        PROGRAMS=TOP_PROGRAMS,
        B=TOP_BLOCK,
        num_warps=4,
        **chain_options(logits),
    )
