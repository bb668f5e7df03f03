"""A causal convolution over a few positions, a filter a channel, and what it keeps of the past."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def convolve(x: Tensor, taps: Tensor, bias: Tensor | None, past: Tensor) -> Tensor:
    """Each channel's last inputs, weighed; the newest by the last tap.

    x: (positions, channels). taps: (channels, n). past: (channels, n − 1), the inputs before x; becomes those before
    what follows. Returns x's shape.
    """
    whole = torch.cat([past, x.T], dim=1)
    y = functional.conv1d(whole[None], taps[:, None], bias, groups=len(taps))[0]
    past.copy_(whole[:, whole.shape[1] - past.shape[1] :])
    return y.T
