"""The classes of an architecture's table: which GGUF tensors and keys become which names in transformers.

An architecture file (`converter/architectures/`) consists of rows of these classes. Names of sizes, in shapes and as
parameters of operations, are those of `llorch.converter.plan.sizes`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from llorch.converter.schema.block_parts import BlockPart
from llorch.converter.schema.keys import Keys
from llorch.converter.schema.operations import Operation
from llorch.formats.gguf import REQUIRED, Tensor

Sizes = Mapping[str, int]


RowOrder = Callable[[Sizes], Sequence[Sequence[tuple[int, int]]]]
"""Order of a source's rows in the target: for each slice, ranges (first, count); see `schema/row_orders.py`."""


@dataclass(frozen=True, slots=True)
class Between:
    """A source whose runs of `run` weights alternate with those of the target's other sources, in the rules' order.

    step: the number of sources. run: a number, or the name of a size.
    """

    step: int
    run: str = "1"

    def of(self, sizes: Sizes, offset: int) -> Spread:
        """Return the spread with its numbers, for source number `offset` of the target."""
        return Spread(self.step, offset, int(self.run) if self.run.isdigit() else sizes[self.run])


@dataclass(frozen=True, slots=True)
class Spread:
    """Where a source's weights go: of every `step` runs of `run` weights in the target, run number `offset`."""

    step: int
    offset: int
    run: int


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of tensor: its GGUF name, its name in transformers, its shape, and what happens to its rows.

    source: {i} stands for every layer.
    target: {i} stands for the layer, {m} for a layer after the model's own, counted from 0 (multi-token prediction);
        any other placeholder, {e}, for every slice of the first dimension, each of which becomes a tensor.
        Rules with the same target are joined in their order, along the last dimension but one (a vector's only).
    shape: of the source in NumPy order: names of sizes, numbers, products and sums of both, as "2*ff hidden".
    flag: a key of config.json that says whether it is present; the tensors of one flag are all present, in every
        layer that the rule is for, or all missing. With `not_` before the name the flag is false when they are present.
    absent: it may be missing, for this reason. unused: it is not written, for this reason.
    layers: the kind of layer that has it (`Architecture.kinds`); empty means every layer of the model's own.
    rows: the order of its rows in the target, if it differs. becomes: the target's shape, if it differs from the
        source's; "" is a number without dimensions. between: how it is spread over the target.
    dtype: what it is written in whatever the options are ("F32"); empty means as all others.
    parts: its quantized blocks are kept as they are, in one tensor for each of these, named after the target; `run` of
        `between` counts weights.
    """

    source: str
    target: str = ""
    shape: str = ""
    operation: Operation | None = None
    flag: str = ""
    absent: str = ""
    unused: str = ""
    layers: str = ""
    rows: RowOrder | None = None
    becomes: str | None = None
    between: Between | None = None
    dtype: str = ""
    parts: tuple[BlockPart, ...] = ()

    def source_in(self, layer: int) -> str:
        """Return the GGUF name in a layer."""
        return self.source.replace("{i}", str(layer))

    def target_in(self, layer: int, layers: int) -> str:
        """Return the name in transformers in a layer, for a model with `layers` layers of its own."""
        return self.target.replace("{i}", str(layer)).replace("{m}", str(layer - layers))


def in_layers(*rules: Rule, of: str = "", below: str = "model.layers.{i}.") -> tuple[Rule, ...]:
    """Return rules of every layer of one kind, adding the prefixes of both names.

    of: the kind; a rule that has one keeps it.
    """
    return tuple(
        replace(
            rule,
            source=f"blk.{{i}}.{rule.source}",
            target=rule.target and f"{below}{rule.target}",
            layers=rule.layers or of,
        )
        for rule in rules
    )


class Kind(enum.Enum):
    """How a key's value is read."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLAG = "flag"
    INTEGERS = "integers"


@dataclass(frozen=True, slots=True)
class Key:
    """One metadata key other than the sizes: read, checked, and written under its name in config.json.

    gguf: without the architecture's prefix. config: its name in config.json; empty if it is only checked.
    default: the value if the key is missing (recorded as assumed), or a function of the sizes that gives it.
    only: the only values that the class in transformers supports.
    none: a value that means null. unset: one that means the same as a missing key.
    least: the smallest value that makes sense.
    """

    gguf: str
    config: str = ""
    kind: Kind = Kind.DECIMAL
    default: object = REQUIRED
    only: tuple[object, ...] = ()
    none: object = None
    unset: object = None
    least: float | None = None


class RopeLayout(enum.Enum):
    """Where a class in transformers looks for the parameters of its rotary embedding."""

    PLAIN = "one for all layers"
    PARTIAL = "one for all layers, with partial_rotary_factor"
    PARTIAL_OF_WHOLE = (
        "one for all layers, with partial_rotary_factor of the latent head that is rotated in part"
    )
    BY_LAYER_TYPE = "full_attention scaled, sliding_attention with a base of its own and unscaled"
    SCALED_FULL_ATTENTION = "full_attention scaled, sliding_attention with the same base and unscaled"
    SCALED_FULL_ATTENTION_OF_5 = "the same, of a class that only transformers 5 has"
    PARTIAL_BY_LAYER_TYPE = (
        "full_attention scaled, sliding_attention unscaled, with a base and a partial_rotary_factor each"
    )
    PROPORTIONAL = "full_attention proportional, sliding_attention with a base of its own"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a table's functions can use: keys, tensors and, once they are known, sizes.

    keeps_blocks: whether quantized blocks that a class can hold are kept as they are.
    """

    keys: Keys
    tensors: Mapping[str, Tensor]
    sizes: Sizes = field(default_factory=dict)
    keeps_blocks: bool = False


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family, as llama.cpp writes it and as transformers reads it.

    gguf: `general.architecture`, the prefix of its keys. model_type, class_name: in transformers.
    when: among several architectures with one `gguf` name, the one whose condition holds is chosen, else the one
        without a condition.
    kinds: functions that each give one word for every layer, which a rule's `layers` may name.
    sizes: keys of config.json beyond a decoder's common ones → names of sizes.
    block_sizes: functions for sizes that only some families have (`schema/block_sizes.py`).
    layer_sizes: a function for the sizes of a layer that differ from the model's.
    attention: whether any layer has it. layer_arrays: keys without the architecture's prefix that hold a number per
        layer; rules see them as tensors of one weight, named `blk.{i}.` and the key.
    latent_attention: keys and values are computed from a latent vector; the file's head counts are for that.
    value_dim: whether the class may have values narrower or wider than keys.
    head_dim: whether head_dim is written; `unusual`: only if it is not hidden_size / num_attention_heads or the file
        has a key for it, for a class that reads it anyway; `never`: the class does not read it.
    rope_theta: the base if `rope.freq_base` is missing. sliding_theta: the sliding layers' if `rope.freq_base_swa` is
        missing, for PARTIAL_BY_LAYER_TYPE; 0 means the same as the others'. rope_alpha: whether `rope.scaling.alpha`
        stretches the base.
    widths_in_key: how many widths `feed_forward_length` is the sum of: 2 if it counts gate and up.
    only_longrope: the class supports no other rotary scaling.
    log_multiplier: factor from `rope.scaling.yarn_log_multiplier` to mscale and mscale_all_dim; 0: the class has
        neither.
    rope_keys: further parameters of the rotary embedding → keys; rope_sizes: → names of sizes.
    rope_sections: whether the class splits rotary pairs into sections (mrope_section).
    rope_constants: parameters of a scaled rotary embedding that GGUF does not have.
    derived: keys of config.json that follow from other facts by a rule built into llama.cpp.
    assumed: keys of config.json that GGUF does not have.
    """

    gguf: str
    model_type: str
    class_name: str
    tensors: tuple[Rule, ...]
    keys: tuple[Key, ...]
    assumed: Mapping[str, object]
    when: Callable[[Evidence], bool] | None = None
    kinds: tuple[Callable[[Evidence], Sequence[str]], ...] = ()
    sizes: Mapping[str, str] = field(default_factory=dict)
    block_sizes: tuple[Callable[[Evidence], Mapping[str, int]], ...] = ()
    layer_sizes: Callable[[Evidence, int], Mapping[str, int]] | None = None
    attention: bool = True
    layer_arrays: tuple[str, ...] = ()
    latent_attention: bool = False
    value_dim: bool = False
    head_dim: Literal["always", "unusual", "never"] = "always"
    rope: RopeLayout = RopeLayout.PLAIN
    rope_theta: float = 10000.0
    rope_alpha: bool = False
    sliding_theta: float = 0.0
    widths_in_key: int = 1
    only_longrope: bool = False
    log_multiplier: float = 0.0
    rope_keys: Mapping[str, str] = field(default_factory=dict)
    rope_sizes: Mapping[str, str] = field(default_factory=dict)
    rope_sections: bool = False
    rope_constants: Mapping[str, object] = field(default_factory=dict)
    derived: Mapping[str, Callable[[Evidence], object]] = field(default_factory=dict)

    @property
    def has_prediction_layers(self) -> bool:
        """Whether the table knows layers after the model's own, which predict further tokens."""
        return any(rule.layers == PREDICTION for rule in self.tensors)


PREDICTION = "prediction"
"""The kind of the layers after the model's own, for multi-token prediction: `nextn_predict_layers` counts them."""
