"""Scales stored beside weights by ggml's convention: the product equals that of the scaled weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from llorch.base.errors import MalformedInput
from llorch.runtime.loading import load
from llorch.runtime.measure.compare import compare_logits
from tests.models.gguf_writer import TYPE_F16, TYPE_F32, Model
from tests.models.nvfp4 import products, scaled_fused_llama, scaled_llama, scaled_mixture
from tests.models.tiny import VOCABULARY, add_arrays
from tests.runtime.test_real_model import said_by_llama_cpp

IDS = np.random.default_rng(0).integers(0, VOCABULARY, 24).tolist()
# token ids are bytes; llama.cpp's server reports nothing for half a character or an end token
ASCII = (32, 127)
MODELS = [scaled_llama, scaled_fused_llama, scaled_mixture]


def plain(model: Model) -> Model:
    """The same model with its scaled weights in float32, without separate scales."""
    weights = dict(products(model))
    model.drop(*(str(row.name) for row in model.tensors if str(row.name).endswith("scale")))
    return add_arrays(model, weights)


@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
@pytest.mark.parametrize("dequantized_bytes", [0, 1 << 30], ids=["tiled", "kept"])
def test_logits_are_those_of_the_true_weights(
    made: Callable[[], Model], dequantized_bytes: int, tmp_path: Path
) -> None:
    scaled, true = made().write(tmp_path / "scaled.gguf"), plain(made()).write(tmp_path / "true.gguf")
    with load(scaled, dequantized_bytes=dequantized_bytes) as ours, load(true) as wanted:
        # float32 rounds sums of another order: 1.3e-9 was seen
        assert compare_logits(wanted.logits(IDS), ours.logits(IDS)).kl_max < 1e-8


@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
def test_every_scale_changes_the_logits(made: Callable[[], Model], tmp_path: Path) -> None:
    model = made()
    with load(model.write(tmp_path / "scaled.gguf")) as scaled:
        wanted = scaled.logits(IDS)
    names = [str(row.name) for row in model.tensors if str(row.name).endswith(".scale")]
    for name in names:
        with load(made().drop(name).write(tmp_path / "other.gguf")) as other:
            assert compare_logits(wanted, other.logits(IDS)).kl_max > 1e-3, name


@pytest.mark.parametrize("made", MODELS, ids=lambda made: made.__name__)
def test_llama_cpp_multiplies_by_the_same_scales(made: Callable[[], Model], tmp_path: Path) -> None:
    """At most positions the error of its 8-bit activations is a twentieth of the effect of one missing scale."""
    path = made().write(tmp_path / "scaled.gguf")
    with load(path) as ours:
        logits = ours.logits(IDS)
        at = [place for place in range(1, 24) if ASCII[0] <= int(logits[place].argmax()) < ASCII[1]]
    theirs = said_by_llama_cpp(path, IDS, at, VOCABULARY)
    other = made().drop("blk.1.attn_output.scale").write(tmp_path / "other.gguf")
    with load(other) as without:
        apart = np.median(compare_logits(without.logits(IDS)[at], theirs).kl)
    assert np.median(compare_logits(logits[at], theirs).kl) < apart / 20


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.tensor("blk.0.attn_q.scale", [2], TYPE_F32), "(F32, 2) should be 1"),
        (lambda m: m.tensor("blk.0.ffn_up_exps.scale", [1], TYPE_F32), "(F32, 1) should be 3"),
        (lambda m: m.tensor("token_embd.scale", [1], TYPE_F32), "has unexpected 'token_embd.scale'"),
        (lambda m: m.tensor("blk.0.ffn_up.scale", [1], TYPE_F32), "has unexpected 'blk.0.ffn_up.scale'"),
        (
            lambda m: m.tensor("output.weight", [64, VOCABULARY], TYPE_F16, data=bytes(2 * 64 * VOCABULARY)),
            "has unexpected 'output.scale'",
        ),
    ],
)
def test_a_scale_without_a_weight_is_named(
    change: Callable[[Model], Model], said: str, tmp_path: Path
) -> None:
    with pytest.raises(MalformedInput) as caught, load(change(scaled_mixture()).write(tmp_path / "in.gguf")):
        pass
    assert said in str(caught.value)
