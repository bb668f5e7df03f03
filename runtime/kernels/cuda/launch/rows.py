"""What is done to rows between products: norms, gated activations, the choice of a token."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from llorch.runtime.kernels.cuda import pointwise
from llorch.runtime.kernels.cuda.launch.emitted import PACK_COLUMNS, ActivationRows, chain_options, pad_width
from llorch.runtime.traits import Activation, NormKind

NORM_COLUMNS = 512
TOP_PROGRAMS, TOP_BLOCK = 128, 1024


class Norm(Protocol):
    """A norm as the decoder has it."""

    @property
    def kind(self) -> NormKind:
        """Which of the two."""

    @property
    def eps(self) -> float:
        """Added to the mean of squares."""

    @property
    def weight(self) -> Tensor | None:
        """(width,), or a row for every head; the kernels need one."""

    @property
    def bias(self) -> Tensor | None:
        """Of the weight's shape."""


def pack(x: Tensor, *, fast: bool) -> ActivationRows:
    """Rows of activations (m, columns), float32, as the products read them."""
    out = ActivationRows.empty(len(x), x.shape[1], x.device, fast=fast)
    gate(x.contiguous()[:, None], None, out, None)
    return out


def gate(first: Tensor, second: Tensor | None, out: ActivationRows, activation: Activation | None) -> None:
    """act(Σ first) · Σ second, emitted: (m, parts, columns) float32, both perhaps cut out of the same wider rows."""
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
        EMIT=out.packed,
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
    """after = hidden + scale · post(Σ shares · parts), and its norm, emitted.

    hidden, after: (m, width), not the same memory. parts: (n, m, width), or None: then `after` is not written. shares:
    (n, m). few: whether there are never many rows, so that a wide one is given more of the processor; how sums are
    ordered depends on it, and never on m.
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
        EMIT=out.packed,
        B=pad_width(width),
        C=block,
        num_warps=16 if few and width > 2048 else 4,
        **chain_options(hidden),
    )


def most_probable(logits: Tensor, never: Tensor, scratch: Tensor, token: Tensor, position: Tensor) -> None:
    """The first of each row's largest logits into `token` (m,) int64, and one more into `position` (m,).

    logits, never: (m, vocabulary), the second −∞ where an id is not taken. scratch: (m, TOP_PROGRAMS) float32.
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
