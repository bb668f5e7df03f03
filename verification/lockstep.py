"""Both readings in lockstep: layer by layer on the same tokens, one layer of each in memory, compared at every step.

The folder's reading continues with its own hidden state up to the logits, so that they show the cost of a fault. After
the first fault, each further layer is also run on the source's input, so that every layer with a fault is found.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from llorch.base.progress import Progress
from llorch.runtime import LogitsComparison
from llorch.verification.check import NOISES
from llorch.verification.diagnosis import explain
from llorch.verification.readings import Run, Sizes, release
from llorch.verification.sequences import FinalStates, Pair, compare_sequences

if TYPE_CHECKING:
    from llorch.runtime import Model, Observe

CHUNKED, CHUNKS = 96, (7, 1)  # tokens that are also computed in chunks: of 7, of 1, and the rest
NOISE_POSITIONS = 32  # first positions at which the source's reading is also computed in float64
EDGE = 32  # positions at the start and at the end of the context, with nothing between; at most a third of the text
KL_LIMIT, MEAN_LIMIT = 1e-9, 1e-10  # nats: limits of the checks of logits for a model without noise
# Relative RMS: the limit, and the highest value that it is raised to for a noisy model.
HIDDEN_LIMIT, HIDDEN_CEILING = 1e-5, 1e-3

Observed = Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class StepDifference:
    """The difference of the readings after a step.

    layer: None before the first and after the last. relative: RMS of the difference divided by the source's RMS. limit:
    of `relative`. position, channel: where the difference is largest.
    """

    layer: int | None
    step: str
    relative: float
    limit: float
    position: int
    channel: int

    @property
    def is_fault(self) -> bool:
        """Whether it is above its limit; True for NaN."""
        return not self.relative <= self.limit

    @property
    def place(self) -> str:
        """The step in words: `layer 3, q`."""
        return self.step if self.layer is None else f"layer {self.layer}, {self.step}"


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """The difference of the hidden state after a layer, without correction by the source, and float32's noise there."""

    layer: int
    relative: float
    noise: float
    limit: float


@dataclass(slots=True)
class LockstepResult:
    """The result of a lockstep.

    layers: those that were run. faults: the first step that differs in each faulty layer. explanation: of the first
    fault. logits, long, chunked: comparisons of logits; None without a source, except chunked. noise: the source's
    logits in float32 against float64. losses: of the text's tokens, by the source and by the folder.
    """

    layers: Sequence[int]
    n_layers: int
    positions: int
    steps: int = 0
    worst: StepDifference | None = None
    faults: list[StepDifference] = field(default_factory=list)
    explanation: str = ""
    curve: list[LayerDifference] = field(default_factory=list)
    logits: LogitsComparison | None = None
    chunked: LogitsComparison | None = None
    long: LogitsComparison | None = None
    noise: LogitsComparison | None = None
    losses: tuple[float, float] | None = None

    def to_json(self) -> dict[str, object]:
        """Return the curves and faults, for the report."""
        return {
            "layers": [
                {
                    "layer": one.layer,
                    "relative": number(one.relative),
                    "noise": number(one.noise),
                    "limit": number(one.limit),
                }
                for one in self.curve
            ],
            "faults": [{"layer": one.layer, "step": one.step, "place": one.place} for one in self.faults],
            "explanation": self.explanation,
            "kl": [] if self.logits is None else [number(kl) for kl in self.logits.kl.tolist()],
            "noise": [] if self.noise is None else [number(kl) for kl in self.noise.kl.tolist()],
        }

    @property
    def is_quiet(self) -> bool:
        """Whether everything is within the limits for a model without noise."""
        compared = [found for found in (self.logits, self.chunked, self.long) if found is not None]
        return not self.faults and all(
            found.kl_max <= KL_LIMIT and found.kl_mean <= MEAN_LIMIT for found in compared
        )

    @property
    def is_certain(self) -> bool:
        """Whether every fault is above the highest limit that noise could raise it to."""
        return not any(one.relative <= HIDDEN_CEILING for one in self.faults)

    @property
    def extent(self) -> str:
        """The layers that were run, in words: `3 of 32 layers`, or `32 layers`."""
        return (
            f"{len(self.layers)} of {self.n_layers} layers"
            if len(self.layers) < self.n_layers
            else f"{self.n_layers} layers"
        )


