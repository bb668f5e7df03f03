"""Families as small random models with revealing sizes: converted bit for bit, read twice, split, verified."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llorch.converter import convert
from llorch.runtime import load
from llorch.verification import verify
from tests.converter.executed import executed, plan_of
from tests.families import as_bfloat16
from tests.models.families import FAMILY_RECIPES, build
from tests.models.families_of_odd_sizes import FAMILIES_OF_ODD_SIZES
from tests.models.family_recipe import MadeFamily

POSITIONS = 70
# Slow recipes: those that take seconds, of families with a fixture or another recipe, and without common sizes.
SECONDS_EACH = pytest.mark.parametrize(
    "family",
    [
        pytest.param(name, marks=pytest.mark.slow) if name in FAMILIES_OF_ODD_SIZES else name
        for name in FAMILY_RECIPES
    ],
    indirect=True,
)
# Random weights amplify rounding, transformers' own too; any trait that has an effect moves a logit by a tenth.
MEAN_LIMIT, LIMIT = 2e-5, 1e-3


@dataclass(frozen=True)
class Family:
    """A recipe's original folder, its GGUF, the converted folder, and transformers' logits of the original."""

    made: MadeFamily
    folder: Path
    ids: list[int]
    logits: NDArray[np.float32]

    @property
    def readings(self) -> tuple[Path, Path]:
        """The readings that must agree."""
        return self.made.gguf, self.folder


@pytest.fixture(scope="module", params=FAMILY_RECIPES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    place = tmp_path_factory.mktemp("family")
    made = build(request.param, place)
    ids = torch.randint(0, 258, (1, POSITIONS), generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        logits = made.model(ids, use_cache=False).logits[0].numpy()
    convert(made.gguf, place / "folder")
    return Family(made, place / "folder", ids[0].tolist(), logits)


def test_the_tensors_come_back(family: Family) -> None:
    gguf, tensors = family.made.gguf, family.made.tensors
    planned = plan_of(gguf)
    near = {o.name for o in planned.outputs if any(s.operation and not s.operation.exact for s in o.segments)}
    found = {n: as_bfloat16(w) if n in near else w for n, w in executed(gguf, planned).items()}
    assert {n: w.shape for n, w in found.items()} == {n: w.shape for n, w in tensors.items()}
    assert [n for n, w in found.items() if w.tobytes() != tensors[n].tobytes()] == []


def test_both_readings_compute_the_original(family: Family) -> None:
    for path in family.readings:
        require_logits(path, family.ids, family.logits)


@SECONDS_EACH
def test_any_chunks_give_the_same_logits(family: Family) -> None:
    """A recurrent state carries over like a cache: in float64, where only rounding could differ."""
    for path in family.readings:
        with load(path, dtype="float64") as model:
            whole = model.logits(family.ids)
            for chunk in (1, 7, 64):
                torch.testing.assert_close(model.logits(family.ids, chunk=chunk), whole, rtol=0, atol=1e-6)


def test_a_request_leaves_nothing_behind(family: Family) -> None:
    """A request gives the same tokens before and after another one that was cancelled half-way."""
    with load(family.made.gguf) as model:
        first = model.generate(family.ids, max_new_tokens=6).ids
        given_up = model.stream(family.ids[::-1], max_new_tokens=6)
        given_up.cancel()
        assert list(given_up) == []
        assert model.generate(family.ids, max_new_tokens=6).ids == first


def test_a_cache_takes_the_predicted_bytes(family: Family) -> None:
    with load(family.made.gguf) as model:
        cache = model.new_cache(50)
        held = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in cache.tensors()}
        assert sum(held.values()) == model.traits.cache_bytes(50)


@SECONDS_EACH
def test_the_conversion_passes_every_check(family: Family) -> None:
    assert verify(family.folder, family.made.gguf, level="full").outcome == "PASSED"


@pytest.mark.parametrize("name", [name for name, recipe in FAMILY_RECIPES.items() if recipe.folded])
def test_an_originals_own_multipliers_are_applied(name: str, tmp_path: Path) -> None:
    """A file may have multipliers folded into its weights; the original, with them in its config, is the same model."""
    made = build(name, tmp_path)
    convert(made.gguf, tmp_path / "folder")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "original" / file).write_bytes((tmp_path / "folder" / file).read_bytes())
    ids = torch.arange(POSITIONS) * 7 % 258
    with torch.no_grad():
        logits = made.model(ids[None], use_cache=False).logits[0].numpy()
    require_logits(tmp_path / "original", ids.tolist(), logits)


def test_the_text_of_hunyuan_vl_is_that_of_the_dense_hunyuan(tmp_path: Path) -> None:
    """The class that sees images, given text alone, computes what the folder of the other class says."""
    from transformers import HunYuanVLConfig, HunYuanVLForConditionalGeneration

    made = build("hunyuan_vl", tmp_path)
    text = made.model.config.to_dict()
    text["rope_parameters"] |= {"mrope_section": [2, 2, 1, 1]}
    vision = {"hidden_size": 12, "num_attention_heads": 3, "num_hidden_layers": 1, "intermediate_size": 8}
    config = HunYuanVLConfig(text_config=text, vision_config=vision)
    original = HunYuanVLForConditionalGeneration(config).eval()
    original.model.language_model.load_state_dict(made.model.model.state_dict())
    ids = torch.arange(POSITIONS)[None] * 5 % 258
    with torch.no_grad():
        logits = original(input_ids=ids, use_cache=False).logits[0].numpy()
    convert(made.gguf, tmp_path / "folder")
    for path in (made.gguf, tmp_path / "folder"):
        require_logits(path, ids[0].tolist(), logits)


def test_a_minicpm_whose_file_says_no_scales_has_those_of_the_released_models(tmp_path: Path) -> None:
    """As in llama.cpp, except for the logits, which it divides by the number that the original multiplies by."""
    recipe = FAMILY_RECIPES["minicpm"]
    keys = {key: value for key, value in recipe.keys.items() if not key.endswith("_scale")}
    made = build("minicpm", tmp_path, replace(recipe, keys=keys))
    ids = torch.arange(POSITIONS)[None] % 258
    with torch.no_grad():
        logits = made.model(ids, use_cache=False).logits[0].numpy()
    convert(made.gguf, tmp_path / "folder")
    for path in (made.gguf, tmp_path / "folder"):
        require_logits(path, ids[0].tolist(), logits)


def require_logits(path: Path, ids: list[int], expected: NDArray[np.float32]) -> None:
    with load(path) as model:
        apart = np.abs(model.logits(ids).numpy() - expected)
    assert apart.mean() < MEAN_LIMIT
    assert apart.max() < LIMIT
