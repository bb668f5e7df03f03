"""Both readings of what is judged, a layer of each in memory at a time, however large the model is."""

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

KEPT_BYTES = 576 << 20  # a model up to this size in float32 stays widened: it is used again and again
LAYER_BYTES = 512 << 20  # a layer up to this size is widened once for all that runs through it, else by tiles
ROUNDED: Mapping[str, Literal["bfloat16", "float16"]] = {"BF16": "bfloat16", "F16": "float16"}
LAYERS = "model.layers."


@dataclass(frozen=True, slots=True)
class Sizes:
    """Weights of the model, and of its largest layer."""

    weights: int
    layer: int

    @property
    def is_small(self) -> bool:
        """Whether both readings are kept widened."""
        return 4 * self.weights <= KEPT_BYTES

    @property
    def widened_bytes(self) -> int:
        """What `runtime.load` is to keep, so that a layer in use is widened once, or by tiles."""
        return 4 * self.weights if self.is_small or 4 * self.layer <= LAYER_BYTES else 0

    @property
    def bound(self) -> int:
        """Bytes that a lockstep takes at most: 1 GB, and a layer as the source stores it, of 16 bits a weight."""
        return 10**9 + 2 * self.layer


def sizes_of(tensors: Mapping[str, SafetensorsTensor]) -> Sizes:
    """Of a folder, by its headers."""
    layers: dict[str, int] = {}
    for name, tensor in tensors.items():
        part = name.removeprefix(LAYERS).split(".", 1)[0] if name.startswith(LAYERS) else name
        layers[part] = layers.get(part, 0) + tensor.weights
    of_layers = [size for name, size in layers.items() if name.isdigit()]
    return Sizes(sum(layers.values()), max(of_layers, default=0))


def rounding_of(
    tensors: Mapping[str, SafetensorsTensor], wide: Collection[str] = ()
) -> Literal["bfloat16", "float16"] | None:
    """The type that the source's weights are rounded to, so that they equal the folder's.

    wide: tensors that stay in float32 whatever the others are in, as a router's bias does; the source's reading never
    rounds them. Where all others are of one 16-bit type, that. Else None: the folder is float32, or lost nothing.
    Blocks that stay as they are (U8) are numbers of bfloat16, and stand beside float16 only where nothing was rounded.
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
) -> Model:
    """A model whose layers are widened when they are used; float64 ones by tiles, since they are run once."""
    kept = sizes.widened_bytes if dtype == "float32" else 0
    model = runtime.load(path, device, dtype, rounded, widened_bytes=kept)
    if not sizes.is_small:  # used a few times at the end, and larger than a layer: by tiles
        head = model.decoder.weights.head.weight
        head.numbers = replace(head.numbers, keep=False)
    return model


class Run:
    """A sequence on its way through one reading, a layer at a time.

    chunks: how many tokens at a time, all at once by default. places, planned: as `Decoder.begin` has them. hidden:
    (positions, hidden size), what the next layer is given; another tensor may be put in its place.
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
        """What a layer makes of `given`, by default of `hidden`, which it then replaces.

        Where no other layer reads its keys and values, they are forgotten after it: of all layers they would be larger
        than the layers.
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
        """After the final norm: what the output layer is given."""
        x = self.hidden if given is None else given
        return self.model.decoder.end(
            x, self._steps[0].for_request(self.model.new_cache(len(self.ids)), observe)
        )

    def logits(self, hidden: Tensor) -> Tensor:
        """Of rows of what `end` gave, float32, on a device that can compare them in float64."""
        logits = self.model.decoder.logits(hidden).float()
        return logits.cpu() if logits.device.type == "mps" else logits


def cuts(positions: int, chunks: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Where each chunk begins and ends; the last one takes what is left."""
    start = 0
    for size in chunks:
        if start + size < positions:
            yield start, start + size
            start += size
    yield start, positions


def release(model: Model, index: int, sizes: Sizes) -> None:
    """Gives back the memory of a layer, unless the model is small enough to be kept."""
    if not sizes.is_small:
        model.decoder.weights.layers[index].release()


def layered_logits(model: Model, ids: Sequence[int], layers: Sequence[int], sizes: Sizes) -> Tensor:
    """Logits after every token through some layers, in the memory of one."""
    import torch

    with torch.inference_mode():
        run = Run(model, ids)
        for index in layers:
            run.layer(index)
            release(model, index, sizes)
        return run.logits(run.end())


def next_tokens(model: Model, ids: Sequence[int], count: int) -> list[int]:
    """The most probable tokens after some, one by one; the lowest id among equals."""
    cache, pending, made = model.new_cache(len(ids) + count), list(ids), list[int]()
    for _ in range(count):
        made.append(int(model.step(pending, cache).numpy().argmax()))
        pending = made[-1:]
    return made
