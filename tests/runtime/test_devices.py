"""A model split across several devices computes the same as on one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llorch import runtime
from llorch.converter import convert
from llorch.runtime import RequestError
from llorch.runtime.devices import layers_by_device, spread
from tests.families import logits_of
from tests.models.tiny import random_llama

IDS = [5, 9, 2, 70, 11, 3]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return random_llama(layers=3, width=32, heads=2, kv_heads=1, feed_forward=32, matrices="Q8_0").write(
        tmp_path / "tiny.gguf"
    )


@pytest.mark.parametrize(
    ("sizes", "free", "places"),
    [
        ([10] * 4, [100, 100], [0, 0, 1, 1]),
        ([10] * 4, [100, 300], [0, 1, 1, 1]),
        ([10] * 6, [50, 50, 50], [0, 0, 1, 1, 2, 2]),
        ([40, 10, 10, 10, 10], [100, 100], [0, 1, 1, 1, 1]),
        ([10] * 3, [0, 100], [1, 1, 1]),
        ([], [100, 100], []),
    ],
)
def test_layers_go_in_order_to_devices_by_their_memory(
    sizes: list[int], free: list[int], places: list[int]
) -> None:
    assert spread(sizes, free) == places


def test_the_layers_of_each_device_are_described() -> None:
    assert layers_by_device(["cuda:0", "cuda:0", "cuda:1"]) == "layers 0 to 1 on cuda:0, 2 to 2 on cuda:1"


def test_both_formats_compute_the_same_on_two_devices_as_on_one(file: Path, tmp_path: Path) -> None:
    convert(file, tmp_path / "folder")
    for path in (file, tmp_path / "folder"):
        with runtime.load(path) as one, runtime.load(path, device="cpu,cpu") as two:
            assert two.placed == "layers 0 to 2 on cpu"
            assert len(two.decoder.weights.devices) == 3
            torch.testing.assert_close(two.logits(IDS), one.logits(IDS), rtol=0, atol=1e-5)
            made = [model.generate(IDS, max_new_tokens=8).ids for model in (one, two)]
            assert made[0] == made[1]


@pytest.mark.parametrize("name", ["gemma4-e", "qwen35", "deepseek2"])
def test_models_with_differing_layers_compute_the_same_on_two_devices(name: str, test_data: Path) -> None:
    folder = test_data / "families" / name
    ids, logits = logits_of(folder)[0]
    with runtime.load(folder / "f32.gguf", device="cpu,cpu") as model:
        assert (model.logits(ids.tolist()) - torch.from_numpy(logits)).abs().max() < 1e-4


def test_devices_of_several_kinds_are_refused(file: Path) -> None:
    with pytest.raises(RequestError, match="of several kinds"):
        runtime.load(file, device="cpu,meta")
