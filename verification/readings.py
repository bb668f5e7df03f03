"""The readings of a model: one layer in float32 in memory at a time, however large the model is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llorch import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from llorch.formats import SafetensorsTensor
    from llorch.formats.gguf import Header
    from llorch.runtime import Model, Observe

KEPT_BYTES = 576 << 20  # a model up to this size in float32 is kept widened, since it is used several times
LAYER_BYTES = 512 << 20  # a layer up to this size in float32 is widened once for all sequences, else by tiles
ROUNDED: Mapping[str, Literal["bfloat16", "float16"]] = {"BF16": "bfloat16", "F16": "float16"}
LAYERS = "model.layers."


@dataclass(frozen=True, slots=True)
class Sizes:
    """The number of weights of the model and of its largest layer, and the number of layers."""

    weights: int
    layer: int
    layers: int

    @property
    def is_small(self) -> bool:
        """Whether both readings are kept widened to float32."""
        return 4 * self.weights <= KEPT_BYTES

    @property
    def dequantized_bytes(self) -> int:
        """The `dequantized_bytes` for `runtime.load`: a layer in use is widened once; 0 for widening by tiles."""
        return 4 * self.weights if self.is_small or 4 * self.layer <= LAYER_BYTES else 0

    @property
    def bound(self) -> int:
        """The most bytes a lockstep needs: 1 GB, and a layer of 16 bits per weight."""
        return 10**9 + 2 * self.layer


def sizes_of(tensors: Mapping[str, SafetensorsTensor]) -> Sizes:
    """Return the sizes of a folder's model, from its headers."""
    layers: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = name.removeprefix(LAYERS).split(".", 1)[0] if name.startswith(LAYERS) else name
        layers[part] = layers.get(part, 0) + tensor.weights
    of_layers = [size for name, size in layers.items() if name.isdigit()]
    return Sizes(sum(layers.values()), max(of_layers, default=0), len(of_layers))


def rounding_of(
    tensors: Mapping[str, SafetensorsTensor], wide: Collection[str] = ()
) -> Literal["bfloat16", "float16"] | None:
    """Return the dtype that the source's weights have to be rounded to, to equal the folder's; None for no rounding.

    wide: tensors that are always float32, such as a router's bias; the source's reading never rounds them. If all
    others have one 16-bit dtype, it is that; else the folder is float32, or lost nothing. Blocks that were kept (U8)
    are exact in bfloat16; beside float16 they only occur if nothing was rounded.
    """
    dtypes = {tensor.dtype for name, tensor in tensors.items() if name not in wide}
    if dtypes == {"U8", "BF16"}:
        return "bfloat16"
    return ROUNDED.get(dtypes.pop()) if len(dtypes) == 1 else None


def open_reading(
    path: Path | Header,
    sizes: Sizes,
    device: str,
    rounded: Literal["bfloat16", "float16"] | None = None,
    dtype: Literal["float16", "float32", "float64"] = "float32",
    *,
    lazy: bool = False,
) -> Model:
    """Open a model whose layers are widened when they are used; in float64 by tiles, since they are run once.

    lazy: see `runtime.load`; for a model of which some layers are left out.
    """
    kept = sizes.dequantized_bytes if dtype == "float32" else 0
    model = runtime.load(path, device, dtype, rounded, dequantized_bytes=kept, lazy=lazy)
    if not sizes.is_small:  # the output layer is larger than a layer and used only a few times: by tiles
        head = model.decoder.weights.head.weight
        head.numbers = replace(head.numbers, keep=False)
    return model


class Run:
    """One sequence run through a reading, layer by layer.

    chunks: sizes of the pieces the tokens are computed in, by default all at once. places, planned: see
    `Decoder.begin`. hidden: (positions, hidden size), the input of the next layer; may be replaced.
    """

    def __init__(
        self,
        model: Model,
        ids: Sequence[int],
        chunks: Sequence[int] = (),
        *,
        places: Sequence[int] | None = None,
        planned: int | None = None,
        observe: Observe | None = None,
    ) -> None:
        import torch  # `import verification` does not load it

        self.model = model
        self.ids = ids
        self._cuts = list(cuts(len(ids), chunks))
        self._steps = []
        tokens = torch.tensor(ids, dtype=torch.int64, device=model.numbers.device)
        pieces = []
        shares = any(model.traits.keys_of(layer) != layer for layer in range(model.traits.n_layers))
        self._shared = model.new_cache(len(ids)) if shares else None
        cache = model.new_cache(len(ids))
        for start, stop in self._cuts:
            cache.length = start
            where = None if places is None else places[start:stop]
            x, step = model.decoder.begin(
                tokens[start:stop], cache, observe, positions=where, planned=planned
            )
            pieces.append(x)
            self._steps.append(step)
        self.hidden: Tensor = torch.cat(pieces)

    def layer(self, index: int, observe: Observe | None = None, given: Tensor | None = None) -> Tensor:
        """Run a layer on `given`; by default on `hidden`, which the result then replaces. Returns the result.

        Its KV cache is dropped afterwards, unless another layer reads it: those of all layers would be larger than the
        layers.
        """
        import torch  # as above

        x = self.hidden if given is None else given
        cache = self._shared or self.model.new_cache(len(self.ids))
        made = []
        for (start, stop), step in zip(self._cuts, self._steps, strict=True):
            cache.length = start
            at = step.for_request(cache, observe)
            made.append(self.model.decoder.block(x[start:stop], index, at))
        out = torch.cat(made)
        if given is None:
            self.hidden = out
        return out

    def end(self, observe: Observe | None = None, given: Tensor | None = None) -> Tensor:
        """Return the final norm of `given`, by default of `hidden`: the input of the output layer."""
        x = self.hidden if given is None else given
        return self.model.decoder.end(
            x, self._steps[0].for_request(self.model.new_cache(len(self.ids)), observe)
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the float32 logits of rows of `end`'s result, on a device that supports float64 for comparisons."""
        logits = self.model.decoder.logits(hidden).float()
        return logits.cpu() if logits.device.type == "mps" else logits


def cuts(positions: int, chunks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each chunk; the last one is the rest."""
    start = 0
    for size in chunks:
        if start + size < positions:
            yield start, start + size
            start += size
    yield start, positions


def release(model: Model, index: int, sizes: Sizes) -> None:
    """Free the memory of a layer, unless the model is small enough to be kept."""
    if not sizes.is_small:
        model.decoder.weights.layers[index].release()


def layered_logits(model: Model, ids: Sequence[int], layers: Sequence[int], sizes: Sizes) -> Tensor:
    """Return the logits after every token through some layers, with one layer in memory at a time."""
    import torch

    with torch.inference_mode():
        run = Run(model, ids)
        for index in layers:
            run.layer(index)
            release(model, index, sizes)
        return run.logits(run.end())


def next_tokens(model: Model, ids: Sequence[int], count: int) -> list[int]:
    """Generate `count` tokens greedily; the lowest id if several are equally probable."""
    cache, pending, made = model.new_cache(len(ids) + count), list(ids), list[int]()
    for _ in range(count):
        made.append(int(model.step(pending, cache).numpy().argmax()))
        pending = made[-1:]
    return made
