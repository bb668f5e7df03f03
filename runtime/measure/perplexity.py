"""Perplexity as llama-perplexity measures it.

Source: llama.cpp, tools/perplexity/perplexity.cpp, `perplexity`: the text is encoded once and cut into windows
that do not overlap, without the remainder; each window's first token is replaced by BOS if the vocabulary
adds one; only predictions in the second half of a window count, so that each has at least half a
window of context.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from llorch.runtime.errors import RequestError
from llorch.runtime.measure.compare import log_sum_exp
from llorch.runtime.mode import Mode
from llorch.runtime.model import Model, require_known
from llorch.runtime.text.prompt import leading_ids

N_CTX = 512  # llama-perplexity's default window


@dataclass(frozen=True, slots=True)
class Perplexity:
    """A measured perplexity.

    value: exp of the mean negative log-likelihood. error: its standard error. mode: the arithmetic.
    """

    value: float
    error: float
    windows: int
    predictions: int
    mode: Mode


def measure_perplexity(
    model: Model,
    text: str | Sequence[int],
    *,
    n_ctx: int = N_CTX,
    progress: Callable[[int, int], None] | None = None,
) -> Perplexity:
    """Measure the perplexity over all whole windows of n_ctx tokens; RequestError if the text has none.

    text: a string, encoded with the special tokens that the tokenizer adds, or token ids.
    progress: called with (windows done, windows).
    """
    if not 4 <= n_ctx <= model.n_ctx:
        raise RequestError(f"a window of {n_ctx} tokens: expected 4 to {model.n_ctx:,}")
    ids = model.tokenizer.encode(text).ids if isinstance(text, str) else list(text)
    require_known(ids, model.vocabulary_size)
    windows = len(ids) // n_ctx
    if not windows:
        raise RequestError(f"the text has {len(ids):,} tokens, a window {n_ctx:,}")
    first = leading_ids(model.tokenizer)[:1]
    losses = []
    if progress is not None:
        progress(0, windows)
    for index in range(windows):
        window = ids[index * n_ctx : (index + 1) * n_ctx]
        losses.append(window_losses(model, window, [*first, *window[len(first) :]]))
        if progress is not None:
            progress(index + 1, windows)
    nll = np.concatenate(losses)
    value = math.exp(nll.mean())
    error = value * math.sqrt(max(0.0, float((nll**2).mean() - nll.mean() ** 2)) / (len(nll) - 1))
    return Perplexity(value, error, windows, len(nll), model.mode)


@torch.inference_mode()
def window_losses(model: Model, window: Sequence[int], read: Sequence[int]) -> NDArray[np.float64]:
    """−ln P of the tokens in the window's second half, (n_ctx − 1 − n_ctx // 2,). read: the window, with BOS first."""
    middle = len(window) // 2
    tokens = torch.tensor(read, dtype=torch.int64, device=model.numbers.device)
    hidden = model.decoder.hidden(tokens, model.new_cache(len(read)))
    logits = model.decoder.logits(hidden[middle:-1]).to("cpu", torch.float32)
    chosen = logits.gather(1, torch.tensor(window[middle + 1 :])[:, None])[:, 0]
    losses: NDArray[np.float64] = (log_sum_exp(logits) - chosen.double()).numpy()
    return losses
