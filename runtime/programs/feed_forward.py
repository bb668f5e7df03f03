"""Feed-forward networks as kernel steps: dense, and mixtures that read only the chosen experts' weights."""

from __future__ import annotations

from collections.abc import Sequence

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.kernels.cpu.experts import Routed
from llorch.runtime.kernels.cpu.products import GROUP
from llorch.runtime.kernels.cpu.recorder import Floats
from llorch.runtime.kernels.cpu.segments import Results, Stack
from llorch.runtime.programs.known import product_of, require, require_known
from llorch.runtime.programs.steps import Steps


def feed_forward(
    steps: Steps,
    ffn: FeedForward | Mixture,
    normed: Floats,
    norm: Norm | None,
    residual: Floats,
    target: Floats,
) -> None:
    """Record target = residual + scale · norm(ffn(normed)); for a mixture, target must be residual."""
    require_known(ffn)
    if isinstance(ffn, FeedForward):
        steps.output(ffn.down, _active(steps, ffn, normed), norm, residual, target)
        return
    require(residual is target)
    _mixture(steps, ffn, normed)
    steps.add(norm, target)


def _active(steps: Steps, ffn: FeedForward, normed: Floats) -> Floats:
    """Record act(gate x) · up x, or act(up x) without a gate."""
    require_known(ffn)
    up = steps.recorder.floats("up", ffn.up.weight.rows)
    if ffn.gate is None:
        steps.multiply(normed, [(ffn.up, up)])
        steps.gate(ffn.activation, up, None)
        return up
    gate = steps.recorder.floats("gate", ffn.up.weight.rows)
    steps.multiply(normed, [(ffn.gate, gate), (ffn.up, up)])
    steps.gate(ffn.activation, gate, up)
    return gate


def _mixture(steps: Steps, ffn: Mixture, normed: Floats) -> None:
    """Record a mixture into `steps.added`; only the chosen experts' weights and the shared expert's are read."""
    require_known(ffn.routing)
    routing, recorder = ffn.routing, steps.recorder
    require(routing.groups == 1 and (ffn.choice_bias is None or routing.scores != "softmax of the chosen"))
    for expert in ffn.experts:
        require_known(expert)
    gated = ffn.experts[0].gate is not None
    parts = ("gate", "up") if gated else ("up",)
    inward = [_stack([getattr(expert, part) for expert in ffn.experts]) for part in parts]
    down = _stack([expert.down for expert in ffn.experts])
    width = inward[0].first.blocks.rows
    require(width % GROUP == 0 and all(stack.first.blocks.rows == width for stack in inward))
    scores = recorder.floats("scores", routing.experts)
    steps.multiply(normed, [(ffn.router, scores)])
    routed = Routed(recorder, routing.experts, routing.used, (*inward, down))
    routed.route(
        scores,
        "sigmoid" if routing.scores == "sigmoid" else "softmax",
        0 if ffn.choice_bias is None else recorder.constant(ffn.choice_bias.float().numpy()),
        # softmax over the chosen experts is the softmax over all, renormalised
        renormalised=routing.renormalised or routing.scores == "softmax of the chosen",
        scale=routing.scale,
    )
    made = [routed.floats(f"experts' {part}", width) for part in parts]
    results = [(stack, Results.rows_of(target)) for stack, target in zip(inward, made, strict=True)]
    routed.multiply(routed.spread(normed, inward), results)
    steps.gate(ffn.experts[0].activation, made[0], made[1] if gated else None)
    outputs = routed.floats("experts' results", steps.traits.hidden_size)
    routed.multiply(recorder.operands(made[0], [down.first]), [(down, Results.rows_of(outputs))])
    routed.combine(outputs, steps.added)
    _add_shared_expert(steps, ffn, normed)


def _add_shared_expert(steps: Steps, ffn: Mixture, normed: Floats) -> None:
    """Record adding the shared expert to `steps.added`."""
    if ffn.shared is None:
        return
    recorder, active = steps.recorder, _active(steps, ffn.shared, normed)
    if ffn.shared_gate is None:
        slots = {
            "y": steps.added.address,
            "residual": steps.added.address,
            "factor": recorder.constant([1.0]),
        }
        recorder.multiply(active, [(product_of(ffn.shared.down), slots)])
        return
    gate, made = recorder.floats("shared gate", 1), recorder.floats("shared", steps.traits.hidden_size)
    steps.multiply(normed, [(ffn.shared_gate, gate)])
    steps.gate("sigmoid", gate, None)
    steps.multiply(active, [(ffn.shared.down, made)])
    recorder.add_rows(made, gate, steps.added)


def _stack(linears: Sequence[Linear | None]) -> Stack:
    """All experts' matrices as one stack; Unknown unless they are equally spaced in memory."""
    products = [product_of(linear) for linear in linears if linear is not None]
    require(len(products) == len(linears) > 1 and all(product.bias is None for product in products))
    first = products[0].blocks
    begins = [product.blocks.raw.ctypes.data for product in products]
    stride = begins[1] - begins[0]
    require(stride > 0 and all(begin == begins[0] + place * stride for place, begin in enumerate(begins)))
    require(
        all(product.blocks.type is first.type and product.blocks.rows == first.rows for product in products)
    )
    return Stack(products[0], stride)
