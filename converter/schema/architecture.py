"""What an architecture's table says: which GGUF tensors and keys become which names of transformers.

An architecture file (`converter/architectures/`) is rows of these classes and nothing else. Names of sizes,
in shapes and as parameters of operations, are those of `llorch.converter.plan.sizes`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from llorch.converter.schema.keys import Keys
from llorch.converter.schema.operations import Operation
from llorch.formats.gguf import REQUIRED, Tensor

Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of tensor: its GGUF name, its name in transformers, its shape, and what happens to its rows.

    source: {i} stands for every layer.
    target: any other placeholder, {e}, stands for every slice of the first dimension, each a tensor then.
        Rules of one target are joined in their order, along the dimension before the last (a vector's only).
    shape: of the source in NumPy order: names of sizes, numbers and products of both, as "2*ff hidden".
    flag: a key of config.json that says whether it is there; tensors of one flag come all together, in every
        layer, or not at all. `not_` before the name means that the flag is false when they are there.
    absent: it may be missing, and then this is why. unused: it is not written, and this is why.
    """

    source: str
    target: str = ""
    shape: str = ""
    operation: Operation | None = None
    flag: str = ""
    absent: str = ""
    unused: str = ""


def in_layers(*rules: Rule) -> tuple[Rule, ...]:
    """Rules of every layer, written without `blk.{i}.` and `model.layers.{i}.` before their names."""
    return tuple(
        replace(
            rule,
            source=f"blk.{{i}}.{rule.source}",
            target=rule.target and f"model.layers.{{i}}.{rule.target}",
        )
        for rule in rules
    )


class Kind(enum.Enum):
    """How a key's value is read."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Key:
    """One metadata key beyond the sizes: read, checked, and written under its name in config.json.

    gguf: without the architecture's prefix. config: empty when only checked.
    default: the value when the key is missing (recorded as assumed), or a function of the sizes that gives
        it.
    only: the only values that the class of transformers can express.
    none: a value that stands for null. unset: one that says no more than a missing key.
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
    """Where a class of transformers looks for the parameters of its rotary embedding."""

    PLAIN = "one for all layers"
    PARTIAL = "one for all layers, with partial_rotary_factor"
    BY_LAYER_TYPE = "full_attention scaled, sliding_attention with a base of its own and unscaled"
    SCALED_FULL_ATTENTION = "full_attention scaled, sliding_attention with the same base and unscaled"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a table's functions may look at: keys, tensors and, once they are known, sizes."""

    keys: Keys
    tensors: Mapping[str, Tensor]
    sizes: Sizes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One family, as llama.cpp writes it and as transformers reads it.

    gguf: `general.architecture`, the prefix of its keys. model_type, class_name: of transformers.
    when: of several architectures of one `gguf` name, the one whose condition holds is taken, else the one
        without.
    sizes: keys of config.json beyond the decoder's common ones → names of sizes.
    head_dim: whether head_dim is written; `unusual`: only where it is not hidden_size / num_attention_heads
        or where the file has a key for it, by a class that heeds it all the same; `never`: the class does not heed it.
    rope_theta: the base when `rope.freq_base` is missing.
    only_longrope: the class knows no other rotary scaling.
    derived: keys of config.json that follow from other facts by a rule that llama.cpp has built in.
    assumed: keys of config.json that GGUF does not carry.
    """

    gguf: str
    model_type: str
    class_name: str
    tensors: tuple[Rule, ...]
    keys: tuple[Key, ...]
    assumed: Mapping[str, object]
    when: Callable[[Evidence], bool] | None = None
    sizes: Mapping[str, str] = field(default_factory=dict)
    head_dim: Literal["always", "unusual", "never"] = "always"
    rope: RopeLayout = RopeLayout.PLAIN
    rope_theta: float = 10000.0
    only_longrope: bool = False
    derived: Mapping[str, Callable[[Evidence], object]] = field(default_factory=dict)
