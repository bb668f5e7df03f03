"""Programs of kernels compute what the decoder computes, and leave to it what they do not know."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from llorch.formats.vector_code import this_machine
from llorch.runtime import Mode, compare_logits, load
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.kernels.cpu import multiply, recorder
from llorch.runtime.kernels.cpu.library import Library
from llorch.runtime.kernels.cpu.processor import Instructions, Processor, processor_of
from llorch.runtime.model import Model
from llorch.runtime.programs.known import Unknown, require_known
from llorch.runtime.programs.layers import LayerPrograms
from llorch.runtime.traits import Traits
from tests.runtime.conftest import TINY
from tests.runtime.kernels.cpu.test_products import WORSE
from tests.runtime.test_modes import known_families

IDS = [3, 77, 12, 45, 9, 130, 28, 61, 7, 99, 250, 33, 18, 4, 64, 200, 41, 5, 87, 150]
# Float32 sums in another order: the mean and the worst position of tiny models with peaked attention.
MEAN, WORST = 1e-9, 1e-7


def by_programs(model: Model, ids: list[int], sizes: list[int]) -> torch.Tensor:
    """Logits after every token, of so many tokens at a time."""
    programs = LayerPrograms(model.traits, model.decoder.weights, model.numbers)
    cache, rows, start = model.new_cache(len(ids)), [], 0
    for size in sizes:
        rows.append(programs.hidden(torch.tensor(ids[start : start + size]), cache))
        start += size
    assert start == len(ids) == cache.length
    return model.decoder.logits(torch.cat(rows))


@pytest.mark.parametrize("file", ["f32.gguf", "q4_k_m.gguf"])
@pytest.mark.parametrize("name", TINY)
@torch.inference_mode()
def test_programs_compute_what_the_decoder_computes(test_data: Path, name: str, file: str) -> None:
    with load(test_data / "tiny" / name / file) as model:
        expected = model.logits(IDS)
        for sizes in ([1] * 20, [20], [7, 13], [1, 2, 3, 4, 10]):
            apart = compare_logits(expected, by_programs(model, IDS, sizes))
            assert apart.kl_mean <= MEAN
            assert apart.kl_max <= WORST


@pytest.mark.parametrize("name", [*(f"tiny/{name}" for name in TINY), *known_families()])
@torch.inference_mode()
def test_models_compute_the_same_by_whichever_serves(test_data: Path, name: str) -> None:
    with load(test_data / name / "f32.gguf") as model:
        ids = [token % model.vocabulary_size for token in IDS]
        expected, cache = model.logits(ids), model.new_cache(len(ids))
        rows = [model.hidden(torch.tensor(ids[:9]), cache)]
        rows += [model.hidden(torch.tensor([token]), cache) for token in ids[9:]]
        apart = compare_logits(expected, model.decoder.logits(torch.cat(rows)))
        assert apart.kl_mean <= MEAN
        assert apart.kl_max <= WORST


@pytest.mark.parametrize("name", ["qwen35", "qwen3next", "granitehybrid", "lfm2", "nemotron"])
@torch.inference_mode()
def test_recurrences_and_layers_that_differ_are_programs(test_data: Path, name: str) -> None:
    with load(test_data / "families" / name / "q4_k_m.gguf") as model:
        ids = [token % model.vocabulary_size for token in IDS]
        expected = model.logits(ids)
        for sizes in ([1] * 20, [20], [7, 13], [1, 2, 3, 4, 10]):
            assert compare_logits(expected, by_programs(model, ids, sizes)).kl_max <= WORST


@pytest.mark.parametrize("mode", Mode)
@torch.inference_mode()
def test_experts_of_many_tokens_are_multiplied_by_panels(test_data: Path, mode: Mode) -> None:
    """200 tokens with two of four experts each: all have enough rows for their weights to be laid out, in all modes."""
    with load(test_data / "tiny" / "mixtral" / "q4_k_m.gguf", mode=mode) as model:
        ids = [(7 * place + 3) % 250 for place in range(200)]
        expected = model.decoder.logits(model.decoder.hidden(torch.tensor(ids), model.new_cache(len(ids))))
        for sizes in ([200], [120, 1, 79]):
            apart = compare_logits(expected, by_programs(model, ids, sizes))
            assert apart.kl_mean <= {Mode.EXACT: MEAN, Mode.VERIFY: 1e-6, Mode.FAST: 1e-2}[mode]


@torch.inference_mode()
def test_a_window_is_heeded_and_long_sequences_too(test_data: Path) -> None:
    """gemma3's layers alternate; 300 positions are beyond its window, and rows of scores are longer than a vector."""
    with load(test_data / "tiny" / "gemma3" / "f32.gguf") as model:
        ids = [(7 * place + 3) % 250 for place in range(min(300, model.n_ctx))]
        assert any(window is not None and window < len(ids) for window in model.traits.windows)
        expected = model.logits(ids)
        sizes = [200, *[1] * 5, len(ids) - 205]
        assert compare_logits(expected, by_programs(model, ids, sizes)).kl_max <= WORST


