"""convert_tokenizer(): the tokenizer of a GGUF file becomes a folder that transformers loads, without weights."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from llorch.base.errors import InputError, UnsupportedInput
from llorch.base.record_files import RECORD
from llorch.converter.findings import scan_source
from llorch.converter.provenance.record import WrittenFile
from llorch.converter.write.target import Target
from llorch.formats.gguf import read_header
from llorch.formats.scan import Allowance
from llorch.formats.tokenizer import (
    TOKENIZER_MODEL,
    TemplateReport,
    build_tokenizer,
    load_tokenizer,
    sentencepiece_model,
)

SCHEMA = "llorch.tokenizer/v1"


@dataclass(frozen=True, slots=True)
class TokenizerFolder:
    """What was written: `size` tokens, and the files by name. notes: what was assumed; warnings: what may be wrong.

    templates: reports on the chat templates, by file.
    """

    folder: Path
    size: int
    files: tuple[WrittenFile, ...]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    templates: Mapping[str, TemplateReport]


def convert_tokenizer(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    force: bool = False,
    strict: bool = False,
    allow: Sequence[Allowance] = (),
) -> TokenizerFolder:
    """Write only the tokenizer files of `source`, a GGUF file with or without weights, to `folder`.

    force, strict, allow: as for `convert`. Raises what `convert` raises, and then leaves nothing behind.
    """
    header = read_header(source)
    try:
        tokenizer = build_tokenizer(header.metadata)
        findings = scan_source(header.metadata, tokenizer, allow)
        warnings = (*tokenizer.warnings, *findings.warnings)
        if warnings and strict:
            raise UnsupportedInput("; ".join(warnings), hint="without strict these are warnings")
        sentencepiece = sentencepiece_model(header.metadata, tokenizer.vocabulary)
        contents = tokenizer.files()
        # So that an error of the tokenizers library comes before anything is written.
        load_tokenizer(tokenizer, content=contents["tokenizer.json"])
    except InputError as error:
        raise error.in_file(header.path) from error.__cause__
    if sentencepiece.content is not None:
        contents[TOKENIZER_MODEL] = sentencepiece.content
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    keep = [part.path.absolute() for part in header.parts]
    with Target(folder, force=force, keep=keep) as target:
        key = hashlib.sha256("".join(digests.values()).encode()).hexdigest()
        staging = target.stage(key, {}, sum(map(len, contents.values())))
        for name, content in contents.items():
            staging.write_file(name, content)
        files = [
            WrittenFile(name, digests[name], len(contents[name]), "tokenizer") for name in sorted(contents)
        ]
        content = _record(files)
        staging.write_file(RECORD, content)
        target.publish()
        files.append(WrittenFile(RECORD, hashlib.sha256(content).hexdigest(), len(content), "record"))
        return TokenizerFolder(
            target.folder,
            tokenizer.size,
            tuple(files),
            (*tokenizer.notes, *filter(None, [sentencepiece.note])),
            warnings,
            tokenizer.template_reports,
        )


def _record(files: Sequence[WrittenFile]) -> bytes:
    """Return conversion.json of such a folder: it lists the files that `force` may replace."""
    document = {"schema": SCHEMA, "files": [asdict(file) for file in files]}
    return f"{json.dumps(document, indent=2)}\n".encode()
