"""Output tensors by an architecture's rules: every source tensor is used exactly once, every shape is checked."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.plan.segments import PlannedTensor, Segment
from llorch.converter.plan.sizes import Layers, shape_of
from llorch.converter.plan.weight_scales import input_scales, require_weights, scales_of
from llorch.converter.schema.architecture import Rule, Sizes
from llorch.converter.schema.block_parts import U8, BlockPart
from llorch.formats.gguf import Tensor, TensorData

# A fused tensor → the tensors whose rows it holds one after the other (per expert, if stacked).
# Source: llama.cpp, src/llama-model.cpp, `create_tensor_qkv`; conversion/base.py, `--fuse-gate-up-exps`.
FUSED: Mapping[str, tuple[str, ...]] = {
    "blk.{i}.attn_qkv.weight": ("blk.{i}.attn_q.weight", "blk.{i}.attn_k.weight", "blk.{i}.attn_v.weight"),
    "blk.{i}.attn_qkv.bias": ("blk.{i}.attn_q.bias", "blk.{i}.attn_k.bias", "blk.{i}.attn_v.bias"),
    "blk.{i}.ffn_gate_up_exps.weight": ("blk.{i}.ffn_gate_exps.weight", "blk.{i}.ffn_up_exps.weight"),
}

# A tensor → the tensors that may hold the slices of its first dimension: experts, as written before spring 2024.
SPLIT: Mapping[str, str] = {
    "blk.{i}.ffn_gate_exps.weight": "blk.{i}.ffn_gate.{e}.weight",
    "blk.{i}.ffn_up_exps.weight": "blk.{i}.ffn_up.{e}.weight",
    "blk.{i}.ffn_down_exps.weight": "blk.{i}.ffn_down.{e}.weight",
}

INTEGERS = frozenset({"I8", "I16", "I32", "I64"})
NAMED_AT_MOST = 12  # names in a message


@dataclass(frozen=True, slots=True)
class Assignment:
    """What becomes of every source tensor.

    flags: keys of config.json that follow from which tensors are present. unused: tensor → why it is not written.
    unknown: tensors that no rule names. absent: targets that are not written because their source is missing.
    """

    outputs: tuple[PlannedTensor, ...]
    flags: Mapping[str, bool]
    unused: Mapping[str, str]
    unknown: tuple[str, ...]
    absent: frozenset[str]


def assign(rules: Sequence[Rule], tensors: Mapping[str, Tensor], layers: Layers) -> Assignment:
    """Apply the rules to their layers.

    Raises MalformedInput for tensors that are missing, partly missing, or of another shape than the sizes imply,
    UnsupportedInput for integer weights. Unknown tensors are left to the caller.
    """
    found = _Sources(rules, tensors, layers)
    flags = _flags(rules, found, layers)
    outputs: dict[str, _OutputBuilder] = {}
    unused = input_scales(tensors)
    missing: list[str] = []
    absent: set[str] = set()
    for rule in rules:
        for layer in layers.of(rule):
            there = found.has(rule, layer)
            if rule.unused and there:
                unused[rule.source_in(layer)] = rule.unused
            elif rule.unused:
                continue
            elif there:
                _add_rule(outputs, rule, layer, found, layers)
            elif rule.flag or rule.absent:
                absent.add(rule.target)
            else:
                missing.append(rule.source_in(layer))
    _require_none(missing)
    built = tuple(builder.build() for builder in outputs.values())
    unknown = _require_each_once(built, unused, tensors)
    return Assignment(built, flags, unused, unknown, frozenset(absent))


def with_scales(outputs: Iterable[PlannedTensor], data: TensorData) -> tuple[PlannedTensor, ...]:
    """Return the outputs with their segments' scales read; MalformedInput for a scale that is zero or not finite."""
    return tuple(
        replace(output, segments=tuple(_read(s, data) for s in output.segments)) for output in outputs
    )


def _read(segment: Segment, data: TensorData) -> Segment:
    return segment if segment.scale is None else replace(segment, scale=segment.scale.read(data))


