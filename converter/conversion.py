"""convert(): a GGUF file becomes a folder that transformers loads, whole and durable, or nothing at all."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from llorch.base.cores import allowed_cores
from llorch.base.errors import InputError, UnsupportedInput
from llorch.base.progress import Progress
from llorch.base.record_files import PROVENANCE, RECORD
from llorch.base.times import now_milliseconds, rfc3339_milliseconds
from llorch.base.version import __version__
from llorch.converter.errors import OnlyVocabulary
from llorch.converter.findings import Findings, scan_source
from llorch.converter.model_card import MODEL_CARD, card_facts, model_card
from llorch.converter.options import Choices, ConvertOptions
from llorch.converter.plan.config import with_dtype
from llorch.converter.plan.dtype_choice import AUTO, choose_dtypes
from llorch.converter.plan.float16 import float16_warnings
from llorch.converter.plan.plan import Plan, make_plan, require_decoder
from llorch.converter.plan.schedule import Placed, written_order
from llorch.converter.plan.tensors import with_scales
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
from llorch.converter.provenance.statement import statement
from llorch.converter.quantization.block_scales import ScaleRange, ScaleRanges
from llorch.converter.quantization.stats import quantization_of
from llorch.converter.write import pipeline
from llorch.converter.write.staging import Staging
from llorch.converter.write.target import Target
from llorch.formats import INDEX, Layout, lay_out, read_safetensors
from llorch.formats.gguf import Header, Tensor, TensorData, metadata_digests, read_header
from llorch.formats.scan import Allowance
from llorch.formats.tokenizer import (
    TOKENIZER_MODEL,
    TemplateReport,
    TokenizerFiles,
    build_tokenizer,
    sentencepiece_model,
)

if TYPE_CHECKING:
    from llorch.converter.provenance.source_signature import SourceSignature

# More threads than this wait for one another at the written file's digest, which takes its bytes in order.
MOST_THREADS = 8

ROLES = {
    "config.json": "config",
    "generation_config.json": "config",
    INDEX: "weights",
    MODEL_CARD: "card",
    RECORD: "record",
    PROVENANCE: "record",
}


@dataclass(frozen=True, slots=True)
class Work:
    """All that is decided before a byte is written.

    dtype: the model's. placed: in the layout's order. others: name → content of the small files. notes: what the
    tokenizer took for granted. warnings: of the tokenizer, the header and the dtypes. templates: what each chat
    template reaches for, by its file. findings: what a scan of the source's texts objects to.
    """

    header: Header
    planned: Plan
    dtype: str
    layout: Layout
    placed: tuple[Placed, ...]
    others: Mapping[str, bytes]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    templates: Mapping[str, TemplateReport]
    findings: Findings


def convert(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    options: ConvertOptions | None = None,
    *,
    threads: int | None = None,
    force: bool = False,
    allow: Sequence[Allowance] = (),
    source_signature: SourceSignature | None = None,
    run_id: str | None = None,
    started: datetime | None = None,
    progress: Progress | None = None,
    **choices: Unpack[Choices],
) -> Conversion:
    """Converts `source`, a GGUF file or any part of a split one, into `folder`, which appears complete.

    options: what decides the bytes; choices: its fields by name, as dtype="bfloat16", max_shard_size="5GB".
    threads: by default one a core. force: replace what is at `folder`.
    allow: findings of the scan that somebody takes: recorded, and not warned of. source_signature: who signed it,
    recorded once its bytes are found to be those that were signed. run_id: a UUID by which the caller
    knows this run, kept in conversion.json; started: when it began, now by default. progress: called with (bytes
    done, bytes in all).
    A conversion that was killed is continued by the next one of the same source and options to the same folder.

    Raises InputError for a source that is malformed, unsupported or not finite (OnlyVocabulary for one without
    weights); TargetExists, TargetBusy, NotEnoughSpace; OSError for what cannot be read or written; ValueError for
    options that mean nothing. Whatever it raises, also from a signal, it leaves nothing behind.

    >>> conversion = convert("model.gguf", "folder", dtype="float32", max_shard_size="5GB")
    >>> conversion.architecture, conversion.dtype
    ('llama', 'float32')
    """
    if options is not None and choices:
        raise ValueError(f"{', '.join(choices)} stand beside options: say them in one of the two")
    options = options or ConvertOptions(**choices)
    if run_id is not None:
        uuid.UUID(run_id)  # the statement names it as urn:uuid; ValueError for another form
    run = Run(run_id, rfc3339_milliseconds(started or now_milliseconds()), _threads(threads))
    header = read_header(source)
    keep = [part.path.absolute() for part in header.parts]
    try:
        require_decoder(header)
        tokenizer = build_tokenizer(header.metadata)
        if not header.tensors:
            raise OnlyVocabulary(
                "holds a vocabulary and no tensor", hint="its tokenizer alone can be written"
            )
        planned = make_plan(
            header,
            tokenizer,
            allow_unknown=options.allow_unknown,
            keep_blocks=options.dtype == AUTO,
            settings=options.set,
        )
        with TensorData(header) as data, Target(folder, force=force, keep=keep) as target:
            try:
                work = _prepared(header, tokenizer, planned, data, options, allow)
                del tokenizer  # what it says is in `work`, and a large vocabulary takes a hundred megabytes
                staging, digests, seen = _write_weights(target, data, work, run.threads, progress)
                scales = seen.all_of(_sources(work), data)
            finally:
                data.require_unchanged()  # if it was written to while we read, that is what is wrong
            files = _write_others(staging, work, digests)
            conversion = _conversion(target.folder, work, options, run, files, digests, scales)
            if source_signature is not None:
                source_signature.require_same(conversion.sources)
                conversion = replace(conversion, source_signature=source_signature.to_json())
            conversion = _write_records(staging, conversion)
            _require_written(work.layout, staging.folder)
            target.publish()
    except InputError as error:
        raise error.in_file(header.path) from error.__cause__
    return conversion


@dataclass(frozen=True, slots=True)
class Run:
    """What does not decide the bytes, and is recorded all the same."""

    id: str | None
    started: str
    threads: int


def _threads(threads: int | None) -> int:
    if threads is None:
        return min(allowed_cores(), MOST_THREADS)
    if threads < 1:
        raise ValueError(f"threads is {threads}, not at least 1")
    return threads


def _prepared(
    header: Header,
    tokenizer: TokenizerFiles,
    planned: Plan,
    data: TensorData,
    options: ConvertOptions,
    allow: Sequence[Allowance],
) -> Work:
    """All that is decided before the first byte; with `strict`, UnsupportedInput for a warning."""
    choice = choose_dtypes(with_scales(planned.outputs, data), data, options.dtype)
    findings = scan_source(header.metadata, tokenizer, allow)
    overflow = float16_warnings(planned.architecture, choice.dtype)
    warnings = (*tokenizer.warnings, *findings.warnings, *planned.warnings, *choice.warnings, *overflow)
    if warnings and options.strict:
        raise UnsupportedInput("; ".join(warnings), hint="without strict these are warnings")
    outputs = written_order(choice.outputs)
    layout = lay_out(((o.name, str(o.dtype), o.shape) for o in outputs), options.shard_bytes)
    by_name = {output.name: output for output in outputs}
    placed = tuple(Placed(by_name[stored.name], stored) for stored in layout.tensors)
    sentencepiece = sentencepiece_model(header.metadata, tokenizer.vocabulary)
    others = {
        "config.json": _json(with_dtype(planned.config, choice.dtype)),
        "generation_config.json": _json(planned.generation_config),
        **tokenizer.files(),
        MODEL_CARD: model_card(header.metadata),
        **({} if sentencepiece.content is None else {TOKENIZER_MODEL: sentencepiece.content}),
        **({INDEX: layout.index} if layout.index is not None else {}),
    }
    return Work(
        header=header,
        planned=planned,
        dtype=choice.dtype.torch_name,
        layout=layout,
        placed=placed,
        others=others,
        notes=(*tokenizer.notes, *filter(None, [sentencepiece.note])),
        warnings=warnings,
        templates=tokenizer.template_reports,
        findings=findings,
    )


def _write_weights(
    target: Target, data: TensorData, work: Work, threads: int, progress: Progress | None
) -> tuple[Staging, pipeline.Digests, ScaleRanges]:
    """The weights' files, complete in a staging: a new one, or one that a crashed run left with the same key."""
    key, layout = _key(work), work.layout
    sizes = {file.name: file.size_bytes for file in layout.files}
    while True:
        staging = target.stage(key, sizes, sum(map(len, work.others.values())))
        with ExitStack() as stack:
            files, left = [], []
            for file in layout.files:
                fd, was_there = staging.open_file(file.name, file.size_bytes)
                stack.callback(os.close, fd)
                files.append(pipeline.OpenFile(staging.folder / file.name, fd, file.header, file.size_bytes))
                left.append(was_there)
            there = {stored.name for stored in layout.tensors if left[stored.part]}
            finished = {name: digest for name, digest in staging.journal.finished.items() if name in there}
            job = pipeline.Job(
                work.header, data, work.placed, files, finished, staging.checkpoint, threads=threads
            )
            digests = pipeline.write(job, progress)
        if all(digests.tensors[name] == digest for name, digest in finished.items()):
            return staging, digests, job.scales
        target.discard()  # the crash took more than the journal knows: all of it again


