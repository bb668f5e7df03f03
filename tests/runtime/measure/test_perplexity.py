"""Perplexity against its definition over llama-perplexity's windows."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from llorch.runtime.errors import RequestError
from llorch.runtime.loading import load
from llorch.runtime.measure.perplexity import measure_perplexity


def test_only_the_second_halves_of_whole_windows_count(test_data: Path) -> None:
    ids = torch.randint(3, 360, (75,), generator=torch.Generator().manual_seed(5)).tolist()
    seen: list[tuple[int, int]] = []
    with load(test_data / "tiny" / "llama" / "f32.gguf") as model:
        found = measure_perplexity(model, ids, n_ctx=16, progress=lambda done, all: seen.append((done, all)))
        bos = model.tokenizer.encode("a").ids[0]
        assert model.tokenizer.encode("a").ids == [
            bos,
            *model.tokenizer.encode("a", add_special_tokens=False).ids,
        ]
        losses = []
        for start in range(0, 64, 16):
            window = ids[start : start + 16]
            log_p = torch.log_softmax(model.logits([bos, *window[1:]]).double(), -1)
            losses += [-float(log_p[i, window[i + 1]]) for i in range(8, 15)]
    assert seen == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert (found.windows, found.predictions) == (4, 28)
    assert found.value == pytest.approx(math.exp(sum(losses) / 28), rel=1e-6)
    nll = torch.tensor(losses, dtype=torch.float64)
    deviation = nll.std(correction=0) / math.sqrt(27)
    assert found.error == pytest.approx(found.value * float(deviation), rel=1e-6)


def test_a_text_without_one_window_is_refused(test_data: Path) -> None:
    with load(test_data / "tiny" / "llama" / "f32.gguf") as model:
        with pytest.raises(RequestError, match="the text has 15 tokens, a window 16"):
            measure_perplexity(model, list(range(15)), n_ctx=16)
        with pytest.raises(RequestError, match="expected 4 to 320"):
            measure_perplexity(model, list(range(15)), n_ctx=321)
