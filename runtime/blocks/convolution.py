"""Depthwise causal convolution over a few positions, with the past inputs as state."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def convolve(x: Tensor, taps: Tensor, bias: Tensor | None, past: Tensor) -> Tensor:
    """Convolve each channel with its taps, the last tap on the newest input.

    x: (positions, channels). taps: (channels, n). past: (n − 1, channels), the inputs before x; updated in place to the
    last n − 1 inputs. Returns x's shape.
    """
    whole = torch.cat([past, x])
    y = functional.conv1d(whole.T[None], taps[:, None], bias, groups=len(taps))[0]
    past.copy_(whole[len(whole) - len(past) :])
    return y.T