def _sources(work: Work) -> list[Tensor]:
    """The source tensors that are converted, in the header's order."""
    used = {segment.source.name for placed in work.placed for segment in placed.output.segments}
    return [tensor for name, tensor in work.header.tensors.items() if name in used]


def _key(work: Work) -> str:
    """The digest of all that the weights' files depend on."""
    rows = [
        (
            p.output.name,
            [(s.source.name, s.first, s.rows, str(s.operation), str(s.spread)) for s in p.output.segments],
        )
        for p in work.placed
    ]
    parts = [astuple(part.identity) for part in work.header.parts]
    files = [(file.name, hashlib.sha256(file.header).hexdigest()) for file in work.layout.files]
    return hashlib.sha256(json.dumps([__version__, parts, files, rows]).encode()).hexdigest()


def _write_others(staging: Staging, work: Work, digests: pipeline.Digests) -> tuple[WrittenFile, ...]:
    """The small files; all files of the folder but the records are returned, by name."""
    written = [
        WrittenFile(file.name, sha256, file.size_bytes, "weights")
        for file, sha256 in zip(work.layout.files, digests.files, strict=True)
    ]
    for name, content in work.others.items():
        staging.write_file(name, content)
        written.append(_file(name, content))
    return tuple(sorted(written, key=lambda file: file.path))


