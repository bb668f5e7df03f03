"""Work: everything that a conversion decides before it writes the first byte."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass

from llorch.base.errors import UnsupportedInput
from llorch.base.version import __version__
from llorch.converter.findings import Findings, scan_source
from llorch.converter.json_file import json_bytes
from llorch.converter.model_card import MODEL_CARD, model_card
from llorch.converter.options import ConvertOptions
from llorch.converter.plan.config import with_dtype
from llorch.converter.plan.dtype_choice import choose_dtypes
from llorch.converter.plan.float16 import float16_warnings
from llorch.converter.plan.plan import Plan
from llorch.converter.plan.schedule import PlacedTensor, written_order
from llorch.converter.plan.tensors import with_scales
from llorch.formats import INDEX, Layout, lay_out
from llorch.formats.gguf import Header, Tensor, TensorData
from llorch.formats.scan import Allowance
from llorch.formats.tokenizer import TOKENIZER_MODEL, TemplateReport, TokenizerFiles, sentencepiece_model


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that is decided before the first byte is written.

    dtype: of the model. placed: in the layout's order. others: name → content of the small files. notes: what the
    tokenizer assumed. warnings: of the tokenizer, the header and the dtypes. templates: reports on the chat
    templates, by file. findings: of the scan of the source's texts.
    """

    header: Header
    planned: Plan
    dtype: str
    layout: Layout
    placed: tuple[PlacedTensor, ...]
    others: Mapping[str, bytes]
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
    templates: Mapping[str, TemplateReport]
    findings: Findings

    @property
    def sources(self) -> list[Tensor]:
        """The source tensors that are converted, in the header's order."""
        used = {segment.source.name for placed in self.placed for segment in placed.output.segments}
        return [tensor for name, tensor in self.header.tensors.items() if name in used]

    @property
    def key(self) -> str:
        """A digest of everything that the weights' files depend on."""
        rows = [
            (
                p.output.name,
                [
                    (s.source.name, s.first, s.rows, str(s.operation), str(s.spread))
                    for s in p.output.segments
                ],
            )
            for p in self.placed
        ]
        parts = [astuple(part.identity) for part in self.header.parts]
        files = [(file.name, hashlib.sha256(file.header).hexdigest()) for file in self.layout.files]
        return hashlib.sha256(json.dumps([__version__, parts, files, rows]).encode()).hexdigest()


def prepare_work(
    header: Header,
    tokenizer: TokenizerFiles,
    planned: Plan,
    data: TensorData,
    options: ConvertOptions,
    allow: Sequence[Allowance],
) -> Work:
    """Decide everything before the first byte; if `options.strict`, a warning is an UnsupportedInput."""
    choice = choose_dtypes(with_scales(planned.outputs, data), data, options.dtype)
    findings = scan_source(header.metadata, tokenizer, allow)
    overflow = float16_warnings(planned.architecture, choice.dtype)
    warnings = (*tokenizer.warnings, *findings.warnings, *planned.warnings, *choice.warnings, *overflow)
    if warnings and options.strict:
        raise UnsupportedInput("; ".join(warnings), hint="without strict these are warnings")
    outputs = written_order(choice.outputs)
    layout = lay_out(((o.name, str(o.dtype), o.shape) for o in outputs), options.shard_bytes)
    by_name = {output.name: output for output in outputs}
    placed = tuple(PlacedTensor(by_name[stored.name], stored) for stored in layout.tensors)
    sentencepiece = sentencepiece_model(header.metadata, tokenizer.vocabulary)
    others = {
        "config.json": json_bytes(with_dtype(planned.config, choice.dtype)),
        "generation_config.json": json_bytes(planned.generation_config),
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
