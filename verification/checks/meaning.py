"""Checks of meaning: do both sides describe the same model? What a decoder needs to know, read from each of them."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator
from dataclasses import fields
from typing import TYPE_CHECKING

from llorch.runtime import Config, traits_of_config
from llorch.verification.check import Measurement, check, count, worst
from llorch.verification.subject import Subject

if TYPE_CHECKING:
    from llorch.runtime import Rope, Traits

OWN = {"norm_offset", "pairs"}  # traits that differ because the formats store weights differently
EXACT = 1e-7  # relative difference between a float32 metadata value and its decimal

# Spellings of RoPE in config.json: transformers 5 reads one key, 4 several, two of which may also be inside that one.
NEWER, OLDER = "rope_parameters", ("rope_theta", "rope_scaling", "rope_local_base_freq")
BESIDE = ("rope_theta", "partial_rotary_factor")

LAYER = re.compile(r"^\w+\.(?:layers|h|blocks)\.(\d+)\.")  # the layer's number in a tensor's name

WIDTH = "intermediate_size"  # of the dense feed-forward layers; some classes have another key for it

# Sizes in config.json and in the weights: (key, suffix of a tensor's name, axis).
SIZES = (
    ("vocab_size", "embed_tokens.weight", 0),
    ("hidden_size", "embed_tokens.weight", 1),
    ("hidden_size", "input_layernorm.weight", 0),
    (WIDTH, "mlp.up_proj.weight", 0),
    ("vocab_size", "lm_head.weight", 0),
)


@check(
    "config.sizes",
    at_most=0,
    unit="keys",
    because="transformers builds the model from config.json and then looks for weights of those shapes",
)
def config_sizes(subject: Subject) -> Measurement:
    """The sizes in config.json are those of the weights."""
    differences, compared, config = [], 0, Config.of_folder(subject.folder)
    for usual, ending, axis in SIZES:
        key = config.family.width if usual == WIDTH else usual
        shapes = {n: t.shape for n, t in subject.tensors.items() if f".{n}".endswith(f".{ending}")}
        for name, shape in shapes.items():
            compared += 1
            doubled = key == WIDTH and subject.config.get("use_double_wide_mlp") is True
            named = subject.config.get(key)
            if isinstance(named, list):  # one size per layer
                layer = int(found[1]) if (found := LAYER.search(name)) else -1
                named = named[layer] if 0 <= layer < len(named) else None
            if named != shape[axis] and not (doubled and named and 2 * named == shape[axis]):
                differences.append(f"{key} is {named}, {name} has {shape[axis]}")
    layers = {int(found[1]) for name in subject.tensors if (found := LAYER.search(name))}
    compared += 1
    promised = subject.config.get("num_hidden_layers")
    further = 0 if config.family.beyond is None else config.integer(config.family.beyond, 0)
    if promised != len(layers) - further:
        beside = f" beside {further} that predict further tokens" if further else ""
        differences.append(
            f"num_hidden_layers is {promised}, there are weights of {len(layers) - further}{beside}"
        )
    return count(differences, f"{compared} sizes", compared=compared)


@check(
    "config.tied",
    at_most=0,
    unit="contradictions",
    because="tied, a loader ignores the output layer that is there; untied, it makes up the one that is not",
)
def config_tied(subject: Subject) -> Measurement:
    """`tie_word_embeddings`, or its class's default, is true exactly if there is no output layer."""
    config = Config.of_folder(subject.folder)
    name, tied = f"{config.family.head}.weight", config.flag("tie_word_embeddings")
    head = name in subject.tensors
    there = "there" if head else "not there"
    wrong = [f"tie_word_embeddings is {tied}, {name} is {there}"] if tied is not (not head) else []
    return count(wrong, f"{name} is {there}", compared=1)


@check(
    "traits.structure",
    at_most=0,
    unit="traits",
    because="a decoder with another shape, window or activation is another model",
)
def traits_structure(subject: Subject) -> Measurement:
    """Sizes, kinds and every layer's window are the same in both readings."""
    one, other = subject.ggml_reading.traits, subject.folder_reading.traits
    names = [
        f.name
        for f in fields(one)
        if f.name not in OWN and not is_float(getattr(one, f.name)) and f.name != "ropes"
    ]
    if other.n_ctx == subject.settings.get("max_position_embeddings"):
        names.remove("n_ctx")  # given by --set, for a file with a wrong number
    differences = [
        f"{name} is {getattr(one, name)} in the source, {getattr(other, name)} in the folder"
        for name in names
        if within_context(one, name) != within_context(other, name)
    ]
    return count(differences, f"{len(names)} traits", compared=len(names))


