"""A causal convolution over a few positions, a filter a channel, and what it keeps of the past."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def convolve(x: Tensor, taps: Tensor, bias: Tensor | None, past: Tensor) -> Tensor:
    """Each channel's last inputs, weighed; the newest by the last tap.

    x: (positions, channels). taps: (channels, n). past: (n − 1, channels), the inputs before x; becomes those before
    what follows. Returns x's shape.
    """
    whole = torch.cat([past, x])
    y = functional.conv1d(whole.T[None], taps[:, None], bias, groups=len(taps))[0]
    past.copy_(whole[len(whole) - len(past) :])
    return y.T