def names_of(names: Sequence[str]) -> str:
    """List tensors for a message: all of them, or the first dozen and the number of others."""
    more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
    listed = ", ".join(printable(name) for name in names[:NAMED_AT_MOST])
    return f"tensor{'' if len(names) == 1 else 's'} {listed}{more}"


def _require_none(missing: Sequence[str], because: str = "") -> None:
    if missing:
        raise MalformedInput(
            f"{'is' if len(missing) == 1 else 'are'} missing{because}", where=names_of(missing)
        )


class _Sources:
    """Finds the rows of a rule's source: a tensor, a part of a fused tensor, or one tensor per expert."""

    def __init__(self, rules: Sequence[Rule], tensors: Mapping[str, Tensor], layers: Layers) -> None:
        self._tensors = tensors
        self._layers = layers
        self._rules = {rule.source: rule for rule in rules if rule.shape}
        self._fused = {part: whole for whole, parts in FUSED.items() for part in parts}
        # A scale named by a rule is a tensor of the model, not a factor of a weight.
        own = tuple(rule.source.rpartition(".{i}.")[2] for rule in rules if rule.source.endswith(".scale"))
        self._scales = {name: tensor for name, tensor in tensors.items() if not own or not name.endswith(own)}

    def has(self, rule: Rule, layer: int) -> bool:
        patterns = [
            rule.source,
            self._fused.get(rule.source, ""),
            SPLIT.get(rule.source, "").replace("{e}", "0"),
        ]
        return any(pattern.replace("{i}", str(layer)) in self._tensors for pattern in patterns)

    def slices(self, rule: Rule, layer: int) -> list[list[Segment]]:
        """Return the segments of a source by slice: one slice, or of rank 3, one for each index of the first dimension.

        A rule with a row order determines the slices and their segments itself.
        """
        sizes = self._layers.sizes_of(layer)
        shape, name = shape_of(rule.shape, sizes), rule.source_in(layer)
        if rule.rows is not None:
            return self._order(rule, name, shape, sizes)
        if name in self._tensors:
            return self._cut(self._tensors[name], shape, (shape[-2] if len(shape) > 1 else shape[0],), 0)
        fused = self._fused.get(rule.source, "")
        whole = self._tensors.get(fused.replace("{i}", str(layer)))
        if whole is not None:
            parts = [shape_of(self._rules[part].shape, sizes) for part in FUSED[fused]]
            rows = tuple(part[-2] if len(part) > 1 else part[0] for part in parts)
            joined = (*shape[:-2], sum(rows), shape[-1]) if len(shape) > 1 else (sum(rows),)
            return self._cut(whole, joined, rows, FUSED[fused].index(rule.source))
        return self._split_by_expert(SPLIT[rule.source].replace("{i}", str(layer)), shape)

    def _order(self, rule: Rule, name: str, shape: tuple[int, ...], sizes: Sizes) -> list[list[Segment]]:
        tensor = self._tensors[name]
        _require(tensor, shape)
        assert rule.rows is not None
        (scale,) = scales_of(tensor, self._scales, 1)
        return [[Segment(tensor, first, count, scale) for first, count in one] for one in rule.rows(sizes)]

    def _cut(
        self, tensor: Tensor, shape: tuple[int, ...], rows: tuple[int, ...], part: int
    ) -> list[list[Segment]]:
        """Return part `part` of the rows of each slice of a tensor that has `shape`."""
        _require(tensor, shape)
        if len(shape) == 1 < len(tensor.shape):  # stored with an outer dimension of 1: each weight is a row
            tensor = replace(tensor, shape=shape)
        scales = scales_of(tensor, self._scales, math.prod(shape[:-2]))
        # stored without its outer dimensions of 1: each weight is a row
        if len(tensor.shape) == 1 < len(shape):
            return [[Segment(tensor, 0, tensor.shape[0], scales[0])]]
        if len(shape) == 1 < len(tensor.shape):  # a vector as a matrix of one row
            return [[Segment(tensor, 0, 1, scales[0])]]
        return [
            [Segment(tensor, s * sum(rows) + sum(rows[:part]), rows[part], scale)]
            for s, scale in enumerate(scales)
        ]

    def _split_by_expert(self, pattern: str, shape: tuple[int, ...]) -> list[list[Segment]]:
        names = [pattern.replace("{e}", str(e)) for e in range(shape[0])]
        _require_none([name for name in names if name not in self._tensors])
        for name in names:
            _require(self._tensors[name], shape[1:])
        return [[Segment(self._tensors[name], 0, shape[1])] for name in names]


