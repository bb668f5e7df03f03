"""Feed-forward networks as steps: a plain one, and a mixture of which only the chosen experts are read."""

from __future__ import annotations

from collections.abc import Sequence

from llorch.runtime.blocks.experts import FeedForward, Mixture
from llorch.runtime.blocks.linear import Linear
from llorch.runtime.blocks.norms import Norm
from llorch.runtime.kernels.cpu.multiply import Product
from llorch.runtime.kernels.cpu.recorder import Floats
from llorch.runtime.kernels.cpu.steps.small_steps import LANES
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
    """target = residual + scale · norm(ffn(normed)); a mixture's target is its residual, and takes one token."""
    require_known(ffn)
    if isinstance(ffn, FeedForward):
        steps.output(ffn.down, _active(steps, ffn, normed), norm, residual, target)
        return
    require(residual is target and steps.recorder.rows == 1)
    _mixture(steps, ffn, normed)
    steps.add(norm, target)


def _active(steps: Steps, ffn: FeedForward, normed: Floats) -> Floats:
    """act(gate x) · up x, or act(up x)."""
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
    """What one token's experts add up to, and the shared one; only what they need of the weights is read."""
    require_known(ffn.routing)
    require(ffn.routing.scores != "sigmoid" and (ffn.routing.scale, ffn.routing.groups) == (1.0, 1))
    recorder, used = steps.recorder, ffn.routing.used
    scores, chosen, weights = (
        recorder.floats(name, width)
        for name, width in (("scores", ffn.routing.experts), ("chosen", 2 * used), ("weights", used))
    )
    steps.multiply(normed, [(ffn.router, scores)])
    slots = {"scores": scores.address, "chosen": chosen.address, "weights": weights.address, "used": used}
    # the softmax of the chosen is their share of the softmax of all
    renormalised = int(ffn.routing.renormalised or ffn.routing.scores == "softmax of the chosen")
    recorder.route(slots | {"experts": ffn.routing.experts, "renormalised": renormalised})
    gates, ups, downs = (_stack([getattr(e, part) for e in ffn.experts]) for part in ("gate", "up", "down"))
    width = ups[0].blocks.rows
    require(width % 32 == 0 and gates[0].blocks.rows == width)
    gate, up = (recorder.floats(f"experts' {name}", used * width) for name in ("gate", "up"))
    calls = []
    for place in range(used):
        for (product, stride), target in ((gates, gate), (ups, up)):
            chosen_one = {"expert": chosen.address + 8 * place, "expert_bytes": stride}
            calls.append((product, chosen_one | {"y": target.address + 4 * width * place}))
    recorder.multiply(normed, calls)
    steps.gate(ffn.experts[0].activation, gate, up)
    recorder.ready(gate, used, downs[0])
    zeros = recorder.constant([0.0] * steps.traits.hidden_size)
    for place in range(used):
        slots = {
            "y": steps.added.address, "residual": steps.added.address if place else zeros,
            "factor": weights.address + 4 * place, "expert": chosen.address + 8 * place, "expert_bytes": downs[1],
        }  # fmt: skip
        recorder.multiply_row(gate, used, place, downs[0], slots)
    _shared(steps, ffn, normed)


def _shared(steps: Steps, ffn: Mixture, normed: Floats) -> None:
    """Adds the expert that all tokens share."""
    if ffn.shared is None:
        return
    factor = steps.recorder.constant([1.0])
    if ffn.shared_gate is not None:
        gate = steps.recorder.floats("shared gate", LANES)
        steps.multiply(normed, [(ffn.shared_gate, gate)])
        steps.gate("sigmoid", gate, None)
        factor = gate.address
    active = _active(steps, ffn.shared, normed)
    slots = {"y": steps.added.address, "residual": steps.added.address, "factor": factor}
    steps.recorder.multiply(active, [(product_of(ffn.shared.down), slots)])


def _stack(linears: Sequence[Linear | None]) -> tuple[Product, int]:
    """The first of experts' matrices, and how many bytes lie from one to the next."""
    products = [product_of(linear) for linear in linears if linear is not None]
    require(len(products) == len(linears) > 1 and all(product.bias is None for product in products))
    first = products[0].blocks
    begins = [product.blocks.raw.ctypes.data for product in products]
    stride = begins[1] - begins[0]
    require(stride > 0 and all(begin == begins[0] + place * stride for place, begin in enumerate(begins)))
    require(
        all(product.blocks.type is first.type and product.blocks.rows == first.rows for product in products)
    )
    return products[0], stride
