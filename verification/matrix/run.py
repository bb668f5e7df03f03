"""Running one row of the matrix in this process."""

from __future__ import annotations

import platform
import time
from dataclasses import replace

import torch

from llorch import runtime
from llorch.base.errors import InputError, UnsupportedInput
from llorch.runtime import Description, Model, RequestError
from llorch.verification.matrix.rows import TOP, Candidate, Row, digest_of_model
from llorch.verification.sample import PROMPT
from llorch.verification.smoke import memory_here


def run_row(found: Candidate, device: str, tokens: int) -> Row:
    """Run a model: prompt, greedy text, logits, speed, memory. A model that cannot be run is skipped, with the reason.

    The reason has the model's name instead of its path, since rows are published.
    """
    row = _run_row(found, device, tokens)
    return replace(row, why=row.why.replace(str(found.path), found.name))


def _run_row(found: Candidate, device: str, tokens: int) -> Row:
    started = time.perf_counter()
    row = Row(found.name, found.format, device, "skipped")
    try:
        described = runtime.describe(found.path)
        needed, there = described.for_positions(tokens + 64).total, memory_here()
        if needed > there:
            return _end(
                row, started, "skipped", f"it needs {needed:,} bytes of memory, {there:,} may be used here"
            )
        with runtime.load(found.path, device=device) as model:
            return _ran(row, model, described, tokens, started)
    except (UnsupportedInput, RequestError) as error:
        return _end(row, started, "skipped", str(error))
    except (InputError, OSError) as error:
        return _end(row, started, "failed", str(error))
    except Exception as error:  # noqa: BLE001  # any error is a failed row
        return _end(row, started, "failed", f"{type(error).__name__}: {error}")


def _ran(row: Row, model: Model, described: Description, tokens: int, started: float) -> Row:
    ids = model.tokenizer.encode(PROMPT).ids
    last = model.logits(ids)[-1].double().log_softmax(-1)
    begun = time.perf_counter()
    made = model.generate(ids, max_new_tokens=min(tokens, model.n_ctx - len(ids)))
    spent = time.perf_counter() - begun
    best = last.topk(min(TOP, len(last)))
    finite = bool(last.isfinite().all())
    traits = model.traits
    windows = sorted({window for window in traits.windows if window is not None})
    cache = "keys and values" + (f", windows of {', '.join(map(str, windows))}" if windows else "")
    ended = _end(
        row, started, "passed" if finite else "failed", "" if finite else "a logit is no finite number"
    )
    return Row(
        row.model,
        row.format,
        row.device,
        ended.status,
        ended.why,
        described.architecture,
        described.tokenizer or "none",
        tuple(model.end_ids),
        cache,
        ", ".join(stored.type for stored in described.types),
        made.ids,
        made.text,
        {str(token): value for token, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)},
        len(made.ids) / spent if made.ids else None,
        _peak(row.device),
        time.perf_counter() - started,
        digest_of_model(model.path),
        torch.cuda.get_device_name() if row.device == "cuda" else platform.machine(),
    )


def _end(row: Row, started: float, status: str, why: str) -> Row:
    return Row(row.model, row.format, row.device, status, why, seconds=time.perf_counter() - started)


def _peak(device: str) -> int:
    if device == "cuda":
        return int(torch.cuda.max_memory_allocated())
    import resource  # not on Windows, where the row fails with this error

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