def _require(tensor: Tensor, shape: tuple[int, ...]) -> None:
    """Check a tensor's type and shape. Outer dimensions of 1 may be missing: ggml drops them when rewriting."""
    where = f"tensor {printable(tensor.name)}"
    if tensor.type.name in INTEGERS:
        raise UnsupportedInput(f"has the type {tensor.type.name}, which no weights have", where=where)
    if _without_outer_ones(tensor.shape) != _without_outer_ones(shape):
        raise MalformedInput(f"has shape {list(tensor.shape)}, expected {list(shape)}", where=where)


def _without_outer_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    return shape


def _flags(rules: Sequence[Rule], found: _Sources, layers: Layers) -> dict[str, bool]:
    """Return for each flag whether its tensors are present; MalformedInput if only some are."""
    flags: dict[str, bool] = {}
    for flag in dict.fromkeys(rule.flag for rule in rules if rule.flag):
        places = [(rule, layer) for rule in rules if rule.flag == flag for layer in layers.of(rule)]
        missing = [rule.source_in(layer) for rule, layer in places if not found.has(rule, layer)]
        if len(missing) < len(places):
            _require_none(missing, f", though others of {flag.removeprefix('not_')} are there")
        present = not missing
        flags[flag.removeprefix("not_")] = present != flag.startswith("not_")
    return flags


@dataclass(slots=True)
class _OutputBuilder:
    """Builds an output from the rules with its target. becomes: its shape, if a rule gives it."""

    name: str
    dtype: str | None
    becomes: tuple[int, ...] | None
    extents: list[tuple[int, ...]]
    slices: list[list[list[Segment]]]
    part: BlockPart | None = None

    def build(self) -> PlannedTensor:
        shape = self.extents[0]
        axis = max(len(shape) - 2, 0)
        joined = sum(extent[axis] for extent in self.extents)
        segments = _merge(self._in_order())
        for segment in segments:
            unit = segment.unit_rows
            if segment.first % unit or segment.rows % unit:
                raise MalformedInput(
                    f"has {segment.rows} rows from {segment.first} on of {self.name}, no multiples of {unit}",
                    where=f"tensor {printable(segment.source.name)}",
                )
        shape = (*shape[:axis], joined, *shape[axis + 1 :]) if self.becomes is None else self.becomes
        shape = shape if self.part is None else self.part.shape(shape)
        return PlannedTensor(self.name, shape, self.dtype, segments)

    def _in_order(self) -> list[Segment]:
        """Order the segments: source by source if they are spread, else slice by slice."""
        by_source = [[s for one in slices for s in one] for slices in self.slices]
        if self.slices[0][0][0].spread is not None:
            return [segment for source in by_source for segment in source]
        return [segment for parts in zip(*self.slices, strict=True) for one in parts for segment in one]


