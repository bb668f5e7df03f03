"""make_plan(): from a header and its architecture to a Plan, everything that is known before a byte is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.architectures import choose_architecture, refuse_unsupported
from llorch.converter.plan.config import SPECIAL_IDS, build_config, build_generation_config
from llorch.converter.plan.layer_arrays import layer_tensors
from llorch.converter.plan.rope import TABLES, Table, read_rope
from llorch.converter.plan.segments import PlannedTensor, Segment
from llorch.converter.plan.settings import Settings
from llorch.converter.plan.sizes import read_layers, read_sizes
from llorch.converter.plan.tensors import Assignment, assign, names_of
from llorch.converter.schema.architecture import Architecture, Evidence, Sizes
from llorch.converter.schema.keys import Keys
from llorch.converter.schema.not_yet import TYPES
from llorch.formats.gguf import Header, TensorData
from llorch.formats.quants import decode

__all__ = ["Plan", "PlannedTensor", "Segment", "Vocabulary", "make_plan"]

ARCHITECTURE = "general.architecture"

# Common keys under an architecture's prefix that are not needed, and why.
NOT_NEEDED = {
    "rope.scaling.type": "the tensors say it",
    "rope.scaling.factor": "another scaling is in force",
    "rope.scaling.original_context_length": "no scaling needs it",
    "rope.scaling.attn_factor": "it follows from the context lengths",
    "rope.scaling.yarn_attn_factor": "no yarn is in force",
    "rope.scaling.yarn_beta_fast": "no yarn is in force",
    "rope.scaling.yarn_beta_slow": "no yarn is in force",
    "rope.scaling.yarn_ext_factor": "no yarn is in force",
    "rope.scaling.finetuned": "transformers has no place for it",
    "rope.freq_base_swa": "no layer slides",
    "tensor_data_layout": "the rows' order is the same in all of them",
}

# Other namespaces of keys, and why their leftover keys are not needed.
NAMESPACES = {
    "general": "describes the file",
    "tokenizer": "the tokenizer does without it",
    "quantize": "says how it was quantized",
    "split": "the reader of the parts has used it",
}


class Vocabulary(Protocol):
    """What the plan needs to know of a tokenizer; `llorch.formats.tokenizer.TokenizerFiles` is one."""

    @property
    def size(self) -> int:
        """The number of tokens."""

    @property
    def eos_token_ids(self) -> Sequence[int]:
        """The ids that end generation, the tokenizer's EOS first."""

    @property
    def used_keys(self) -> frozenset[str]:
        """The metadata keys that the tokenizer used."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything of a conversion that the header determines.

    architecture: as the GGUF names it. config, generation_config: the contents of the two JSON files, except
    config's dtype (see `llorch.converter.plan.config.with_dtype`). unused: tensor → why it is not written.
    assumed: config keys that the GGUF does not have → the value written. keys_not_needed: key → why.
    tied: whether the output layer is the embedding.
    """

    architecture: str
    config: Mapping[str, object]
    generation_config: Mapping[str, object]
    outputs: tuple[PlannedTensor, ...]
    unused: Mapping[str, str]
    assumed: Mapping[str, object]
    keys_not_needed: Mapping[str, str]
    warnings: tuple[str, ...]
    tied: bool


def make_plan(
    header: Header,
    vocabulary: Vocabulary,
    *,
    allow_unknown: bool = False,
    keep_blocks: bool = False,
    settings: Settings = MappingProxyType({}),
) -> Plan:
    """Plan what becomes of every tensor and key of a model.

    keep_blocks: keep quantized blocks as they are if the class can hold them (gpt-oss' experts). settings: values for
    keys of config.json that no metadata key determines.

    Raises UnsupportedInput for an architecture, tensor, key or rope scaling that is unknown (with `allow_unknown`,
    unknown tensors and keys are warnings instead), MalformedInput for an inconsistent header. Of the tensor data only
    the rope tables are read.
    """
    keys = Keys(header.metadata, _architecture_name(header))
    evidence = Evidence(keys, header.tensors, keeps_blocks=keep_blocks)
    architecture = choose_architecture(evidence)
    tensors = {**header.tensors, **layer_tensors(header, architecture.layer_arrays)}
    sizes, warnings = read_sizes(architecture, Evidence(keys, tensors))
    evidence = Evidence(keys, tensors, sizes)
    _require_rows(vocabulary, sizes)
    assignment = assign(architecture.tensors, tensors, read_layers(architecture, evidence))
    warnings += _unknown_tensors(assignment, architecture, allow_unknown)
    rope = read_rope(architecture, keys, sizes, _rope_tables(header, assignment))
    tied = "lm_head.weight" in assignment.absent
    config = build_config(architecture, evidence, rope, flags=assignment.flags, tied=tied, settings=settings)
    used = {ARCHITECTURE, *SPECIAL_IDS.values(), *architecture.layer_arrays, *vocabulary.used_keys}
    generation = build_generation_config(header.metadata, sizes["vocab"], vocabulary.eos_token_ids, used)
    not_needed, unknown_keys = _leftover_keys(keys, used)
    warnings += _unknown_keys(unknown_keys, architecture, allow_unknown)
    unused = {**assignment.unused, **dict.fromkeys(assignment.unknown, "unknown")}
    return Plan(
        keys.prefix,
        config.values,
        generation,
        assignment.outputs,
        unused,
        config.assumed,
        not_needed,
        tuple(warnings),
        tied,
    )