def within_context(traits: Traits, name: str) -> object:
    """Return a trait as far as it has an effect within the model's context, for comparison.

    A window at least as long as the context has none; Mixtral's folder has one because some readers require a number
    (`converter.plan.published`). Sparsity thresholds are float32 in the file, and computed from a share in the folder.
    """
    if name == "sparsity":
        return tuple(None if s is None else round(s, 6) for s in traits.sparsity)
    if name != "windows":
        return getattr(traits, name)
    return tuple(None if w is not None and w >= traits.n_ctx else w for w in traits.windows)


@check(
    "traits.numbers",
    at_most=EXACT,
    unit="relative difference",
    because="a wrong epsilon moves logits by less than rounding does: the numbers themselves must be equal",
)
def traits_numbers(subject: Subject) -> Measurement:
    """Epsilon, scales, soft-caps and multipliers are the same numbers in both readings."""
    one, other = subject.ggml_reading.traits, subject.folder_reading.traits
    names = [f.name for f in fields(one) if f.name not in OWN and is_float(getattr(one, f.name))]
    return worst((relative(getattr(one, name), getattr(other, name)), name) for name in names)


@check(
    "traits.rope",
    at_most=1e-6,
    unit="relative difference",
    because="an angle is position × frequency: what is nothing at the start is a fault far out",
)
def traits_rope(subject: Subject) -> Measurement:
    """Every RoPE frequency of every layer, short and long, and the scale of the scores, in each spelling."""
    source = subject.ggml_reading.traits
    found = list(rope_differences(source, subject.folder_reading.traits))
    for spelling, config in spellings(Config.of_folder(subject.folder)):
        apart = rope_differences(source, traits_of_config(config))
        found += [(difference, f"{layer}, by {spelling} alone") for difference, layer in apart]
    return worst(found)


def spellings(config: Config) -> Iterator[tuple[str, Config]]:
    """Yield each complete spelling of RoPE in a config.json that has two, with the config a reader of only it sees.

    An incomplete spelling relies on the other one, so it isn't yielded.
    """
    parameters = config.values.get(NEWER)
    if not isinstance(parameters, dict):
        return
    parts = [part for part in parameters.values() if isinstance(part, dict)] or [parameters]
    if all("rope_theta" in part for part in parts):
        yield NEWER, without(config, OLDER)
    beside = {"rope_theta", *(key for part in parts for key in part if key in BESIDE)}
    if any(part.get("rope_type", "default") != "default" for part in parts):
        beside.add("rope_scaling")
    if beside <= config.values.keys() and (not config.family.nested_rope or config.family.older_base):
        yield "rope_theta and rope_scaling", as_transformers_4(config)


def as_transformers_4(config: Config) -> Config:
    """Return the config as transformers 4 reads it; some of its classes have one base for all layers."""
    older = without(config, [NEWER])
    if config.family.older_base != "rope_theta":
        return older
    values = {**older.values, "rope_local_base_freq": older.values["rope_theta"]}
    return Config(values, older.defaults, older.path)


def without(config: Config, keys: Collection[str]) -> Config:
    """Return a config without some keys; the class's defaults are kept."""
    return Config(
        {key: value for key, value in config.values.items() if key not in keys}, config.defaults, config.path
    )


def rope_differences(one: Traits, other: Traits) -> Iterator[tuple[float, str]]:
    """Yield the largest relative difference of each layer's RoPE, and the layer; infinity for different kinds."""
    if len(one.ropes) != len(other.ropes):
        yield math.inf, f"{len(one.ropes)} layers against {len(other.ropes)}"
    for layer, (a, b) in enumerate(zip(one.ropes, other.ropes, strict=False)):
        if a is None or b is None:
            yield (0.0 if a is b else math.inf), f"layer {layer}"
        else:
            yield rope_difference(a, b, max(one.n_ctx, other.n_ctx)), f"layer {layer}"


def rope_difference(a: Rope, b: Rope, n_ctx: int) -> float:
    """Return the largest relative difference of two RoPEs, for short and long sequences, and at the boundary."""
    pairs = [(a.scale, b.scale)]
    for planned in (1, a.original_context, a.original_context + 1, b.original_context + 1, n_ctx):
        frequencies = a.planned_for(planned), b.planned_for(planned)
        if len(frequencies[0]) != len(frequencies[1]):
            return math.inf
        pairs += zip(*frequencies, strict=True)
    return max(relative(x, y) for x, y in pairs)


def is_float(value: object) -> bool:
    """Return whether a trait is a float. A missing soft-cap is None, and compared with the others."""
    return isinstance(value, float)


def relative(one: object, other: object) -> float:
    """Return the difference divided by the larger; infinity if they differ and one isn't a number."""
    if not isinstance(one, int | float) or not isinstance(other, int | float):
        return 0.0 if one == other else math.inf
    if one == other:
        return 0.0
    return abs(one - other) / max(abs(one), abs(other))
