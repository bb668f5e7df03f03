"""Distance between the modes; each result names its mode and does not depend on earlier requests."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from llorch.base.errors import InputError
from llorch.runtime import Mode, RequestError, compare_logits, describe, load
from tests.runtime.conftest import TINY
from tests.runtime.prose import TEXT

# Mean KL divergence from exact, in nats.
WITHIN = {Mode.FAST: 1e-2, Mode.VERIFY: 1e-6}
IDS = [3, 77, 12, 45, 9, 130, 28, 61, 7, 99, 250, 33, 18, 4, 64, 200, 41, 5, 87, 150]


def known_families() -> list[str]:
    """The families among the test data that the runtime can load."""
    names = []
    for path in sorted(
        (Path(os.environ.get("LLORCH_TEST_DATA", "../shared/data")) / "families").glob("*/q4_k_m.gguf")
    ):
        with suppress(InputError):
            describe(path)
            names.append(f"families/{path.parent.name}")
    return names


@pytest.mark.parametrize("name", [*(f"tiny/{name}" for name in TINY), *known_families()])
def test_fast_and_verify_keep_their_promised_distance_from_exact(test_data: Path, name: str) -> None:
    path = test_data / name / "q4_k_m.gguf"
    with load(path) as exact:
        ids = [token % exact.vocabulary_size for token in IDS]
        reference = exact.logits(ids)
    for mode, most in WITHIN.items():
        with load(path, mode=mode) as model:
            assert model.mode is mode
            for chunk in (None, 1, 3):
                assert compare_logits(reference, model.logits(ids, chunk=chunk)).kl_mean <= most


@pytest.mark.parametrize("name", ["qwen35", "qwen3next"])
def test_recurrent_states_do_not_accumulate_fast_modes_error(test_data: Path, name: str) -> None:
    """On random texts, by the kernel programs and by the decoder; with one plane the worst is 2.2e-2."""
    path = test_data / "families" / name / "q4_k_m.gguf"
    texts = torch.randint(0, 256, (8, 20), generator=torch.Generator().manual_seed(1)).tolist()
    with load(path) as exact, load(path, mode=Mode.FAST) as fast, torch.inference_mode():
        for ids in texts:
            reference = exact.logits(ids)
            hidden = fast.decoder.hidden(torch.tensor(ids), fast.new_cache(len(ids)))
            for found in (fast.logits(ids), fast.decoder.logits(hidden)):
                assert compare_logits(reference, found).kl_mean <= WITHIN[Mode.FAST]


def test_the_real_models_error_is_within_llama_cpps(real_model: Path) -> None:
    check_real_model(real_model)


@pytest.mark.slow
def test_a_real_model_in_q4_k_m_keeps_the_promised_distance(gemma_model: Path) -> None:
    check_real_model(gemma_model)


def check_real_model(path: Path) -> None:
    """The promises on natural text; top tokens change only where two are almost equally probable."""
    with load(path) as exact:
        ids = exact.tokenizer.encode(TEXT).ids[:100]
        reference = exact.logits(ids)
    for mode, most in WITHIN.items():
        with load(path, mode=mode) as model:
            apart = compare_logits(reference, model.logits(ids))
            assert apart.kl_mean <= most
            assert apart.largest_margin <= (0.5 if mode is Mode.FAST else 0.005)


@pytest.mark.parametrize("mode", Mode)
def test_a_result_names_its_mode_and_does_not_depend_on_what_ran_before(test_data: Path, mode: Mode) -> None:
    path = test_data / "tiny" / "llama" / "q4_k_m.gguf"
    with load(path, mode=mode) as model:
        first = model.logits(IDS)
        made = model.generate(IDS, max_new_tokens=5)
        assert made.mode is mode
        assert torch.equal(model.logits(IDS), first)
    with load(path, mode=str(mode)) as again:
        assert torch.equal(again.logits(IDS), first)
        assert again.generate(IDS, max_new_tokens=5).ids == made.ids


@pytest.mark.parametrize("tiny", [("llama", "gguf"), ("llama", "folder")], indirect=True, ids=str)
def test_a_model_without_packed_weights_is_exact_in_every_mode(tiny: Path) -> None:
    with load(tiny) as exact, load(tiny, mode=Mode.FAST) as asked:
        assert asked.mode is Mode.EXACT
        assert torch.equal(asked.logits(IDS), exact.logits(IDS))


def test_int8_with_other_arithmetic_is_refused(test_data: Path) -> None:
    path = test_data / "tiny" / "llama" / "q4_k_m.gguf"
    with pytest.raises(RequestError, match="verify computes in float32"):
        load(path, mode=Mode.VERIFY, dtype="float64")
    with pytest.raises(RequestError, match="fast computes in float32"):
        load(path, mode=Mode.FAST, rounded="bfloat16")
    with pytest.raises(ValueError, match="quick"):
        load(path, mode="quick")
