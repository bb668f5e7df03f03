"""SmolLM2-135M-Instruct, Q4_1: what a user gets of a model that people use; its logits are in tests/runtime."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch

from llorch import converter, runtime
from llorch.commands.convert.command import main as convert
from llorch.commands.registry.command import main as registry
from llorch.verification.sample import ODDITIES, PROSE
from tests.commands.conftest import invoke


@pytest.fixture(scope="module")
def folder(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The float32 conversion, whose weights are the file's without rounding."""
    made = tmp_path_factory.mktemp("real") / "SmolLM2"
    converter.convert(real_model, made, dtype="float32")
    return made


def test_transformers_loads_the_folder_without_a_warning_and_misses_nothing(folder: Path) -> None:
    import transformers

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            warned.append(record.getMessage())

    warned: list[str] = []
    kept, logger = Kept(logging.WARNING), logging.getLogger("transformers")
    logger.addHandler(kept)
    try:
        model, told = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, output_loading_info=True
        )
    finally:
        logger.removeHandler(kept)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert {key: list(value) for key, value in told.items() if value} == {}
    assert warned == []


def test_transformers_tokenizes_as_both_readings_do(real_model: Path, folder: Path) -> None:
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with runtime.load(real_model) as ggml, runtime.load(folder) as made:
        for text in (*ODDITIES, PROSE):
            expected = tokenizer(text)["input_ids"]
            assert made.tokenizer.encode(text).ids == expected
            assert ggml.tokenizer.encode(text).ids == expected


def test_the_commands_convert_verify_and_record_it(
    real_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = invoke(convert, real_model, "--registry", "registry.db", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["verification"]["outcome"] == "PASSED"
    others = {c["name"]: c["detail"] for c in document["verification"]["checks"] if c["status"] != "PASSED"}
    assert others == {"generate.greedy": "quick does not run every layer: --level full does"}
    assert document["conversion"]["dtype"] == "bfloat16"
    row = invoke(registry, "list", "--registry", "registry.db").stdout.split("\t")
    assert (row[0], row[5]) == ("smollm2-135m-instruct.q4_1", "PASSED")


def test_the_readmes_example_runs(real_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (Path(__file__).parent.parent / "README.md").read_text()
    example = readme.split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").symlink_to(real_model.absolute())
    names: dict[str, torch.Tensor] = {}
    exec(compile(example, "README.md", "exec"), names)
    assert names["logits"].shape == (5, 49152)
    assert names["logits"].dtype == torch.float32
