"""Whole models as a GPU holds and computes them, against the decoder on the processor."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from llorch import runtime
from llorch.converter import convert
from llorch.runtime.blocks.experts import Mixture
from llorch.runtime.errors import DoesNotFit, RequestError
from llorch.runtime.sampling import Choice, Sampling, sample_token
from llorch.runtime.traits import Routing
from llorch.verification import verify
from llorch.verification.checks import CHECKS
from llorch.verification.readings import Run
from llorch.verification.report import Status
from llorch.verification.subject import Subject
from tests.models.tiny import random_llama

PROMPT = [5, 9, 2, 70]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_llama(layers=1, width=32, heads=2, kv_heads=1, feed_forward=32, matrices="Q8_0").write(
        tmp_path_factory.mktemp("gpu") / "tiny.gguf"
    )


def stepped(model: runtime.Model, ids: list[int], prompt: int) -> torch.Tensor:
    """Logits after the prompt, and after every token behind it, one by one."""
    cache = model.new_cache(len(ids))
    rows = [model.step(ids[:prompt], cache), *(model.step([token], cache) for token in ids[prompt:])]
    return torch.stack(rows)


@pytest.mark.slow  # an interpreted kernel takes seconds
def test_prefill_and_steps_give_the_logits_of_the_processor(file: Path, held_on_gpu: str) -> None:
    expected = runtime.load(file).logits(PROMPT)
    model = runtime.load(file, device=held_on_gpu)
    assert model.sessions is not None
    assert model.sessions.fused
    got = stepped(model, PROMPT, prompt=3)
    assert torch.allclose(got, expected[2:], atol=1e-4)
    assert torch.allclose(model.logits(PROMPT), expected, atol=1e-4)


@pytest.mark.slow
def test_a_second_request_has_the_bits_of_the_first(file: Path, held_on_gpu: str) -> None:
    model = runtime.load(file, device=held_on_gpu)
    first = stepped(model, PROMPT, prompt=3)
    stepped(model, [80, 81, 82], prompt=2)  # leaves other keys and values in the memory that is used again
    assert torch.equal(stepped(model, PROMPT, prompt=3), first)


@pytest.mark.slow
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(0.8, top_k=40, top_p=0.9, seed=3)])
def test_tokens_computed_ahead_are_those_that_logits_give(
    file: Path, held_on_gpu: str, sampling: Sampling
) -> None:
    model = runtime.load(file, device=held_on_gpu)
    made = model.generate(PROMPT, max_new_tokens=3, sampling=sampling).ids
    by_logits, ids = [], list(PROMPT)
    for step in range(3):
        logits = stepped(model, ids, prompt=len(PROMPT))[-1].numpy()
        by_logits.append(sample_token(logits, ids, step, sampling))
        ids.append(by_logits[-1])
    assert list(made) == by_logits[: len(made)]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_requests_together_have_the_bits_of_each_alone(file: Path, held_on_gpu: str, mode: str) -> None:
    model = runtime.load(file, device=held_on_gpu, mode=mode)
    prompts = [PROMPT, [80, 81], [7, 7, 7]]  # three: a row of the step for four is computed twice
    alone = [stepped(model, [*prompt, 11, 12], prompt=len(prompt)) for prompt in prompts]
    caches = [model.new_cache(len(prompt) + 2) for prompt in prompts]
    for prompt, cache in zip(prompts, caches, strict=True):
        model.step(prompt, cache)
    for step, token in enumerate((11, 12), 1):
        together = model.step_together([token] * 3, caches)
        assert torch.equal(together, torch.stack([rows[step] for rows in alone]))


@pytest.mark.slow
def test_tokens_chosen_together_are_those_of_each_alone(file: Path, held_on_gpu: str) -> None:
    model = runtime.load(file, device=held_on_gpu)
    drawn, greedy = Choice(Sampling(1.2, seed=5), never=(3, 4)), Choice(Sampling(), never=[9])
    caches = [model.new_cache(len(PROMPT) + 1) for _ in range(4)]
    for cache in caches:
        model.step(PROMPT, cache)
    together = model.choose_together([11, 11], caches[:2], [drawn, greedy])()
    alone = [
        model.tokens_after(11, cache, 1, choice)
        for cache, choice in zip(caches[2:], (drawn, greedy), strict=True)
    ]
    assert [[token] for token in together] == [list(made) for made in alone if made is not None]


@pytest.mark.slow
def test_requests_that_take_turns_compute_what_each_does_alone(file: Path, held_on_gpu: str) -> None:
    model = runtime.load(file, device=held_on_gpu)
    prompts = [PROMPT, [80, 81]]
    alone = [model.generate(prompt, max_new_tokens=4).ids for prompt in prompts]
    streams = [model.stream(prompt, max_new_tokens=4) for prompt in prompts]
    for _ in range(5):
        for stream in streams:
            next(stream, None)
    assert [tuple(stream.ids) for stream in streams] == alone


@pytest.mark.slow
def test_fast_mode_differs_and_says_so(file: Path, held_on_gpu: str) -> None:
    exact, fast = (runtime.load(file, device=held_on_gpu, mode=mode) for mode in ("exact", "fast"))
    assert not torch.equal(stepped(exact, PROMPT, 3), stepped(fast, PROMPT, 3))
    assert (exact.mode, fast.mode) == ("exact", "fast")


@pytest.mark.slow
@pytest.mark.parametrize("family", ["lfm2", "qwen35", "mamba"])
def test_recurrent_layers_are_stepped_by_what_can_be_recorded(
    test_data: Path, held_on_gpu: str, family: str
) -> None:
    file, ids = test_data / "families" / family / "f32.gguf", [5, 9, 2, 70, 11]
    model = runtime.load(file, device=held_on_gpu)
    assert model.sessions is not None
    assert model.sessions.records
    assert not model.sessions.fused
    expected = runtime.load(file).logits(ids)
    first = stepped(model, ids, prompt=3)
    assert torch.allclose(first, expected[2:], atol=1e-4)
    # in the same memory, whose states were another's
    assert torch.equal(stepped(model, ids, prompt=3), first)
    drawn = [model.generate(ids, max_new_tokens=3).ids for model in (model, runtime.load(file))]
    assert drawn[0] == drawn[1]


@pytest.mark.slow
@pytest.mark.parametrize("rows", [3, 20])  # by rows, and by widened weights
def test_a_router_decides_in_float32_in_fast_mode_too(test_data: Path, held_on_gpu: str, rows: int) -> None:
    model = runtime.load(test_data / "tiny/mixtral/q4_k_m.gguf", device=held_on_gpu, mode="fast")
    ffn = model.decoder.weights.layers[0].ffn
    assert isinstance(ffn, Mixture)
    x = torch.randn(rows, model.traits.hidden_size, generator=torch.Generator().manual_seed(4))
    router = ffn.router.weight
    expected = x.double() @ router.dequantize(0, router.rows).double().cpu().T
    assert torch.allclose(
        ffn.router(x.to(router.numbers.device)).double().cpu(), expected, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("format", ["gguf", "folder"])
def test_a_lazy_model_reads_the_layers_that_are_run(
    format: str, held_on_gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llorch.runtime.gpu import transfer

    model_file = random_llama(layers=3, width=32, heads=2, kv_heads=1, feed_forward=32, matrices="Q8_0")
    path = model_file.write(tmp_path / "three.gguf")
    if format == "folder":
        convert(path, tmp_path / "folder", dtype="float32")
        path = tmp_path / "folder"
    uploads: list[int] = []
    upload = transfer.Uploader.upload

    def count(self: transfer.Uploader, nbytes: int, *rest: Any) -> torch.Tensor:
        uploads.append(nbytes)
        return upload(self, nbytes, *rest)

    monkeypatch.setattr(transfer.Uploader, "upload", count)
    model = runtime.load(path, device=held_on_gpu, lazy=True)
    assert model.sessions is None
    assert not uploads
    with torch.inference_mode():
        run = Run(model, PROMPT)
        run.layer(2)
        assert len(uploads) == 1 + 7  # the embedding, and what a layer multiplies by
        monkeypatch.undo()
        whole = Run(runtime.load(path), PROMPT)
        whole.layer(2)
        assert torch.allclose(run.hidden, whole.hidden, atol=1e-5)
    assert torch.allclose(model.logits(PROMPT), runtime.load(path).logits(PROMPT), atol=1e-4)


def test_what_does_not_fit_is_told_with_the_numbers(
    file: Path, held_on_gpu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llorch.runtime import loading

    monkeypatch.setattr(loading, "_free_bytes", lambda _: (10_000, 20_000))
    monkeypatch.setattr(loading, "choose_device", lambda name: held_on_gpu if name == "auto" else name)
    with pytest.raises(DoesNotFit, match=r"tiny\.gguf': its weights take .* on .*, of which .* are free"):
        runtime.load(file, device=held_on_gpu)
    assert str(runtime.load(file, device="auto").numbers.device) == "cpu"
    with pytest.raises(DoesNotFit, match=f"on {held_on_gpu}, of which"):
        runtime.load(file, device=f"{held_on_gpu},{held_on_gpu}")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float16"])
def test_other_arithmetic_is_computed_from_what_the_gpu_holds(
    file: Path, held_on_gpu: str, dtype: Literal["float64", "float16"]
) -> None:
    from llorch.runtime.gpu.matrix import GpuMatrix

    expected = runtime.load(file, dtype="float64").logits(PROMPT)
    model = runtime.load(file, device=held_on_gpu, dtype=dtype)
    assert isinstance(model.decoder.weights.head.weight, GpuMatrix)
    assert model.sessions is not None
    assert not model.sessions.fused
    got = model.logits(PROMPT)
    assert torch.allclose(got, expected, atol=1e-5 if dtype == "float64" else 0.05)
    assert not torch.equal(got, runtime.load(file, device=held_on_gpu).logits(PROMPT))


@pytest.mark.slow
def test_two_halves_on_one_gpu_compute_the_same(file: Path, held_on_gpu: str) -> None:
    expected = runtime.load(file).logits(PROMPT)
    model = runtime.load(file, device=f"{held_on_gpu},{held_on_gpu}")
    assert model.placed == f"layers 0 to 0 on {held_on_gpu}"
    assert torch.allclose(model.logits(PROMPT), expected, atol=1e-4)
    assert torch.allclose(stepped(model, PROMPT, prompt=3), expected[2:], atol=1e-4)


def test_a_verification_by_itself_takes_the_processor_where_its_readings_do_not_fit(
    file: Path,
    held_on_gpu: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from llorch.runtime import devices, loading

    convert(file, tmp_path / "folder")
    monkeypatch.setattr(loading, "_free_bytes", lambda _: (10_000, 20_000))
    monkeypatch.setattr(devices, "choose_device", lambda name: held_on_gpu if name == "auto" else name)
    monkeypatch.setattr(runtime, "choose_device", devices.choose_device, raising=False)
    with caplog.at_level(logging.WARNING):
        report = verify(tmp_path / "folder", file, device="auto")
    assert (report.outcome, report.device) == ("PASSED", "cpu")
    assert "its weights take" in caplog.text


def test_a_device_that_is_not_there_is_a_request_error(file: Path) -> None:
    with pytest.raises(RequestError, match="cuda:99"):
        runtime.load(file, device="cuda:99")


@pytest.mark.slow
def test_a_quick_verification_on_a_gpu_reads_the_layers_that_it_runs(
    held_on_gpu: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from llorch.runtime.gpu.fuse import plain

    monkeypatch.setattr("llorch.verification.subject.LOCKSTEP_BYTES", 0)
    file = random_llama(layers=6, width=32, heads=2, kv_heads=1, feed_forward=32, matrices="Q8_0").write(
        tmp_path / "six.gguf"
    )
    convert(file, tmp_path / "folder", dtype="float32")
    with Subject(tmp_path / "folder", file, level="quick", device=held_on_gpu) as subject:
        assert len(subject.layers) < 6
        for name in ("lockstep", "logits.mean", "logits.worst", "logits.chunked"):
            assert CHECKS[name](subject).status == Status.PASSED
        layers = subject.ggml_reading.decoder.weights.layers
        read = [i for i, layer in enumerate(layers) if "_matrix" in vars(plain(layer)[0].output.weight)]
        assert read == list(subject.layers)


def test_a_trait_that_no_kernel_knows_leaves_a_model_to_the_decoder(file: Path, held_on_gpu: str) -> None:
    from llorch.runtime.gpu.fuse import fuse

    model = runtime.load(file, device=held_on_gpu)
    traits, weights = model.traits, model.decoder.weights
    routing = Routing(experts=4, used=2, renormalised=True)
    assert fuse(traits, weights)
    assert fuse(replace(traits, routing=routing), weights)
    assert not fuse(replace(traits, routing=replace(routing, shared_scale=0.5)), weights)
    assert not fuse(replace(traits, routing=replace(routing, scores="sigmoid")), weights)
    assert not fuse(replace(traits, sub_norms=True), weights)
    assert not fuse(replace(traits, value_scale=2.0), weights)
    assert not fuse(replace(traits, activation="relu2"), weights)
