"""The record of a finished conversion, from its work and the digests of what was read and written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llorch.base.times import now_milliseconds, rfc3339_milliseconds
from llorch.converter.model_card import card_facts
from llorch.converter.options import ConvertOptions
from llorch.converter.provenance.record import (
    Conversion,
    Source,
    SourceRows,
    SourceTensor,
    TensorRow,
    WrittenFile,
    text_of,
    tools,
)
from llorch.converter.quantization.block_scales import ScaleRange
from llorch.converter.quantization.stats import quantization_of
from llorch.converter.work import Work
from llorch.converter.write.pipeline import Digests
from llorch.formats.gguf import Header, metadata_digests


@dataclass(frozen=True, slots=True)
class Run:
    """Facts of a run that do not determine the bytes but are recorded."""

    id: str | None
    started: str
    threads: int


def record_of(
    folder: Path,
    work: Work,
    options: ConvertOptions,
    run: Run,
    files: tuple[WrittenFile, ...],
    digests: Digests,
    scales: Mapping[str, ScaleRange],
) -> Conversion:
    """Return the record, as conversion.json will contain it.

    files: those of the folder, without the records. digests: of the sources, of each tensor and of the written files.
    scales: of each source tensor's blocks, for the quantization report.
    """
    sources = [
        Source(part.path, os.path.relpath(part.path, folder), sha256, part.identity.size)
        for part, sha256 in zip(work.header.parts, digests.sources, strict=True)
    ]
    return Conversion(
        folder=folder,
        architecture=work.planned.architecture,
        dtype=work.dtype,
        sources=tuple(sources),
        files=files,
        tensors=_tensor_rows(work, digests),
        quantization=quantization_of(work.header, scales),
        options=options.to_json(),
        threads=run.threads,
        tools=tools(),
        assumed=work.planned.assumed,
        keys_not_needed=work.planned.keys_not_needed,
        unused=work.planned.unused,
        notes=work.notes,
        warnings=work.warnings,
        run=run.id,
        templates=work.templates,
        findings=tuple(work.findings.to_json()),
        source_tensors=_source_tensors(work.header, digests),
        source_metadata=metadata_digests(work.header.metadata),
        card=card_facts(work.header.metadata),
        started=run.started,
        finished=rfc3339_milliseconds(now_milliseconds()),
    )


def _source_tensors(header: Header, digests: Digests) -> tuple[SourceTensor, ...]:
    return tuple(
        SourceTensor(
            name=tensor.name,
            dtype=tensor.type.name,
            shape=tensor.shape,
            file=text_of(header.parts[tensor.part].path.name),
            offset=tensor.offset,
            size=tensor.nbytes,
            sha256=digests.source_tensors[tensor.name],
        )
        for tensor in header.tensors.values()
    )


def _tensor_rows(work: Work, digests: Digests) -> tuple[TensorRow, ...]:
    rows = []
    for output, stored in ((placed.output, placed.stored) for placed in work.placed):
        sources = [
            SourceRows(
                s.source.name,
                s.source.type.name,
                s.first,
                s.rows,
                None if s.scale is None else s.scale.value,
                None if s.operation is None or output.operation is not None else str(s.operation),
            )
            for s in output.segments
        ]
        operation = output.operation
        done = operation if operation is not None else output.part
        rows.append(
            TensorRow(
                name=output.name,
                dtype=stored.dtype,
                shape=output.shape,
                sources=tuple(sources),
                operation=None if done is None else done.name,
                parameters={} if operation is None else operation.parameters,
                file=work.layout.files[stored.part].name,
                offset=stored.offset,
                size=stored.nbytes,
                sha256=digests.tensors[output.name],
            )
        )
    return tuple(rows)
