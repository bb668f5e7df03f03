"""convert(): exact to the bit, deterministic, and nothing half done whatever interrupts it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.converter import NotEnoughSpace, TargetBusy, TargetExists, convert
from llorch.converter.write import dequantize as weights
from llorch.converter.write import pipeline
from llorch.formats.safetensors import read_safetensors
from tests.models.gguf_writer import TYPE_BF16, TYPE_F16, TYPE_F32, TYPE_Q8_0, Model
from tests.models.tiny import WIDTH, tiny_llama

MODELS = ["llama", "mistral", "mixtral", "phi2", "phi3", "qwen2", "qwen2moe", "qwen3", "gemma2", "gemma3"]
NORM = "model.norm.weight"

# A child process that converts argv[1] to argv[2]; its first line of output says that it has begun.
CHILD = """
import sys
from llorch.converter import convert
from llorch.converter.write import pipeline
pipeline.CHECKPOINT_BYTES = 1 << 18
print("ready", flush=True)
convert(sys.argv[1], sys.argv[2], dtype="float32", threads=2)
"""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tensors(folder: Path) -> dict[str, bytes]:
    stored = read_safetensors(folder)
    files = [part.path.read_bytes() for part in stored.parts]
    return {t.name: files[t.part][t.offset : t.offset + t.nbytes] for t in stored.tensors.values()}


def dtypes(folder: Path) -> dict[str, str]:
    return {tensor.name: tensor.dtype for tensor in read_safetensors(folder).tensors.values()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def content(folder: Path) -> dict[str, bytes]:
    """Return every file except the two records, which contain times."""
    files = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {
        name: path.read_bytes()
        for name, path in files.items()
        if name not in ("conversion.json", "provenance.intoto.json")
    }


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return saved(tmp_path, tiny_llama())


def saved(folder: Path, model: Model) -> Path:
    source = folder / "source" / "tiny.gguf"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(model.build())
    return source


# -- right to the bit


@pytest.mark.parametrize("model", MODELS)
def test_float32_gives_the_original_tensors(test_data: Path, tmp_path: Path, model: str) -> None:
    convert(test_data / "tiny" / model / "f32.gguf", tmp_path / "out", dtype="float32")
    original = json.loads((test_data / "tiny" / model / "tensors.json").read_text())
    assert {name: sha256(data) for name, data in tensors(tmp_path / "out").items()} == {
        name: row["sha256"] for name, row in original.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_auto_gives_the_original_tensors_in_the_16_bits_that_hold_them(
    test_data: Path, tmp_path: Path, model: str
) -> None:
    """According to the models' README, every original weight is a bfloat16 value."""
    conversion = convert(test_data / "tiny" / model / "f32.gguf", tmp_path / "out")
    original = json.loads((test_data / "tiny" / model / "tensors.json").read_text())
    assert conversion.dtype == "bfloat16"
    for name, data in tensors(tmp_path / "out").items():
        wide = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).tobytes()
        assert sha256(wide) == original[name]["sha256"], name


@pytest.mark.parametrize("file", ["q4_k_m", "f16"])
def test_float32_of_tensors_that_stay_in_place_is_what_ggml_dequantizes(
    test_data: Path, tmp_path: Path, file: str
) -> None:
    conversion = convert(test_data / "tiny" / "llama" / f"{file}.gguf", tmp_path / "out", dtype="float32")
    reference = json.loads((test_data / "tiny" / "llama" / f"{file}_dequant.json").read_text())
    compared = 0
    for row in conversion.tensors:
        if row.operation is None and len(row.sources) == 1:
            assert row.sha256 == reference[row.sources[0].tensor]["sha256"], row.name
            compared += 1
    assert compared == len(conversion.tensors) - 2 * 3  # all but q and k of three layers


def test_sixteen_bits_are_float32_rounded_once(test_data: Path, tmp_path: Path) -> None:
    import torch

    source = test_data / "tiny" / "llama" / "q4_k_m.gguf"
    for dtype in ("float32", "bfloat16", "float16"):
        convert(source, tmp_path / dtype, dtype=dtype)
    wide = tensors(tmp_path / "float32")
    for dtype, kind in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        for name, data in tensors(tmp_path / dtype).items():
            exact = torch.frombuffer(bytearray(wide[name]), dtype=torch.float32)
            assert exact.to(kind).view(torch.int16).numpy().tobytes() == data, name


def test_the_library_reads_what_we_write(tiny: Path, tmp_path: Path) -> None:
    from safetensors import safe_open

    convert(tiny, tmp_path / "out", dtype="float32")
    ours = tensors(tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "np") as file:
        assert file.metadata() == {"format": "pt"}
        assert {name: file.get_tensor(name).tobytes() for name in file.keys()} == ours  # noqa: SIM118