def _add_rule(
    outputs: dict[str, _OutputBuilder], rule: Rule, layer: int, found: _Sources, layers: Layers
) -> None:
    sizes = layers.sizes_of(layer)
    shape = shape_of(rule.shape, sizes)
    becomes = shape_of(rule.becomes, sizes) if rule.becomes is not None else None
    operation = rule.operation.with_sizes(sizes) if rule.operation is not None else None
    target = rule.target_in(layer, sizes["layers"])
    already = outputs.get(target)
    spread = (
        None
        if rule.between is None
        else rule.between.of(sizes, 0 if already is None else len(already.slices))
    )
    slices = [
        [replace(segment, operation=operation, spread=spread) for segment in one]
        for one in found.slices(rule, layer)
    ]
    if rule.parts:
        for part in rule.parts:
            _add_part(outputs, f"{target}{part.suffix}", part, shape, slices)
        return
    placeholder = re.search(r"\{\w\}", target)
    if placeholder is None:
        targets = {target: (shape, slices)}
    elif len(shape) == 2:  # a matrix: one target per row
        whole, each = slices[0][0], slices[0][0].rows // shape[0]
        rows = [replace(whole, first=whole.first + row * each, rows=each) for row in range(shape[0])]
        targets = {target.replace(placeholder[0], str(e)): (shape[1:], [[row]]) for e, row in enumerate(rows)}
    else:
        targets = {target.replace(placeholder[0], str(e)): (shape[1:], [s]) for e, s in enumerate(slices)}
    for name, (extent, segments) in targets.items():
        builder = outputs.setdefault(name, _OutputBuilder(name, rule.dtype or None, becomes, [], []))
        builder.extents.append(extent)
        builder.slices.append(segments)


def _add_part(
    outputs: dict[str, _OutputBuilder],
    target: str,
    part: BlockPart,
    shape: tuple[int, ...],
    slices: Sequence[Sequence[Segment]],
) -> None:
    """Add one part of a source's blocks to a target, to which several sources may contribute."""
    builder = outputs.setdefault(target, _OutputBuilder(target, U8, None, [], [], part))
    builder.extents.append(shape)
    offset = len(builder.slices)
    builder.slices.append([[_with_part(segment, part, offset) for segment in one] for one in slices])


def _with_part(segment: Segment, part: BlockPart, offset: int) -> Segment:
    spread = segment.spread
    if spread is not None:
        spread = replace(spread, run=part.elements(spread.run), offset=offset)
    return replace(segment, part=part, spread=spread)


def _merge(segments: list[Segment]) -> tuple[Segment, ...]:
    """Merge segments with consecutive rows of one tensor and the same scale."""
    merged: list[Segment] = []
    for segment in segments:
        last = merged[-1] if merged else None
        if last is not None and segment == replace(last, first=last.first + last.rows, rows=segment.rows):
            merged[-1] = replace(last, rows=last.rows + segment.rows)
        else:
            merged.append(segment)
    return tuple(merged)


def _require_each_once(
    outputs: Sequence[PlannedTensor], unused: Mapping[str, str], tensors: Mapping[str, Tensor]
) -> tuple[str, ...]:
    """Return the tensors that neither an output nor a reason names; MalformedInput for one used in part or twice."""
    ranges: dict[tuple[str, str], list[tuple[int, int]]] = {}
    rows: dict[str, int] = {}
    scales: set[str] = set()
    for output in outputs:
        for segment in output.segments:
            part = "" if segment.part is None else segment.part.name
            used = ranges.setdefault((segment.source.name, part), [])
            used.append((segment.first, segment.first + segment.rows))
            rows[segment.source.name] = _rows_of(segment.source)
            if segment.scale is not None:
                scales.add(segment.scale.tensor.name)
    for (name, _), used in ranges.items():
        if not _covers_once(sorted(used), rows[name]):
            raise MalformedInput(
                "is there beside other tensors that hold the same weights", where=f"tensor {printable(name)}"
            )
    unknown = tuple(n for n in tensors if n not in rows and n not in unused and n not in scales)
    require_weights(unknown, tensors)
    return unknown


def _rows_of(tensor: Tensor) -> int:
    return math.prod(tensor.shape[:-1]) if len(tensor.shape) > 1 else tensor.shape[0]


def _covers_once(ranges: Sequence[tuple[int, int]], rows: int) -> bool:
    """Return whether sorted ranges cover every row below `rows` exactly once."""
    return [first for first, _ in ranges] + [rows] == [0] + [stop for _, stop in ranges]