def _file(name: str, content: bytes) -> WrittenFile:
    return WrittenFile(name, hashlib.sha256(content).hexdigest(), len(content), ROLES.get(name, "tokenizer"))


def _write_records(staging: Staging, conversion: Conversion) -> Conversion:
    """conversion.json, and the statement that names its digest."""
    content = _json(conversion.to_json())
    staging.write_file(RECORD, content)
    record = _file(RECORD, content)
    content = _json(statement(conversion, record), sort_keys=True)
    staging.write_file(PROVENANCE, content)
    return replace(conversion, records=(record, _file(PROVENANCE, content)))


def _conversion(
    folder: Path,
    work: Work,
    options: ConvertOptions,
    run: Run,
    files: tuple[WrittenFile, ...],
    digests: pipeline.Digests,
    scales: Mapping[str, ScaleRange],
) -> Conversion:
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


def _source_tensors(header: Header, digests: pipeline.Digests) -> tuple[SourceTensor, ...]:
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


def _tensor_rows(work: Work, digests: pipeline.Digests) -> tuple[TensorRow, ...]:
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


def _require_written(layout: Layout, folder: Path) -> None:
    """Reads the headers of what was written as any reader would; RuntimeError unless they say what was laid out."""
    try:
        found = tuple(read_safetensors(folder).tensors.values())
    except InputError as error:
        raise RuntimeError(f"what was written cannot be read: {error}") from error
    if found != layout.tensors:
        raise RuntimeError("what was written is not what was laid out")


def _json(document: Mapping[str, object], *, sort_keys: bool = False) -> bytes:
    text = json.dumps(document, indent=2, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()
