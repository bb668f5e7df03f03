"""SmolLM2-135M-Instruct: both readings against transformers and llama.cpp on natural text."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from llorch.converter import convert
from llorch.runtime.chat import Chat
from llorch.runtime.description import describe
from llorch.runtime.loading import load
from llorch.runtime.measure.compare import compare_logits
from llorch.runtime.model import Model
from tests.runtime.prose import BEGINNINGS, QUESTIONS, TEXT


@pytest.fixture(scope="module")
def folder(real_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its float32 conversion."""
    path = tmp_path_factory.mktemp("real") / "smollm2"
    convert(real_model, path, dtype="float32")
    return path


@pytest.fixture(scope="module")
def gguf_model(real_model: Path) -> Iterator[Model]:
    with load(real_model) as model:
        yield model


@pytest.fixture(scope="module")
def folder_model(folder: Path) -> Iterator[Model]:
    with load(folder) as model:
        yield model


@pytest.fixture(scope="module")
def reference(folder: Path) -> Any:
    """The folder in transformers."""
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa"
    ).eval()


def test_both_readings_and_transformers_agree_on_200_tokens(
    gguf_model: Model, folder_model: Model, reference: Any
) -> None:
    ids = folder_model.tokenizer.encode(TEXT).ids[:200]
    assert len(ids) == 200
    assert gguf_model.tokenizer.encode(TEXT).ids[:200] == ids
    ggml, folder = gguf_model.logits(ids), folder_model.logits(ids)
    with torch.no_grad():
        theirs = reference(torch.tensor([ids])).logits[0]
    for expected, tested in ((folder, ggml), (theirs, folder), (theirs, ggml)):
        apart = compare_logits(expected, tested)
        assert apart.kl_mean < 1e-9
        assert apart.kl_max < 1e-8
        assert apart.agreement == 1


def test_it_answers_in_readable_english_the_same_from_both(gguf_model: Model, folder_model: Model) -> None:
    texts = [model.generate(BEGINNINGS[0], max_new_tokens=8).text for model in (gguf_model, folder_model)]
    assert texts[0].startswith(" Paris")
    assert texts[0] == texts[1]


def greedy(reference: Any, ids: list[int], tokens: int, end_ids: tuple[int, ...]) -> list[int]:
    """transformers' greedy continuation, up to an end token."""
    with torch.no_grad():
        whole = reference.generate(torch.tensor([ids]), max_new_tokens=tokens, do_sample=False)[0].tolist()
    new: list[int] = whole[len(ids) :]
    ends = [place for place, token in enumerate(new) if token in end_ids]
    return new[: ends[0]] if ends else new


@pytest.mark.slow
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_greedy_100_tokens_are_those_of_transformers(
    gguf_model: Model, folder_model: Model, reference: Any, beginning: str
) -> None:
    ids = folder_model.tokenizer.encode(beginning).ids
    expected = greedy(reference, ids, 100, folder_model.end_ids)
    for model in (gguf_model, folder_model):
        assert list(model.generate(beginning, max_new_tokens=100).ids) == expected


@pytest.mark.slow
@pytest.mark.parametrize("question", QUESTIONS)
def test_chat_prompts_and_greedy_answers_are_those_of_transformers(
    gguf_model: Model, folder_model: Model, folder: Path, reference: Any, question: str
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    messages = [{"role": "user", "content": question}]
    ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"]
    expected = greedy(reference, ids, 100, folder_model.end_ids)
    for model in (gguf_model, folder_model):
        stream = Chat(model).ask(question, max_new_tokens=100)
        list(stream)
        assert list(stream.prompt_ids) == ids
        assert stream.ids == expected


LLAMA_CPP = """
import json, sys
import xllamacpp
path, ids, positions, tokens = sys.argv[1], *map(json.loads, sys.argv[2:])
params = xllamacpp.CommonParams()
params.model.path, params.n_ctx, params.n_parallel = path, 512, 1
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
server = xllamacpp.Server(params)
for position in positions:
    request = {"prompt": ids[: position + 1], "n_predict": 1, "n_probs": tokens, "temperature": 0, "cache_prompt": True}
    answer = server.handle_completions(request)
    answer = answer if isinstance(answer, dict) else json.loads(answer)
    rows = answer["choices"][0]["logprobs"]["content"][0]["top_logprobs"]
    row = [0.0] * len(rows)
    for entry in rows:
        row[entry["id"]] = entry["logprob"]
    print("row", json.dumps(row), flush=True)
"""


def said_by_llama_cpp(path: Path, ids: list[int], positions: list[int], tokens: int) -> NDArray[np.float32]:
    """llama.cpp's log probabilities after each position, (positions, tokens), where its top token is text."""
    command = [sys.executable, "-c", LLAMA_CPP, str(path), *map(json.dumps, (ids, positions, tokens))]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [json.loads(line[4:]) for line in said.splitlines() if line.startswith("row ")]
    return np.array(rows, np.float32)


@pytest.mark.slow
def test_llama_cpp_differs_by_its_8_bit_activations_only(real_model: Path, gguf_model: Model) -> None:
    """In a child process, since its server can only be stopped with its process."""
    ids = gguf_model.tokenizer.encode(TEXT).ids[:200]
    positions = list(range(7, 200, 6))
    theirs = said_by_llama_cpp(real_model, ids, positions, gguf_model.vocabulary_size)
    assert theirs.shape == (len(positions), gguf_model.vocabulary_size)
    apart = compare_logits(gguf_model.logits(ids)[positions], theirs)
    assert 1e-5 < apart.kl_mean < 1e-2
    assert apart.largest_margin < 0.5


MEASURED = """
import json, sys
import torch, numpy, tokenizers
from llorch.formats.quants import compiled
from llorch import runtime
runtime.Model
torch.set_num_threads(1)

def kibibytes(field):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(field))

path, ids, new = sys.argv[1], json.load(sys.stdin), int(sys.argv[2])
before = kibibytes("VmRSS")
with runtime.load(path) as model:
    generation = model.generate(ids, max_new_tokens=new)
print(json.dumps({"ids": generation.ids, "bytes": 1024 * (kibibytes("VmHWM") - before)}))
"""


def long_prompt(model: Model, tokens: int) -> list[int]:
    ids = model.tokenizer.encode(TEXT + "\n\n").ids
    return (ids * (tokens // len(ids) + 1))[:tokens]


@pytest.mark.slow
def test_a_prompt_of_4096_tokens_is_right_and_takes_the_predicted_memory(
    real_model: Path, gguf_model: Model, reference: Any
) -> None:
    ids = long_prompt(gguf_model, 4096)
    said = subprocess.run(
        [sys.executable, "-c", MEASURED, str(real_model), "12"],
        input=json.dumps(ids), capture_output=True, text=True, check=True,
    )  # fmt: skip
    measured = json.loads(said.stdout)
    assert measured["ids"] == greedy(reference, ids, 12, gguf_model.end_ids)
    foretold = describe(real_model).for_positions(4096 + 12).total
    assert measured["bytes"] == pytest.approx(foretold, rel=0.1)


@pytest.mark.slow
def test_generation_is_right_up_to_the_end_of_the_context(gguf_model: Model, reference: Any) -> None:
    ids = long_prompt(gguf_model, gguf_model.n_ctx - 6)
    generation = gguf_model.generate(ids)
    assert len(generation.ids) == 6 or generation.finish == "end"
    assert list(generation.ids) == greedy(reference, ids, 6, gguf_model.end_ids)
