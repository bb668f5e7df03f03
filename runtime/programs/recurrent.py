"""Recurrent mixers as kernel steps: projections, convolution, recurrence, gate; up to the output projection."""

from __future__ import annotations

import torch
from torch import Tensor

from llorch.runtime.blocks.delta_net import GatedDeltaNet
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.mamba import Mamba2Mixer, MambaMixer
from llorch.runtime.blocks.short_conv import ShortConvolution
from llorch.runtime.kernels.cpu.recorder import Floats
from llorch.runtime.kernels.cpu.steps import recurrences
from llorch.runtime.kernels.cpu.steps.small_steps import LANES
from llorch.runtime.programs.known import product_of, require, require_known
from llorch.runtime.programs.steps import Steps
from llorch.runtime.weights import RecurrentMixer


def recurrent(steps: Steps, index: int, mixer: RecurrentMixer, normed: Floats) -> tuple[Linear, Floats]:
    """Record a mixer; return its output projection and the rows for it."""
    require_known(mixer)
    match mixer:
        case GatedDeltaNet():
            return mixer.output, _delta_net(steps, index, mixer, normed)
        case Mamba2Mixer():
            return mixer.output, _mamba2(steps, index, mixer, normed)
        case MambaMixer():
            return mixer.output, _mamba(steps, index, mixer, normed)
        case ShortConvolution():
            return mixer.outward, _short_convolution(steps, index, mixer, normed)


def _parts(steps: Steps, linear: Linear, normed: Floats, *parts: tuple[str, int]) -> list[Floats]:
    """Record a projection whose rows are divided among several buffers, given as (name, rows)."""
    targets, calls, start = [], [], 0
    for name, rows in parts:
        target = steps.recorder.floats(name, rows)
        calls.append((product_of(linear, start, start + rows), target))
        targets.append(target)
        start += rows
    steps.multiply_parts(normed, calls)
    return targets


def _constant(steps: Steps, numbers: Tensor) -> int:
    return steps.recorder.constant(numbers.float().contiguous().view(-1).numpy())


def _convolution(
    steps: Steps,
    index: int,
    taps: Tensor,
    bias: Tensor | None,
    rows: Floats,
    gates: tuple[Floats, Floats] | None = None,
) -> None:
    """Record a causal convolution in place. gates: buffers that multiply its input and its output."""
    require(rows.width % LANES == 0 and taps.shape[1] > 1)
    slots = {
        "source": rows.address, "target": rows.address, "channels": rows.width, "taps": _constant(steps, taps.T),
        "bias": _constant(steps, torch.zeros(rows.width) if bias is None else bias),
    } | steps.tokens(index)  # fmt: skip
    if gates is not None:
        slots |= {"before": gates[0].address, "after": gates[1].address}
    count, gated = taps.shape[1], gates is not None
    steps.recorder.small(
        f"convolution-{count}{'-gated' if gated else ''}",
        lambda processor: recurrences.convolution_kernel(processor, count, gated=gated),
        recurrences.CONVOLVE,
        slots,
        rows.width // LANES,
    )


def _delta_net(steps: Steps, index: int, mixer: GatedDeltaNet, normed: Floats) -> Floats:
    shape, recorder = mixer.shape, steps.recorder
    require(shape.key_dim % LANES == 0 and shape.value_dim % LANES == 0)
    mixed, z = recorder.floats("channels", shape.channels), recorder.floats("z", mixer.gate.weight.rows)
    step, write = (recorder.floats(name, shape.value_heads) for name in ("step", "write"))
    steps.multiply(normed, [(mixer.qkv, mixed), (mixer.gate, z), (mixer.step, step), (mixer.write, write)])
    _convolution(steps, index, mixer.taps, None, mixed)
    output, width = recorder.floats("mixer output", z.width), recurrences.delta_part(shape.value_dim)
    key_of = recorder.indices(mixer.key_of.tolist())
    slots = {
        "mixed": mixed.address, "step": step.address, "write": write.address, "decay": _constant(steps, mixer.decay),
        "step_bias": _constant(steps, mixer.step_bias), "key_of": key_of,
        "target": output.address, "key_heads": shape.key_heads,
        "value_heads": shape.value_heads, "key_dim": shape.key_dim, "value_dim": shape.value_dim,
    } | steps.tokens(index)  # fmt: skip
    recorder.small(
        f"delta-{width}",
        lambda processor: recurrences.delta_kernel(processor, width),
        recurrences.DELTA,
        slots,
        shape.value_heads * (shape.value_dim // width),
    )
    steps.norm(mixer.norm, output, output, shape.value_dim)
    steps.gate("silu", z, output)
    return z


def _mamba2(steps: Steps, index: int, mixer: Mamba2Mixer, normed: Floats) -> Floats:
    shape, recorder = mixer.shape, steps.recorder
    require(shape.state % LANES == 0)
    z, mixed, step = _parts(
        steps, mixer.inward, normed, ("z", shape.inner), ("channels", shape.channels), ("step", shape.heads)
    )
    _convolution(steps, index, mixer.taps, mixer.conv_bias, mixed)
    output = recorder.floats("mixer output", shape.inner)
    slots = {
        "mixed": mixed.address, "step": step.address, "decay": _constant(steps, mixer.decay),
        "step_bias": _constant(steps, mixer.step_bias), "skip": _constant(steps, mixer.skip),
        "target": output.address, "heads": shape.heads, "head_dim": shape.head_dim, "groups": shape.groups,
    } | steps.tokens(index)  # fmt: skip
    recorder.small(
        recurrences.mamba2_kernel_name(shape.state, shape.least_step),
        lambda processor: recurrences.mamba2_kernel(processor, shape.state, shape.least_step),
        recurrences.MAMBA2,
        slots,
        shape.heads,
    )
    steps.gate("silu", z, output)
    if mixer.norm is not None:
        steps.norm(mixer.norm, z, z, shape.inner // shape.groups)
    return z


def _mamba(steps: Steps, index: int, mixer: MambaMixer, normed: Floats) -> Floats:
    shape, recorder = mixer.shape, steps.recorder
    require(shape.state % LANES == 0)
    value, z = _parts(steps, mixer.inward, normed, ("channels", shape.inner), ("z", shape.inner))
    _convolution(steps, index, mixer.taps, mixer.conv_bias, value)
    low, into, out_of = _parts(
        steps, mixer.parameters, value, ("low", shape.rank), ("into", shape.state), ("out of", shape.state)
    )
    step, output = (recorder.floats(name, shape.inner) for name in ("step", "mixer output"))
    steps.multiply(low, [(mixer.step, step)])
    slots = {
        "value": value.address, "step": step.address, "into": into.address, "out_of": out_of.address,
        "decay": _constant(steps, mixer.decay), "skip": _constant(steps, mixer.skip),
        "target": output.address, "channels": shape.inner,
    } | steps.tokens(index)  # fmt: skip
    recorder.small(
        f"space-of-channels-{shape.state}",
        lambda processor: recurrences.mamba_kernel(processor, shape.state),
        recurrences.MAMBA,
        slots,
        shape.inner,
    )
    steps.gate("silu", z, output)
    return z


def _short_convolution(steps: Steps, index: int, mixer: ShortConvolution, normed: Floats) -> Floats:
    width = len(mixer.taps)
    before, after, value = _parts(
        steps, mixer.inward, normed, ("before", width), ("after", width), ("channels", width)
    )
    _convolution(steps, index, mixer.taps, None, value, (before, after))
    return value