def test_shards_hold_the_same_tensors_as_one_file(tiny: Path, tmp_path: Path) -> None:
    one = convert(tiny, tmp_path / "one")
    many = convert(tiny, tmp_path / "many", max_shard_size=5000)
    assert tensors(tmp_path / "many") == tensors(tmp_path / "one")
    assert many.weights == one.weights
    index = json.loads((tmp_path / "many" / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == {row.name: row.file for row in many.tensors}
    assert index["metadata"]["total_size"] == sum(row.size for row in many.tensors)


def test_compiled_and_plain_dequantization_write_the_same_bytes(
    test_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = test_data / "tiny" / "mixtral" / "q4_k_m.gguf"
    convert(source, tmp_path / "plain")
    monkeypatch.setattr(weights, "PLAIN_BELOW", 0)
    convert(source, tmp_path / "fast")
    assert content(tmp_path / "fast") == content(tmp_path / "plain")


def test_output_does_not_depend_on_threads(test_data: Path, tmp_path: Path) -> None:
    source = test_data / "tiny" / "phi3" / "q4_k_m.gguf"
    folders = [tmp_path / str(threads) for threads in (1, 2, 4)]
    conversions = [convert(source, folder, threads=int(folder.name)) for folder in folders]
    assert content(folders[0]) == content(folders[1]) == content(folders[2])
    assert len({conversion.tree for conversion in conversions}) == 1


def test_a_small_model_is_converted_without_numba(tiny: Path, tmp_path: Path) -> None:
    code = f"from llorch.converter import convert; convert({str(tiny)!r}, {str(tmp_path / 'out')!r})\n"
    code += "import sys; print([m for m in ('numba', 'torch', 'tokenizers') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


# -- auto


def f32(values: NDArray[np.float32]) -> bytes:
    return values.astype("<f4").tobytes()


def all_in(model: Model, type: int, value: Callable[[int], NDArray[np.float32]]) -> Model:
    """Return every tensor in this type; value gives n weights."""
    for row in model.tensors:
        wide = value(int(np.prod(row.ne)))
        if type == TYPE_BF16:
            data = (wide.view(np.uint32) >> 16).astype("<u2").tobytes()
        else:
            data = wide.astype({TYPE_F32: "<f4", TYPE_F16: "<f2"}[type]).tobytes()
        row.type, row.data = type, data
    return model


def bf16_only(n: int) -> NDArray[np.float32]:
    """Powers of two, some too small for float16."""
    return (2.0 ** -(np.arange(n) % 100)).astype(np.float32)


def f16_only(n: int) -> NDArray[np.float32]:
    """1 + i/1024: eleven significant bits, three more than bfloat16 has."""
    return (1 + (np.arange(n) % 1024) / 1024).astype(np.float32)


def either(n: int) -> NDArray[np.float32]:
    return (np.arange(n) % 128 / 64).astype(np.float32)


def neither(n: int) -> NDArray[np.float32]:
    return (np.arange(n) / 3 + 1).astype(np.float32)


@pytest.mark.parametrize(
    ("matrices", "norms", "expected"),
    [
        ((TYPE_F32, neither), (TYPE_F32, neither), ("F32", "F32")),
        ((TYPE_F32, bf16_only), (TYPE_F32, bf16_only), ("BF16", "BF16")),
        ((TYPE_F32, f16_only), (TYPE_F32, f16_only), ("F16", "F16")),
        ((TYPE_F32, either), (TYPE_F32, either), ("BF16", "BF16")),
        ((TYPE_F16, either), (TYPE_F32, either), ("F16", "F16")),
        ((TYPE_F16, f16_only), (TYPE_F32, neither), ("F16", "F32")),
        ((TYPE_F16, f16_only), (TYPE_F32, bf16_only), ("F16", "BF16")),
        ((TYPE_BF16, bf16_only), (TYPE_F32, either), ("BF16", "BF16")),
        ((TYPE_BF16, bf16_only), (TYPE_F32, neither), ("BF16", "F32")),
        ((TYPE_F32, neither), (TYPE_F32, bf16_only), ("F32", "BF16")),
    ],
)
def test_auto_keeps_the_narrowest_type_that_loses_nothing(
    tmp_path: Path,
    matrices: tuple[int, Callable[[int], NDArray[np.float32]]],
    norms: tuple[int, Callable[[int], NDArray[np.float32]]],
    expected: tuple[str, str],
) -> None:
    model = all_in(tiny_llama(), *matrices)
    for row in model.tensors:
        if "norm" in str(row.name):
            row.type, row.data = norms[0], f32(norms[1](WIDTH))
    conversion = convert(saved(tmp_path, model), tmp_path / "out")
    written = dtypes(tmp_path / "out")
    assert {written[name] for name in written if "norm" in name} == {expected[1]}
    assert {written[name] for name in written if "norm" not in name} == {expected[0]}
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    model_dtype = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[expected[0]]
    assert (config["dtype"], config["torch_dtype"], conversion.dtype) == (model_dtype,) * 3
    told = [warning for warning in conversion.warnings if "may round" in warning]
    assert bool(told) == (expected[0] != expected[1] and expected[0] != "F32")
    wide = convert(saved(tmp_path, model), tmp_path / "wide", dtype="float32")
    assert wide.dtype == "float32"
    for name, data in tensors(tmp_path / "out").items():  # nothing was lost
        numbers = np.frombuffer(data, {"F32": "<u4", "F16": "<f2", "BF16": "<u2"}[written[name]])
        back = numbers.astype(np.uint32) << 16 if written[name] == "BF16" else numbers
        back = back.view(np.float32) if written[name] in ("F32", "BF16") else back.astype(np.float32)
        assert back.tobytes() == tensors(tmp_path / "wide")[name]


def test_a_quantized_source_becomes_bfloat16_as_a_whole(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "out")
    assert set(dtypes(tmp_path / "out").values()) == {"BF16"}


# -- what cannot be converted


def without_anything_left(folder: Path) -> None:
    assert names(folder) == ["source"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["auto", "float32", "float16", "bfloat16"])
def test_a_weight_that_is_not_finite_is_an_error_with_its_place(
    tmp_path: Path, value: float, dtype: str
) -> None:
    model = tiny_llama()
    norm = np.ones(WIDTH, np.float32)
    norm[13] = value
    model.tensor("blk.0.ffn_norm.weight", [WIDTH], TYPE_F32, data=f32(norm))
    source = saved(tmp_path, model)
    with pytest.raises(
        MalformedInput, match=r"tensor 'blk.0.ffn_norm.weight': weight 13 is not finite"
    ) as error:
        convert(source, tmp_path / "out", dtype=dtype)
    assert error.value.path == source
    at = error.value.offset
    assert at is not None
    assert source.read_bytes()[at : at + 4] == np.float32(value).tobytes()
    without_anything_left(tmp_path)


def test_a_scale_that_is_not_finite_is_an_error_that_names_the_block(tmp_path: Path) -> None:
    model = tiny_llama()
    row = next(row for row in model.tensors if row.name == "blk.0.attn_k.weight")
    data = bytearray(row.data)
    data[34 * 5 : 34 * 5 + 2] = np.float16("inf").tobytes()
    model.tensor("blk.0.attn_k.weight", row.ne, TYPE_Q8_0, data=bytes(data))
    with pytest.raises(MalformedInput, match=r"'blk.0.attn_k.weight': block 5 \(Q8_0\) is not finite"):
        convert(saved(tmp_path, model), tmp_path / "out")
    without_anything_left(tmp_path)


@pytest.mark.parametrize("name", ["blk.0.ffn_norm.weight", "blk.0.attn_q.weight"])
def test_a_weight_too_large_for_float16_is_an_error_that_says_what_to_do(tmp_path: Path, name: str) -> None:
    model = all_in(tiny_llama(), TYPE_F32, either)
    row = next(row for row in model.tensors if row.name == name)
    row.data = f32(np.full(int(np.prod(row.ne)), 70000, np.float32))
    source = saved(tmp_path, model)
    with pytest.raises(UnsupportedInput, match=rf"'{name}': has weights as large as 70000.*bfloat16"):
        convert(source, tmp_path / "out", dtype="float16")
    without_anything_left(tmp_path)
    convert(source, tmp_path / "out", dtype="bfloat16")


def test_with_strict_a_warning_is_an_error_and_nothing_is_written(tmp_path: Path) -> None:
    model = all_in(tiny_llama(), TYPE_F16, f16_only)
    model.tensor("output_norm.weight", [WIDTH], TYPE_F32, data=f32(neither(WIDTH)))
    source = saved(tmp_path, model)
    with pytest.raises(UnsupportedInput, match=r"model\.norm\.weight"):
        convert(source, tmp_path / "out", strict=True)
    without_anything_left(tmp_path)
    assert any(NORM in warning for warning in convert(source, tmp_path / "out").warnings)


@pytest.mark.parametrize(
    "options", [{"dtype": "int8"}, {"max_shard_size": 0}, {"threads": 0}], ids=lambda row: next(iter(row))
)
def test_invalid_options_are_refused(tiny: Path, tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        convert(tiny, tmp_path / "out", **options)  # type: ignore[arg-type]


def test_errors_name_the_file(tmp_path: Path) -> None:
    source = saved(tmp_path, tiny_llama().drop("blk.0.ffn_up.weight"))
    with pytest.raises(MalformedInput, match="ffn_up") as error:
        convert(source, tmp_path / "out")
    assert str(error.value).startswith(f"{source}: ")
    without_anything_left(tmp_path)


# -- the target


def test_an_existing_folder_is_kept_or_replaced(tiny: Path, tmp_path: Path) -> None:
    first = convert(tiny, tmp_path / "out", dtype="float32")
    with pytest.raises(TargetExists):
        convert(tiny, tmp_path / "out")
    assert content(tmp_path / "out")["model.safetensors"]
    second = convert(tiny, tmp_path / "out", force=True)
    assert (first.dtype, second.dtype) == ("float32", "bfloat16")
    assert names(tmp_path) == ["out", "source"]


def test_a_source_inside_the_target_is_never_replaced(tiny: Path) -> None:
    with pytest.raises(TargetExists, match=r"'tiny\.gguf'"):
        convert(tiny, tiny.parent, force=True)
    with pytest.raises(TargetExists, match="is no folder"):
        convert(tiny, tiny, force=True)
    assert names(tiny.parent) == ["tiny.gguf"]


def test_one_of_two_processes_writes_and_the_other_fails_at_once(tiny: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def second(done: int, total: int) -> None:
        if not seen:
            with pytest.raises(TargetBusy) as error:
                convert(tiny, tmp_path / "out")
            seen.append(str(error.value))

    convert(tiny, tmp_path / "out", progress=second)
    assert f"pid {os.getpid()}" in seen[0]
    assert names(tmp_path) == ["out", "source"]


def test_six_simultaneous_starts_end_with_one_complete_folder(tiny: Path, tmp_path: Path) -> None:
    code = "import sys; from llorch.converter import convert, TargetBusy, TargetExists\n"
    code += "try: convert(sys.argv[1], sys.argv[2])\n"
    code += "except (TargetBusy, TargetExists): sys.exit(6)"
    children = [subprocess.Popen([sys.executable, "-c", code, tiny, tmp_path / "out"]) for _ in range(6)]
    statuses = sorted(child.wait() for child in children)
    assert statuses == [0, 6, 6, 6, 6, 6]
    assert names(tmp_path) == ["out", "source"]
    convert(tiny, tmp_path / "alone")
    assert content(tmp_path / "out") == content(tmp_path / "alone")


# -- what can fail on the way


FAULTS = {
    "pwrite": errno.ENOSPC,
    "posix_fallocate": errno.ENOSPC,
    "fsync": errno.EIO,
    "preadv": errno.EIO,
    "mkdir": errno.EACCES,
    "open": errno.EDQUOT,
    "rename": errno.EIO,
}


@pytest.mark.parametrize("call", FAULTS)
@pytest.mark.parametrize("for_ever", [False, True], ids=["once", "from then on"])
def test_whichever_call_fails_nothing_is_left_and_the_next_run_succeeds(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, for_ever: bool
) -> None:
    """The n-th call of a kind fails, for n = 1, 2, …, until a run meets no fault."""
    expected = content(convert(tiny, tmp_path / "expected").folder)
    real, count, fails_at = getattr(os, call), [0], [0]

    def counted(*arguments: object, **keywords: object) -> object:
        count[0] += 1
        if count[0] == fails_at[0] or (for_ever and count[0] > fails_at[0] > 0):
            raise OSError(FAULTS[call], os.strerror(FAULTS[call]))
        return real(*arguments, **keywords)

    met = []
    for n in range(1, 200):
        monkeypatch.setattr(os, call, counted)
        count[0], fails_at[0] = 0, n
        try:
            convert(tiny, tmp_path / "out", threads=1)
        except OSError as error:
            met.append((error.errno, (tmp_path / "out").exists()))
        else:
            break
        finally:
            monkeypatch.undo()
        if not for_ever:  # the removal uses the same calls
            assert names(tmp_path) == ["expected", "source"], n
    else:
        pytest.fail("every run met a fault")
    assert set(met) == {(FAULTS[call], False)}
    assert content(tmp_path / "out") == expected
    assert names(tmp_path) == ["expected", "out", "source"]


def test_too_little_space_is_an_error_with_both_numbers(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    fields = {name: getattr(real, name) for name in dir(real) if name.startswith("f_")}
    monkeypatch.setattr(os, "statvfs", lambda _: type("Full", (), {**fields, "f_bavail": 1}))
    with pytest.raises(NotEnoughSpace) as error:
        convert(tiny, tmp_path / "out")
    assert error.value.available_bytes == real.f_frsize
    without_anything_left(tmp_path)


def test_a_source_that_is_written_to_meanwhile_is_an_error(tiny: Path, tmp_path: Path) -> None:
    def touched(done: int, total: int) -> None:
        with tiny.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"!")

    with pytest.raises(OSError, match="changed") as error:
        convert(tiny, tmp_path / "out", progress=touched)
    assert error.value.filename == str(tiny)
    without_anything_left(tmp_path)


def test_a_source_that_is_truncated_meanwhile_is_reported_as_changed(tmp_path: Path) -> None:
    source = saved(tmp_path, tiny_llama())
    with pytest.raises(OSError, match="changed"):
        convert(source, tmp_path / "out", progress=lambda done, total: os.truncate(source, 100_000))
    without_anything_left(tmp_path)


def test_an_interrupt_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tiny, tmp_path / "out", progress=interrupted)
    without_anything_left(tmp_path)


# -- kills


@pytest.fixture
def child() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", CHILD, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def killed_at_random(
    start: Callable[..., subprocess.Popen[str]], source: Path, out: Path, seed: int, within_s: float
) -> None:
    process = start(source, out)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.Random(seed).uniform(0, within_s))
    process.send_signal(signal.SIGKILL)
    process.wait()


def require_whole_after_kills(
    start: Callable[..., subprocess.Popen[str]], source: Path, folder: Path, kills: int
) -> None:
    """Kill run after run, each continuing the previous one, then let one finish."""
    begun = time.monotonic()
    expected = convert(source, folder / "expected", dtype="float32")
    whole_s = time.monotonic() - begun
    for seed in range(kills):
        killed_at_random(start, source, folder / "out", seed, whole_s)
        if (
            folder / "out"
        ).exists():  # finished before the kill: it is complete, and the next run starts anew
            assert content(folder / "out") == content(folder / "expected")
            shutil.rmtree(folder / "out")
    assert convert(source, folder / "out", dtype="float32").tree == expected.tree
    assert content(folder / "out") == content(folder / "expected")
    assert names(folder) == ["expected", "out"]


def test_a_killed_conversion_leaves_no_target_and_the_next_one_succeeds(
    test_data: Path, tmp_path: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    require_whole_after_kills(child, test_data / "tiny" / "mixtral" / "q4_k_m.gguf", tmp_path, kills=5)


@pytest.mark.slow
def test_twenty_kills_at_random_moments_change_nothing(
    real_model: Path, tmp_path: Path, child: Callable[..., subprocess.Popen[str]]
) -> None:
    require_whole_after_kills(child, real_model, tmp_path, kills=20)


def killed_before_it_was_published(source: Path, out: Path) -> None:
    """Simulate a run whose weights are all on disk, killed before anything else."""
    code = "import os, sys; from llorch.converter import conversion\n"
    code += "conversion._write_others = lambda *_: os.kill(os.getpid(), 9)\n"
    code += "conversion.convert(sys.argv[1], sys.argv[2])"
    assert (
        subprocess.run([sys.executable, "-c", code, source, out], check=False).returncode == -signal.SIGKILL
    )
    assert not out.exists()


def test_tensors_that_a_killed_run_finished_are_not_converted_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert(tiny, tmp_path / "expected")
    killed_before_it_was_published(tiny, tmp_path / "out")
    monkeypatch.setattr(pipeline, "converted_bytes", lambda *_: pytest.fail("a tensor was converted again"))
    convert(tiny, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "expected")
    assert names(tmp_path) == ["expected", "out", "source"]


def test_a_killed_run_is_not_continued_with_other_options(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "expected", dtype="float16")
    killed_before_it_was_published(tiny, tmp_path / "out")
    convert(tiny, tmp_path / "out", dtype="float16")
    assert content(tmp_path / "out") == content(tmp_path / "expected")
    assert names(tmp_path) == ["expected", "out", "source"]


def test_files_of_a_killed_run_are_not_trusted_without_their_digest(tiny: Path, tmp_path: Path) -> None:
    convert(tiny, tmp_path / "expected")
    killed_before_it_was_published(tiny, tmp_path / "out")
    (left,) = tmp_path.glob(".out.staging-*/folder/model.safetensors")
    with left.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        file.write(b"bit rot")
    convert(tiny, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "expected")
    assert names(tmp_path) == ["expected", "out", "source"]
