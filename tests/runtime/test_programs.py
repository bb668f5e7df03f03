"""Kernel programs compute the same as the decoder, and leave to it the models that they do not support."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from benchmarks.decode_shapes import deepseek_v2_lite
from benchmarks.full_size import Tensors, of_layer, write_model
from llorch.formats.vector_code import this_machine
from llorch.runtime import Mode, compare_logits, load
from llorch.runtime.blocks.cache import Cache
from llorch.runtime.blocks.mamba import Mamba2Mixer
from llorch.runtime.decoder import Decoder
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
# Float32 sums in another order: mean and worst position of tiny models with peaked attention.
MEAN, WORST = 1e-9, 1e-7


def by_programs(model: Model, ids: list[int], sizes: list[int]) -> torch.Tensor:
    """Logits after every token, computed in chunks of this many tokens."""
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
def test_models_compute_the_same_by_programs_and_by_the_decoder(test_data: Path, name: str) -> None:
    with load(test_data / name / "f32.gguf") as model:
        ids = [token % model.vocabulary_size for token in IDS]
        expected, cache = model.logits(ids), model.new_cache(len(ids))
        rows = [model.hidden(torch.tensor(ids[:9]), cache)]
        rows += [model.hidden(torch.tensor([token]), cache) for token in ids[9:]]
        apart = compare_logits(expected, model.decoder.logits(torch.cat(rows)))
        assert apart.kl_mean <= MEAN
        assert apart.kl_max <= WORST


@torch.inference_mode()
def test_the_least_step_of_a_state_space_model_is_applied(test_data: Path) -> None:
    with load(test_data / "families" / "granitehybrid" / "f32.gguf") as model:
        without, layers = model.logits(IDS), model.decoder.weights.layers
        assert isinstance(layers, list)
        for index, layer in enumerate(layers):
            if isinstance(mixer := layer.attention, Mamba2Mixer):
                floored = replace(mixer, shape=replace(mixer.shape, least_step=0.7))
                layers[index] = replace(layer, attention=floored)
        expected = Decoder(model.traits, model.decoder.weights).hidden(
            torch.tensor(IDS), model.new_cache(len(IDS))
        )
        logits = model.decoder.logits(expected)
        assert compare_logits(without, logits).kl_mean > 1e-3
        assert compare_logits(logits, by_programs(model, IDS, [1] * 20)).kl_mean <= MEAN


@pytest.mark.parametrize(
    "name",
    [
        "qwen35",
        "qwen3next",
        "granitehybrid",
        "lfm2",
        "nemotron",
        "nemotronhmoe",
        "glm4moe",
        "minimaxm2",
        "olmoe",
    ],
)
@torch.inference_mode()
def test_recurrences_mixtures_and_differing_layers_have_programs(test_data: Path, name: str) -> None:
    with load(test_data / "families" / name / "q4_k_m.gguf") as model:
        ids = [token % model.vocabulary_size for token in IDS]
        expected = model.logits(ids)
        for sizes in ([1] * 20, [20], [7, 13], [1, 2, 3, 4, 10]):
            assert compare_logits(expected, by_programs(model, ids, sizes)).kl_max <= WORST


@pytest.mark.parametrize("mode", Mode)
@torch.inference_mode()
def test_experts_of_many_tokens_are_multiplied_by_panels(test_data: Path, mode: Mode) -> None:
    """200 tokens with two of four experts each: all experts have enough rows for panels, in all modes."""
    with load(test_data / "tiny" / "mixtral" / "q4_k_m.gguf", mode=mode) as model:
        ids = [(7 * place + 3) % 250 for place in range(200)]
        expected = model.decoder.logits(model.decoder.hidden(torch.tensor(ids), model.new_cache(len(ids))))
        for sizes in ([200], [120, 1, 79]):
            apart = compare_logits(expected, by_programs(model, ids, sizes))
            assert apart.kl_mean <= {Mode.EXACT: MEAN, Mode.VERIFY: 1e-6, Mode.FAST: 1e-2}[mode]


@pytest.fixture(scope="module")
def latent_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers of latent attention with DeepSeek-V2-Lite's keys, with a rank that kernels support."""
    heads, hidden, rank, nope, rope, value = 3, 96, 64, 32, 16, 32
    shape = deepseek_v2_lite(0)
    tensors: Tensors = [("token_embd.weight", (300, hidden), "Q8_0")]
    for layer in range(2):
        dense: Tensors = [
            ("ffn_gate.weight", (128, hidden), "Q5_0"), ("ffn_up.weight", (128, hidden), "Q5_0"),
            ("ffn_down.weight", (hidden, 128), "Q8_0"),
        ]  # fmt: skip
        experts: Tensors = [
            ("ffn_gate_inp.weight", (4, hidden), "F32"), ("ffn_gate_exps.weight", (4, 64, hidden), "Q5_0"),
            ("ffn_up_exps.weight", (4, 64, hidden), "Q5_0"), ("ffn_down_exps.weight", (4, hidden, 64), "Q8_0"),
            *((name.replace(".", "_shexp."), extents, type) for name, extents, type in dense),
        ]  # fmt: skip
        tensors += of_layer(
            layer, *(experts if layer else dense),
            ("attn_norm.weight", (hidden,), "F32"), ("ffn_norm.weight", (hidden,), "F32"),
            ("attn_q_a.weight", (64, hidden), "Q5_0"), ("attn_q_a_norm.weight", (64,), "F32"),
            ("attn_q_b.weight", (heads * (nope + rope), 64), "Q5_0"),
            ("attn_kv_a_mqa.weight", (rank + rope, hidden), "Q8_0"), ("attn_kv_a_norm.weight", (rank,), "F32"),
            ("attn_k_b.weight", (heads, rank, nope), "Q5_0"), ("attn_v_b.weight", (heads, value, rank), "Q8_0"),
            ("attn_output.weight", (hidden, heads * value), "Q5_0"),
        )  # fmt: skip
    tensors += [("output_norm.weight", (hidden,), "F32"), ("output.weight", (300, hidden), "Q8_0")]
    own = {
        "block_count": 2, "embedding_length": hidden, "feed_forward_length": 128, "attention.head_count": heads,
        "attention.q_lora_rank": 64, "attention.kv_lora_rank": rank, "attention.key_length": rank + rope,
        "attention.value_length": rank,
        "attention.key_length_mla": nope + rope, "attention.value_length_mla": value, "rope.dimension_count": rope,
        "expert_count": 4, "expert_used_count": 2, "expert_shared_count": 2, "expert_feed_forward_length": 64,
        "vocab_size": 300,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("latent") / "latent.gguf"
    write_model(
        replace(shape, vocabulary=300, merges=20, keys={**shape.keys, **own}, tensors=tuple(tensors)), path
    )
    return path


@pytest.mark.parametrize("mode", Mode)
@torch.inference_mode()
def test_latent_attention_has_a_program(latent_model: Path, mode: Mode) -> None:
    with load(latent_model, mode=mode) as model:
        ids = [(7 * place + 3) % 250 for place in range(60)]
        expected = model.decoder.logits(model.decoder.hidden(torch.tensor(ids), model.new_cache(len(ids))))
        for sizes in ([1] * 60, [60], [2, 7, 50, 1]):
            apart = compare_logits(expected, by_programs(model, ids, sizes))
            assert apart.kl_mean <= {Mode.EXACT: MEAN, Mode.VERIFY: 1e-6, Mode.FAST: 1e-2}[mode]


@torch.inference_mode()
def test_windows_and_long_sequences_are_computed(test_data: Path) -> None:
    """gemma3's layers alternate; 300 positions exceed its window, and rows of scores are longer than a vector."""
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
def test_two_alternating_requests_do_not_affect_each_other(test_data: Path) -> None:
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
    """Traits with a field that no kernel knows."""

    attention_sinks: bool = False


def test_unsupported_models_are_left_to_the_decoder(test_data: Path) -> None:
    with load(test_data / "tiny" / "llama" / "q4_k_m.gguf") as model:
        require_known(model.traits)
        with pytest.raises(Unknown):
            require_known(
                TraitsOfTomorrow(**{f: getattr(model.traits, f) for f in Traits.__dataclass_fields__})
            )
        odd = replace(model.traits, head_dim=24)
        with pytest.raises(Unknown):
            LayerPrograms(odd, model.decoder.weights, model.numbers)