def require_decoder(header: Header) -> None:
    """Raise UnsupportedInput for weights that are not a decoder's, before anything else is checked.

    A file without tensors passes: it is a vocabulary, which may be any model's.
    """
    if header.tensors:
        refuse_unsupported(_architecture_name(header))


def _architecture_name(header: Header) -> str:
    kind = header.metadata.text("general.type", "model")
    if kind != "model":
        what = TYPES.get(kind, "and only models are converted")
        raise UnsupportedInput(f"is {printable(kind)}, {what}", where="key 'general.type'")
    name = header.metadata.text(ARCHITECTURE)
    if not name:
        raise MalformedInput("is empty", where=f"key '{ARCHITECTURE}'")
    return name


def _require_rows(vocabulary: Vocabulary, sizes: Sizes) -> None:
    if vocabulary.size > sizes["vocab"]:
        raise MalformedInput(
            f"has {sizes['vocab']} rows, fewer than the {vocabulary.size} tokens",
            where="tensor 'token_embd.weight'",
        )


def _rope_tables(header: Header, assignment: Assignment) -> dict[str, Table]:
    """Read the tables of rope factors that the architecture knows, in float32."""
    found = [header.tensors[name] for name in TABLES if name in assignment.unused]
    if not found:
        return {}
    for tensor in found:
        if len(tensor.shape) != 1 or tensor.type.weights != 1:
            raise MalformedInput(f"is {tensor.type.name} {list(tensor.shape)}, expected a vector of floats",
                                 where=f"tensor {printable(tensor.name)}")  # fmt: skip
    with TensorData(header) as data:
        return {t.name: decode(t.type, data.read(t)).astype(np.float32) for t in found}


def _unknown_tensors(assignment: Assignment, architecture: Architecture, allow_unknown: bool) -> list[str]:
    if not assignment.unknown:
        return []
    what = f"unknown in the architecture {architecture.gguf} ({architecture.class_name})"
    where = names_of(assignment.unknown)
    if not allow_unknown:
        raise UnsupportedInput(f"{'is' if len(assignment.unknown) == 1 else 'are'} {what}", where=where)
    return [f"{where}: {what}, left out"]


def _leftover_keys(keys: Keys, used: set[str]) -> tuple[dict[str, str], list[str]]:
    """Return the unused keys that are not needed, with the reason, and the architecture's own unknown keys."""
    own, elsewhere = keys.unused(used)
    known = {name: reason for key, reason in NOT_NEEDED.items() if (name := keys.name(key)) in own}
    reasons = {key: NAMESPACES.get(key.split(".")[0], "not the architecture's") for key in elsewhere}
    return dict(sorted({**known, **reasons}.items())), [key for key in own if key not in known]


def _unknown_keys(unknown: Sequence[str], architecture: Architecture, allow_unknown: bool) -> list[str]:
    if not unknown:
        return []
    listed = f"key{'s' if len(unknown) > 1 else ''} {', '.join(printable(key) for key in unknown[:12])}"
    what = f"unknown in the architecture {architecture.gguf} ({architecture.class_name})"
    if not allow_unknown:
        raise UnsupportedInput(
            f"{'are' if len(unknown) > 1 else 'is'} {what}",
            where=listed,
        )
    return [f"{listed}: {what}, left out"]
