"""Correct folders that must pass: written by transformers from the same weights, in common layouts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import transformers
from safetensors.torch import load_file, save_file

from llorch import converter
from llorch.verification import verify
from tests.verification.planting import DEVICE
from tests.verification.test_architectures import MODELS

SHARD = "200KB"


@pytest.fixture(scope="module")
def saved(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A function: a model's name → the folder that transformers' `save_pretrained` makes of it."""
    place = tmp_path_factory.mktemp("saved")

    def save(model: str) -> Path:
        if not (place / model).exists():
            converter.convert(
                test_data / "tiny" / model / "f32.gguf", place / f"{model}.ours", dtype="float32"
            )
            loaded = transformers.AutoModelForCausalLM.from_pretrained(place / f"{model}.ours")
            loaded.save_pretrained(place / model, max_shard_size=SHARD)
            transformers.AutoTokenizer.from_pretrained(place / f"{model}.ours").save_pretrained(place / model)
            assert len(list((place / model).glob("*.safetensors"))) > 1
        return place / model

    return save


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in document.items() if value is not ...}))


def as_it_is(folder: Path) -> None:
    """As transformers 5.23 writes it."""


def as_4_57_writes_it(folder: Path) -> None:
    """Both spellings of the rotary parameters, defaults left out, and a map of special tokens."""
    told = json.loads((folder / "config.json").read_text())
    rope = dict(told["rope_parameters"])
    older: dict[str, Any] = {}
    if "rope_theta" in rope:
        older["rope_theta"] = rope.pop("rope_theta")
        older["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    tied = (
        {"tie_word_embeddings": ...}
        if told["tie_word_embeddings"] and told["model_type"].startswith("gemma")
        else {}
    )
    default = transformers.CONFIG_MAPPING[told["model_type"]]().pad_token_id  # no row of a tiny Phi-3
    padding = {"pad_token_id": ...} if told.get("pad_token_id") == default else {}
    edit(folder, transformers_version="4.57.3", **padding, **older, **tied)
    named = json.loads((folder / "tokenizer_config.json").read_text())
    special = {
        key: value
        for key, value in named.items()
        if key in ("bos_token", "eos_token", "pad_token", "unk_token")
    }
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


def without_generation_config(folder: Path) -> None:
    (folder / "generation_config.json").unlink()


def in_one_file(folder: Path) -> None:
    parts = sorted(folder.glob("*.safetensors"))
    tensors = {name: tensor for part in parts for name, tensor in load_file(part).items()}
    for path in (*parts, folder / "model.safetensors.index.json"):
        path.unlink()
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def with_a_card_and_git(folder: Path) -> None:
    (folder / "README.md").write_text("# A model\n")
    (folder / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("[core]\n")
    (folder / ".git" / "packed.json").write_text("not json")


def template_in_the_tokenizers_config(folder: Path) -> None:
    jinja = folder / "chat_template.jinja"
    path = folder / "tokenizer_config.json"
    if jinja.exists():
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": jinja.read_text()}))
        jinja.unlink()


LAYOUTS: Mapping[str, Callable[[Path], None]] = {
    layout.__name__: layout
    for layout in (
        as_it_is,
        as_4_57_writes_it,
        without_generation_config,
        in_one_file,
        with_a_card_and_git,
        template_in_the_tokenizers_config,
    )
}


def copied(folder: Path, place: Path) -> Path:
    place.mkdir()
    for path in folder.iterdir():
        (place / path.name).write_bytes(path.read_bytes())
    return place


@pytest.mark.parametrize("level", ["quick", "full"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("model", ["llama", "gemma2"])
def test_a_right_folder_of_another_exporter_passes(
    model: str, layout: str, level: str, saved: Callable[[str], Path], test_data: Path, tmp_path: Path
) -> None:
    folder = copied(saved(model), tmp_path / "folder")
    LAYOUTS[layout](folder)
    report = verify(folder, test_data / "tiny" / model / "f32.gguf", level=level, device=DEVICE)
    assert report.outcome == "PASSED", report.sentence
    assert not [result for result in report.results if result.status == "WARNED"]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["as_it_is", "as_4_57_writes_it"])
@pytest.mark.parametrize("model", MODELS)
def test_so_does_one_of_every_architecture(
    model: str, layout: str, saved: Callable[[str], Path], test_data: Path, tmp_path: Path
) -> None:
    folder = copied(saved(model), tmp_path / "folder")
    LAYOUTS[layout](folder)
    report = verify(folder, test_data / "tiny" / model / "f32.gguf", level="full")
    assert report.outcome == "PASSED", report.sentence


@pytest.mark.parametrize("record", [True, False], ids=["recorded", "not recorded"])
def test_our_own_folder_passes_with_a_card_and_git_in_it(
    record: bool, test_data: Path, tmp_path: Path
) -> None:
    source = test_data / "tiny" / "llama" / "f32.gguf"
    converter.convert(source, tmp_path / "made")
    with_a_card_and_git(tmp_path / "made")
    if not record:
        (tmp_path / "made" / "conversion.json").unlink()
    report = verify(tmp_path / "made", source)
    assert report.outcome == "PASSED", report.sentence
