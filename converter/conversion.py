"""convert(): a GGUF file becomes a folder that transformers loads, complete and durable, or nothing at all."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from llorch.base.cores import allowed_cores
from llorch.base.errors import InputError
from llorch.base.progress import Progress
from llorch.base.record_files import PROVENANCE, RECORD
from llorch.base.times import now_milliseconds, rfc3339_milliseconds
from llorch.converter.errors import OnlyVocabulary
from llorch.converter.json_file import json_bytes
from llorch.converter.model_card import MODEL_CARD
from llorch.converter.options import Choices, ConvertOptions
from llorch.converter.plan.dtype_choice import AUTO
from llorch.converter.plan.plan import make_plan, require_decoder
from llorch.converter.provenance.conversion import Run, record_of
from llorch.converter.provenance.record import Conversion, WrittenFile
from llorch.converter.provenance.statement import statement
from llorch.converter.quantization.block_scales import ScaleRanges
from llorch.converter.work import Work, prepare_work
from llorch.converter.write import pipeline
from llorch.converter.write.staging import Staging
from llorch.converter.write.target import Target
from llorch.formats import INDEX, Layout, read_safetensors
from llorch.formats.gguf import TensorData, read_header
from llorch.formats.scan import Allowance
from llorch.formats.tokenizer import build_tokenizer

if TYPE_CHECKING:
    from llorch.converter.provenance.source_signature import SourceSignature

# More threads only wait for each other: the written file's digest takes its bytes in order.
MOST_THREADS = 8

ROLES = {
    "config.json": "config",
    "generation_config.json": "config",
    INDEX: "weights",
    MODEL_CARD: "card",
    RECORD: "record",
    PROVENANCE: "record",
}


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
    """Convert `source`, a GGUF file or any part of a split one, to `folder`, which appears only when it is complete.

    options: everything that determines the bytes; choices: its fields as keywords (dtype="bfloat16", …).
    threads: by default one per core, at most 8. force: replace what is at `folder`.
    allow: findings of the scan that are accepted: they are recorded and not warned about. source_signature: the
    source's signature; recorded once the bytes read are found to be the signed ones. run_id: the caller's UUID of
    this run, kept in conversion.json; started: when it began, by default now. progress: called with (bytes done,
    total). If an earlier conversion with the same source, options and folder was killed, this one continues it.

    Raises InputError for a source that is malformed, unsupported or not finite (OnlyVocabulary for one without
    weights); TargetExists, TargetBusy, NotEnoughSpace; OSError for what cannot be read or written; ValueError for
    invalid options. If it raises anything, also because of a signal, it leaves nothing behind.

    >>> conversion = convert("model.gguf", "folder", dtype="float32", max_shard_size="5GB")
    >>> conversion.architecture, conversion.dtype
    ('llama', 'float32')
    """
    if options is not None and choices:
        raise ValueError(
            f"options and the keywords {', '.join(choices)} exclude each other: give one of them"
        )
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
                work = prepare_work(header, tokenizer, planned, data, options, allow)
                del tokenizer  # no longer needed, and a large vocabulary takes a hundred megabytes
                staging, digests, seen = _write_weights(target, data, work, run.threads, progress)
                scales = seen.ranges_of(work.sources, data)
            finally:
                data.require_unchanged()  # a source written to meanwhile is the cause of any other error
            files = _write_others(staging, work, digests)
            conversion = record_of(target.folder, work, options, run, files, digests, scales)
            if source_signature is not None:
                source_signature.require_same(conversion.sources)
                conversion = replace(conversion, source_signature=source_signature.to_json())
            conversion = _write_records(staging, conversion)
            _require_written(work.layout, staging.folder)
            target.publish()
    except InputError as error:
        raise error.in_file(header.path) from error.__cause__
    return conversion


def _threads(threads: int | None) -> int:
    if threads is None:
        return min(allowed_cores(), MOST_THREADS)
    if threads < 1:
        raise ValueError(f"threads is {threads}, not at least 1")
    return threads


def _write_weights(
    target: Target, data: TensorData, work: Work, threads: int, progress: Progress | None
) -> tuple[Staging, pipeline.Digests, ScaleRanges]:
    """Write the weights' files, complete, in a new staging or one that a crashed run left with the same key."""
    layout = work.layout
    sizes = {file.name: file.size_bytes for file in layout.files}
    while True:
        staging = target.stage(work.key, sizes, sum(map(len, work.others.values())))
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
        target.discard()  # the files do not match the journal: start again


def _write_others(staging: Staging, work: Work, digests: pipeline.Digests) -> tuple[WrittenFile, ...]:
    """Write the small files; return all files of the folder except the records, sorted by name."""
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
    """Write conversion.json, and the statement with its digest."""
    content = json_bytes(conversion.to_json())
    staging.write_file(RECORD, content)
    record = _file(RECORD, content)
    content = json_bytes(statement(conversion, record), sort_keys=True)
    staging.write_file(PROVENANCE, content)
    return replace(conversion, records=(record, _file(PROVENANCE, content)))


def _require_written(layout: Layout, folder: Path) -> None:
    """Read the written headers as any reader would; RuntimeError unless they match the layout."""
    try:
        found = tuple(read_safetensors(folder).tensors.values())
    except InputError as error:
        raise RuntimeError(f"the written files cannot be read: {error}") from error
    if found != layout.tensors:
        raise RuntimeError("the written headers differ from the layout")
