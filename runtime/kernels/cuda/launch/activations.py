"""Activations as the products read them, and the options of an early launch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import triton
from torch import Tensor

from llorch.runtime.kernels.cuda.planes import GROUP

PACK_COLUMNS = 128  # packed by one program


@dataclass(frozen=True, slots=True)
class ActivationRows:
    """Rows of activations as the products read them; `packed` says whether more than `plain` is written.

    plain: (m, columns) float32. x: (m, 32, groups) float32, or in fast mode (m, 8, groups) int32 words of four int8
    values. xd: (m, groups), the scale of those values. xs: (m, 2, groups), sums over 16 columns.
    """

    plain: Tensor
    x: Tensor
    xd: Tensor
    xs: Tensor
    fast: bool
    packed: bool

    @classmethod
    def empty(
        cls, m: int, columns: int, device: torch.device, *, fast: bool, packed: bool = True
    ) -> ActivationRows:
        """Allocate buffers for m rows."""
        groups = -(-columns // GROUP)
        words = (8, torch.int32) if fast else (32, torch.float32)
        plain = torch.empty((m, columns), device=device)
        if not packed:
            return cls.row_major(plain)
        xs = torch.empty((m, 2, groups), device=device)
        x = torch.empty((m, words[0], groups), dtype=words[1], device=device)
        xd = torch.empty((m, groups), device=device) if fast else xs
        return cls(plain, x, xd, xs, fast, packed)

    @classmethod
    def row_major(cls, plain: Tensor) -> ActivationRows:
        """Only `plain`, of any float type."""
        return cls(plain, plain, plain, plain, False, False)

    @property
    def groups(self) -> int:
        """Groups of 32 columns."""
        return -(-self.plain.shape[-1] // GROUP)

    @property
    def buffers(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """All four buffers, in the order of the kernels' arguments."""
        return self.plain, self.x, self.xd, self.xs


@cache
def _can_chain(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (9, 0)


def chain_options(t: Tensor) -> dict[str, bool]:
    """Launch options of a kernel that may start while the previous one still runs, if the device supports that."""
    can = t.is_cuda and _can_chain(t.device)
    return {"CHAINED": can, "launch_pdl": can} if can else {"CHAINED": False}


def pad_width(width: int) -> int:
    """The next power of two, at least 32: Triton's vectors have no other lengths."""
    return max(GROUP, int(triton.next_power_of_2(width)))
