"""A Plan executed in memory with the plain definitions: no pieces, no threads, no files but the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llorch.converter.plan.plan import Plan, make_plan
from llorch.formats.gguf.file import Header, read_header
from llorch.formats.gguf.tensor_data import TensorData
from llorch.formats.quants import decode


@dataclass(frozen=True)
class Tokens:
    """What a plan needs to know of a tokenizer, read directly from the keys."""

    size: int
    eos_token_ids: Sequence[int] = ()
    used_keys: frozenset[str] = frozenset()


def tokens_of(header: Header) -> Tokens:
    """Return the number of tokens and the EOS id."""
    eos = header.metadata.integer("tokenizer.ggml.eos_token_id", None)
    return Tokens(len(header.metadata.texts("tokenizer.ggml.tokens")), [eos] if eos is not None else [])


def plan_of(path: Path, *, allow_unknown: bool = False) -> Plan:
    """Return the plan for a file."""
    header = read_header(path)
    return make_plan(header, tokens_of(header), allow_unknown=allow_unknown)


def executed(path: Path, planned: Plan) -> dict[str, NDArray[np.float32]]:
    """Return every output tensor in float32."""
    outputs = {}
    with TensorData(read_header(path)) as data:
        for output in planned.outputs:
            made, at = np.empty(output.weights, np.float32), 0
            for segment in output.segments:
                source = segment.source
                rows = decode(source.type, data.read(source)).reshape(-1, segment.columns)
                rows = rows[segment.first : segment.first + segment.rows]
                rows = rows if segment.operation is None else segment.operation.forward(rows)
                if segment.spread is None:
                    made[at : at + rows.size] = rows.ravel()
                    at += rows.size
                else:  # the sources of an output are interleaved
                    spread = segment.spread
                    made.reshape(-1, spread.step, spread.run)[:, spread.offset] = rows.reshape(-1, spread.run)
            outputs[output.name] = made.reshape(output.shape)
    return outputs