class Lockstep:
    """Runs and compares the readings; the caller closes the models.

    source: None to run the folder alone. exact: the source's reading, or the folder's, in float64; None doesn't measure
    the model's noise. text: token ids. layers: indices of the layers to run.
    """

    def __init__(
        self,
        source: Model | None,
        folder: Model,
        exact: Model | None,
        sizes: Sizes,
        text: Sequence[int],
        layers: Sequence[int],
    ) -> None:
        self.source, self.folder, self.exact, self.sizes = source, folder, exact, sizes
        self.text, self.layers = text, layers
        self.found = LockstepResult(layers, folder.traits.n_layers, len(text))
        self._first: FinalStates | None = None  # the source's final states at the noise positions

    @torch.inference_mode()
    def run(self, once: int, progress: Progress) -> LockstepResult:
        """Run everything. once: number of tokens before the text repeats itself, for perplexity; 0 leaves that out."""
        models = [model for model in (self.source, self.folder) if model is not None]
        share = max(1, len(self.text) // 3)
        places, planned = edges(min(model.n_ctx for model in models), min(EDGE, share))
        edge_ids = self.text[: len(places)]
        places = places[: len(edge_ids)]
        seen: list[dict[str, Tensor]] = [{} for _ in models]
        texts = [Run(m, self.text, observe=keep(kept)) for m, kept in zip(models, seen, strict=True)]
        longs = [Run(m, edge_ids, places=places, planned=planned) for m in models]
        chunked = self._beginning(self.folder, CHUNKED, CHUNKS)
        exact_seen: dict[str, Tensor] = {}
        exact = None
        if self.exact is not None:
            exact = self._beginning(self.exact, self._noise_positions, observe=keep(exact_seen))
        self._compare(None, seen, exact_seen)
        for done, index in enumerate(self.layers):
            progress(done, len(self.layers) + 1)
            self._layer(index, texts, longs, chunked, exact)
        progress(len(self.layers), len(self.layers) + 1)
        self._end(texts, longs, chunked, exact, once)
        return self.found

    def _beginning(
        self, model: Model, most: int, chunks: Sequence[int] = (), observe: Observe | None = None
    ) -> Run:
        """Start a run of the text's first tokens, with RoPE planned for the whole text, to compare with the whole."""
        return Run(model, self.text[:most], chunks, planned=len(self.text), observe=observe)

    @property
    def _noise_positions(self) -> int:
        """The number of positions at which noise is measured."""
        return min(NOISE_POSITIONS, len(self.text))

    @torch.inference_mode()
    def measure_noise(self, exact: Model) -> None:
        """Measure only the logits' noise, after `run` without `exact`; enough if no step's limit depends on it."""
        run = self._beginning(exact, self._noise_positions)
        for index in self.layers:
            run.layer(index)
            release(exact, index, self.sizes)
        self._compare_noise(run, run.end())

    def _compare_noise(self, exact: Run, end: Tensor) -> None:
        assert self._first is not None
        noise = Pair("noise", (0, "text"), (1, "text"))
        readings = [FinalStates(exact, {"text": end}), self._first]
        self.found.noise = compare_sequences(readings, [noise]).pairs["noise"]
        self._release_heads(reading.run for reading in readings)

    def _release_heads(self, runs: Iterable[Run]) -> None:
        for model in {id(run.model): run.model for run in runs}.values():
            if not self.sizes.is_small:
                model.decoder.weights.head.weight.release()

    def _layer(
        self, index: int, texts: Sequence[Run], longs: Sequence[Run], chunked: Run, exact: Run | None
    ) -> None:
        """Run one layer of each reading; the first one's steps are kept until the second's are compared with them."""
        entered = texts[0].hidden
        exact_seen: dict[str, Tensor] = {}
        if exact is not None:
            exact.layer(index, keep(exact_seen))
            release(exact.model, index, self.sizes)
        seen: list[dict[str, Tensor]] = []
        for run, long in zip(texts, longs, strict=True):
            kept: dict[str, Tensor] = {}
            parted = bool(self.found.faults) and run is texts[-1] and len(texts) > 1
            run.layer(index, None if parted else keep(kept))
            if parted:  # compare the layer on the source's input, as for all layers before the first fault
                run.layer(index, keep(kept), given=entered)
            long.layer(index)
            seen.append(kept)
            if run is texts[-1]:
                chunked.layer(index)
            else:
                release(run.model, index, self.sizes)
        if self.folder.traits.ropes[index] is None:
            seen, exact_seen = [with_scores(kept) for kept in seen], with_scores(exact_seen)
        self._compare(index, seen, exact_seen)
        if len(texts) > 1:
            noise = 0.0
            if exact is not None:
                noise = relative(exact_seen["output"], seen[0]["output"][: len(exact.ids)])[0]
            apart = relative(texts[0].hidden, texts[1].hidden)[0]
            self.found.curve.append(LayerDifference(index, apart, noise, limit(noise)))
        release(self.folder, index, self.sizes)

    def _end(
        self, texts: Sequence[Run], longs: Sequence[Run], chunked: Run, exact: Run | None, once: int
    ) -> None:
        """Compute the final norm and compare the logits, some positions at a time."""
        given = texts[0].hidden
        seen: list[dict[str, Tensor]] = [{} for _ in texts]
        ends = []
        for run, kept in zip(texts, seen, strict=True):
            ends.append(run.end(keep(kept)))
            if self.found.faults and run is not texts[0]:
                kept.clear()
                run.end(keep(kept), given=given)
        exact_seen: dict[str, Tensor] = {}
        exact_end = None if exact is None else exact.end(keep(exact_seen))
        self._compare(None, seen, exact_seen)
        readings = [FinalStates(run, {"text": end}) for run, end in zip(texts, ends, strict=True)]
        self._first = FinalStates(texts[0], {"text": ends[0][: self._noise_positions]})
        last = len(readings) - 1
        pairs = [Pair("chunked", (last, "text"), (last, "chunked"))]
        readings[last] = FinalStates(texts[-1], {"text": ends[-1], "chunked": chunked.end()})
        if last:
            readings = [
                FinalStates(reading.run, {**reading.sequences, "long": long.end()})
                for reading, long in zip(readings, longs, strict=True)
            ]
            pairs += [Pair("logits", (0, "text"), (1, "text")), Pair("long", (0, "long"), (1, "long"))]
        compared = compare_sequences(readings, pairs, once if last else 0)
        found, by_name = self.found, compared.pairs
        found.logits, found.chunked, found.long = map(by_name.get, ("logits", "chunked", "long"))
        if compared.losses:
            found.losses = compared.losses[0], compared.losses[1]
        self._release_heads(reading.run for reading in readings)
        if exact is not None and exact_end is not None:
            self._compare_noise(exact, exact_end)

    def _compare(self, layer: int | None, seen: Sequence[Observed], exact: Observed) -> None:
        """Compare the steps of one layer; record the first that is above its limit as a fault."""
        if len(seen) < 2:
            return
        source, folder = seen
        differences = []
        for step, value in source.items():
            if step == "input" or step not in folder:
                continue
            apart, position, channel = relative(value, folder[step])
            noise = relative(exact[step], first_positions(value, exact[step]))[0] if step in exact else 0.0
            differences.append(StepDifference(layer, step, apart, limit(noise), position, channel))
        self.found.steps += len(differences)
        for one in differences:
            if (
                self.found.worst is None
                or not one.relative / one.limit <= self.found.worst.relative / self.found.worst.limit
            ):
                self.found.worst = one
        fault = next((one for one in differences if one.is_fault), None)
        if fault is None:
            return
        if not self.found.faults and self.source is not None:
            readings = (self.source.decoder, self.folder.decoder)
            self.found.explanation = explain(layer, fault.step, source, folder, readings)
        self.found.faults.append(fault)


def number(value: float) -> float:
    """Return a finite number for JSON and charts: 1e30 for NaN and infinity."""
    return value if math.isfinite(value) else 1e30


def keep(kept: dict[str, Tensor]) -> Observe:
    """Return an observer that stores a copy of every step's value by name."""

    def observe(_: int | None, step: str, value: Tensor) -> None:
        # a copy, since later steps may write to the tensor
        kept[step] = value.detach().clone()

    return observe


def with_scores(kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Replace queries and keys by their products in the steps of a layer without RoPE.

    A file may have the rows of both in the order that RoPE needs; without RoPE only the products are meaningful. q:
    (heads, positions, channels), k: (KV heads, positions, channels) → (heads, positions, positions).
    """
    if "q" not in kept or "k" not in kept:
        return kept
    q, k = kept["q"], kept["k"]
    scores = q @ k.repeat_interleave(len(q) // len(k), dim=0).transpose(1, 2)
    steps = {"scores" if step == "q" else step: value for step, value in kept.items() if step != "k"}
    return steps | {"scores": scores}


def limit(noise: float) -> float:
    """Return the limit of the relative difference of two readings of a model with this noise."""
    return max(HIDDEN_LIMIT, min(NOISES * noise, HIDDEN_CEILING)) if noise == noise else HIDDEN_LIMIT


def first_positions(value: Tensor, like: Tensor) -> Tensor:
    """Return as many first positions as `like` has; positions are the second last dimension."""
    return value[..., : like.shape[-2], :]


def relative(reference: Tensor, tested: Tensor) -> tuple[float, int, int]:
    """Return the RMS of the difference divided by the reference's RMS, and position and channel of the largest.

    Both are (…, positions, channels). Infinity if the shapes differ; NaN if a value is.
    """
    if reference.shape != tested.shape:
        return math.inf, 0, 0
    apart = (tested.double() - reference.double()).abs()
    scale = float(reference.double().square().mean().sqrt())
    rms = float(apart.square().mean().sqrt())
    if apart.isnan().any():
        where = apart.isnan().nonzero()[0].tolist()
        return math.nan, int(where[-2]), int(where[-1])
    at = np.unravel_index(int(apart.argmax()), tuple(apart.shape))
    share = rms / scale if scale else (0.0 if rms == 0 else math.inf)
    return share, int(at[-2]), int(at[-1])


def edges(n_ctx: int, most: int) -> tuple[list[int], int]:
    """Return `most` positions each at the start and the end of a context (fewer in a short one), and `n_ctx`."""
    size = min(most, n_ctx // 2) or 1
    return sorted({*range(size), *range(n_ctx - size, n_ctx)}), n_ctx
