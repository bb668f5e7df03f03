"""The output of `llorch-run`: documents for --json, rows for a person."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from llorch.commands.cli import Cell, size, text

if TYPE_CHECKING:
    from llorch.formats.tokenizer.templates import TemplateReport
    from llorch.runtime import Contents, Description, Generation, KernelSupport, Sampling, Speed


def generation_document(model: Path, prompt: str, sampling: Sampling, made: Generation) -> dict[str, object]:
    """Return a generation for --json, with all that is needed to repeat it."""
    return {
        "schema": "llorch.generation/v1",
        "model": str(model),
        "mode": made.mode,
        **asdict(sampling),
        "prompt": prompt,
        "prompt_ids": list(made.prompt_ids),
        "ids": list(made.ids),
        "text": made.text,
        "finish": made.finish,
    }


def info_document(found: Description) -> dict[str, object]:
    """Return a model's description for --json; sizes are in bytes."""
    traits, memory = found.traits, found.memory
    return {
        "schema": "llorch.info/v1",
        "model": str(found.path),
        "format": found.format,
        "architecture": found.architecture,
        "name": found.name,
        "weights": found.weights,
        "size_bytes": found.size_bytes,
        "bits_per_weight": found.bits_per_weight,
        "types": {
            stored.type: {
                "tensors": stored.tensors,
                "weights": stored.weights,
                "size_bytes": stored.size_bytes,
            }
            for stored in found.types
        },
        "layers": traits.n_layers,
        "hidden_size": traits.hidden_size,
        "heads": traits.heads,
        "kv_heads": traits.kv_heads,
        "head_dim": traits.head_dim,
        "context": traits.n_ctx,
        "tokenizer": found.tokenizer,
        "tokens": found.tokens,
        "vocabulary_size": traits.vocabulary_size,
        "products": asdict(support_of(found)),
        "chat_template": found.template is not None,
        "chat_template_report": None if found.template is None else asdict(found.template),
        "memory": {
            "weights": memory.weights,
            "cache": memory.cache,
            "tokenizer": memory.tokenizer,
            "scratch": memory.scratch,
        },
    }


def template_line(template: TemplateReport | None) -> str:
    """Return one line on a chat template: its length, and a warning if the scan found something."""
    if template is None:
        return "none for chat"
    broken = sorted({one.rule for one in template.findings})
    more = f" and {len(broken) - 1} more" if len(broken) > 1 else ""
    warning = f", FOUND {broken[0]}{more}: llorch scan says where" if broken else ""
    return f"for chat, {template.characters:,} characters{warning}"


def info_rows(found: Description) -> list[list[Cell]]:
    """Return a model's description as rows for a person."""
    traits, memory = found.traits, found.memory
    types = ", ".join(f"{stored.tensors} {stored.type}" for stored in found.types)
    heads = f"{traits.heads} heads, {traits.kv_heads} of keys and values, of {traits.head_dim}"
    parts = ", ".join(
        f"{what} {size(amount).brief}"
        for what, amount in (
            ("weights", memory.weights),
            ("cache", memory.cache),
            ("tokenizer", memory.tokenizer),
            ("scratch", memory.scratch),
        )
    )
    return [
        [text("model"), text(found.name or found.path)],
        [text("format"), text(f"{found.architecture}, {found.format}")],
        [
            text("weights"),
            text(
                f"{found.weights:,} in {size(found.size_bytes).brief}, {found.bits_per_weight:.2f} bits each"
            ),
        ],
        [text("types"), text(types)],
        [text("shape"), text(f"{traits.n_layers} layers of {traits.hidden_size}, {heads}")],
        [text("products"), text(told_of_products(support_of(found)))],
        [text("context"), text(f"{traits.n_ctx:,} positions")],
        [text("tokenizer"), text(f"{found.tokenizer or 'none'}, {found.tokens:,} tokens")],
        [text("template"), text(template_line(found.template))],
        [text("memory"), text(f"{size(memory.total).brief} for all of the context")],
        [text("of which"), text(parts)],
    ]


def contents_document(found: Contents, why: str) -> dict[str, object]:
    """Return the description of a file that cannot be run, for --json; why: the runtime's error."""
    return {
        "schema": "llorch.contents/v1",
        "model": str(found.path),
        "format": found.format,
        "architecture": found.architecture,
        "tensors": found.tensors,
        "weights": found.weights,
        "size_bytes": found.size_bytes,
        "types": {
            stored.type: {
                "tensors": stored.tensors,
                "weights": stored.weights,
                "size_bytes": stored.size_bytes,
            }
            for stored in found.types
        },
        "keys": dict(found.keys),
        "why_not_run": why,
    }


def contents_rows(found: Contents) -> list[list[Cell]]:
    """Return the description of a file that cannot be run, for a person: format, sizes by type, then its keys."""
    rows = [
        ("file", str(found.path)),
        ("format", ", ".join(filter(None, [found.architecture, found.format]))),
        ("tensors", f"{found.tensors}, {found.weights:,} weights in {size(found.size_bytes).brief}"),
        *(
            (stored.type, f"{stored.tensors} tensors, {size(stored.size_bytes).brief}")
            for stored in found.types
        ),
        *found.keys.items(),
    ]
    return [[text(name), text(value)] for name, value in rows]


def support_of(found: Description) -> KernelSupport:
    """Return which products (int8, float32 or torch) this machine's processor uses for the model's types."""
    from llorch.runtime import kernel_support  # LLVM, which --help does not need

    return kernel_support(stored.type for stored in found.types)


def told_of_products(support: KernelSupport) -> str:
    """Return the products in one line for a person."""
    parts = [
        f"{what} for {', '.join(names)}"
        for what, names in (("int8", support.int8), ("float32", support.float32), ("torch", support.none))
        if names
    ]
    return f"{'; '.join(parts)} ({support.instructions})"


def speed_document(model: Path, found: Speed) -> dict[str, object]:
    """Return a speed measurement for --json; times are in seconds, rates in tokens or bytes per second."""
    share = found.bandwidth_share
    return {"schema": "llorch.bench/v1", "model": str(model), **asdict(found), "bandwidth_share": share}


def speed_rows(found: Speed) -> list[list[Cell]]:
    """Return a speed measurement as rows for a person."""
    rows = [
        ("mode", str(found.mode)),
        ("threads", f"{found.threads}"),
        ("prefill", f"{found.prefill:,.1f} tokens/s over {found.prompt_tokens}, behind {found.depth}"),
        ("decode", f"{found.decode:,.1f} tokens/s over {found.generate_tokens}, behind {found.depth}"),
        ("load", f"{found.load:.2f} s, {found.first_token:.2f} s to the first token"),
        ("memory", "not told by this system" if found.peak_bytes is None else size(found.peak_bytes).brief),
    ]
    bandwidth = f"{found.read_bandwidth / 1e9:.1f} GB/s"
    share = found.bandwidth_share
    rows.append(
        ("bandwidth", bandwidth if share is None else f"{share:.0%} of {bandwidth} for weights in decode")
    )
    return [[text(name), text(value)] for name, value in rows]