@pytest.mark.parametrize("chosen", WORSE[processor_of(this_machine()).instructions])
@pytest.mark.parametrize("mode", Mode)
@torch.inference_mode()
def test_every_instruction_set_of_this_machine_runs_whole_programs(
    test_data: Path, chosen: Instructions, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    with load(test_data / "tiny" / "gemma2" / "q4_k_m.gguf") as exact:
        expected = exact.logits(IDS)
    made = Library(Processor(this_machine(), chosen))
    for user in (multiply, recorder):
        monkeypatch.setattr(user, "library", lambda: made)
    with load(test_data / "tiny" / "gemma2" / "q4_k_m.gguf", mode=mode) as model:
        apart = compare_logits(expected, by_programs(model, IDS, [13, 5, 1, 1]))
    assert apart.kl_mean <= {Mode.EXACT: MEAN, Mode.VERIFY: 1e-6, Mode.FAST: 1e-2}[mode]


@torch.inference_mode()
def test_two_requests_in_turns_do_not_show_in_each_other(test_data: Path) -> None:
    with load(test_data / "tiny" / "llama" / "q4_k_m.gguf", mode=Mode.FAST) as model:
        alone = [by_tokens(model, ids, [model.new_cache(20)])[0] for ids in (IDS, IDS[::-1])]
        together = by_tokens(model, IDS, [model.new_cache(50), model.new_cache(20)], IDS[::-1])
        for expected, made in zip(alone, together, strict=True):
            assert torch.equal(made, expected)


def by_tokens(
    model: Model, ids: list[int], caches: list[Cache], others: list[int] | None = None
) -> list[torch.Tensor]:
    """Hidden states of one request, or of two whose tokens alternate."""
    requests = [ids] if others is None else [ids, others]
    rows: list[list[torch.Tensor]] = [[] for _ in requests]
    for tokens in zip(*requests, strict=True):
        for which, token in enumerate(tokens):
            rows[which].append(model.hidden(torch.tensor([token]), caches[which]))
    return [torch.cat(some) for some in rows]


@dataclass(frozen=True, slots=True)
class TraitsOfTomorrow(Traits):
    """With a field that no kernel knows."""

    attention_sinks: bool = False


def test_what_is_not_known_is_left_to_the_decoder(test_data: Path) -> None:
    with load(test_data / "tiny" / "llama" / "q4_k_m.gguf") as model:
        require_known(model.traits)
        with pytest.raises(Unknown):
            require_known(
                TraitsOfTomorrow(**{f: getattr(model.traits, f) for f in Traits.__dataclass_fields__})
            )
        odd = replace(model.traits, head_dim=24)
        with pytest.raises(Unknown):
            LayerPrograms(odd, model.decoder.weights, model.numbers)
