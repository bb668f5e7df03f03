"""The pipeline against the same work done plainly, for any plan, number of threads and piece size."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llorch.base.errors import MalformedInput
from llorch.base.progress import Progress
from llorch.converter.plan.schedule import (
    BytesToHash,
    PlacedTensor,
    ReadBack,
    SliceToConvert,
    schedule,
    written_order,
)
from llorch.converter.plan.segments import OutputTensor, Segment
from llorch.converter.schema.architecture import Spread
from llorch.converter.schema.operations import Operation, rope_halves, subtract_one, transpose
from llorch.converter.write import pipeline
from llorch.converter.write.pipeline import Digests, Job, OpenFile
from llorch.formats.gguf.file import Header, Part, Tensor
from llorch.formats.gguf.metadata import Metadata
from llorch.formats.gguf.tensor_data import TensorData
from llorch.formats.model_file import Identity
from llorch.formats.quants import by_name, decode
from llorch.formats.safetensors import Layout, lay_out, read_safetensors

COLUMNS = 32  # a row is one block of Q8_0
TYPES = ("F32", "F16", "BF16", "Q8_0")


@dataclass
class Source:
    """A header over our own files: tensors with gaps between them, and header bytes that nobody parses."""

    header: Header
    content: list[bytes]

    def weights(self, segment: Segment) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
        tensor = segment.source
        raw = np.frombuffer(self.content[tensor.part], np.uint8)[
            tensor.offset : tensor.offset + tensor.nbytes
        ]
        rows = decode(tensor.type, raw).reshape(-1, COLUMNS)
        return rows[segment.first : segment.first + segment.rows]


def random_bytes(type_name: str, rows: int, seed: int) -> bytes:
    weights = np.random.default_rng(seed).standard_normal((rows, COLUMNS)).astype(np.float32)
    if type_name == "F32":
        return weights.tobytes()
    if type_name == "F16":
        return weights.astype(np.float16).tobytes()
    if type_name == "BF16":
        return (weights.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    scales = np.abs(weights).max(1).astype(np.float16)
    quants = (weights * 50).clip(-127, 127).astype(np.int8)
    return b"".join(d.tobytes() + q.tobytes() for d, q in zip(scales, quants, strict=True))


def make_source(folder: Path, tensors: Sequence[tuple[str, int, int]], parts: int = 1) -> Source:
    """tensors: (type, rows, bytes of the gap before it)."""
    content, made = [bytearray(b"header" * 7) for _ in range(parts)], {}
    for number, (type_name, rows, gap) in enumerate(tensors):
        part, data = number % parts, random_bytes(type_name, rows, number)
        content[part] += bytes(gap)
        shape = (rows, COLUMNS)
        name = f"tensor{number}"
        made[name] = Tensor(name, shape, by_name(type_name), part, len(content[part]), len(data))
        content[part] += data
    files = []
    for number, bytes_ in enumerate(content):
        bytes_ += b"tail"
        path = folder / f"part{number}"
        path.write_bytes(bytes_)
        fd = os.open(path, os.O_RDONLY)
        files.append(Part(path, Identity.of(fd), 3, 42))
        os.close(fd)
    return Source(Header(tuple(files), Metadata(), made), [bytes(b) for b in content])


def run_job(
    source: Source,
    outputs: Sequence[OutputTensor],
    folder: Path,
    *,
    threads: int = 1,
    piece_weights: int = 1 << 20,
    shard: int = 1 << 40,
    finished: Mapping[str, str] | None = None,
    checkpoint: Callable[[Mapping[str, str]], None] = lambda finished: None,
    progress: Progress | None = None,
) -> tuple[Layout, Digests]:
    ordered = written_order(outputs)
    layout = lay_out(((o.name, str(o.dtype), o.shape) for o in ordered), shard)
    placed = placed_by_name(ordered, layout)
    flags = os.O_RDWR | os.O_CREAT
    files = [
        OpenFile(folder / file.name, os.open(folder / file.name, flags), file.header, file.size_bytes)
        for file in layout.files
    ]
    for file in files:
        os.ftruncate(file.fd, file.size_bytes)
    if layout.index is not None:
        (folder / "model.safetensors.index.json").write_bytes(layout.index)
    try:
        with TensorData(source.header) as data:
            job = Job(source.header, data, placed, files, finished or {}, checkpoint, threads, piece_weights)
            return layout, pipeline.write(job, progress)
    finally:
        for file in files:
            os.close(file.fd)


def placed_by_name(outputs: Sequence[OutputTensor], layout: Layout) -> list[PlacedTensor]:
    by_name = {output.name: output for output in outputs}
    return [PlacedTensor(by_name[stored.name], stored) for stored in layout.tensors]


def expected_bytes(source: Source, output: OutputTensor) -> bytes:
    """Return the bytes of one tensor, computed all at once by the definitions."""
    rows = np.concatenate([source.weights(segment) for segment in output.segments])
    if output.operation is not None:
        rows = output.operation.forward(rows)
    rows = np.ascontiguousarray(rows)
    if output.dtype == "F32":
        return rows.tobytes()
    if output.dtype == "F16":
        return rows.astype(np.float16).tobytes()
    bits = rows.view(np.uint32).astype(np.uint64)  # no torch here: ties to even by the definition
    low, high = bits & 0xFFFF, bits >> 16
    high += (low > 0x8000) | ((low == 0x8000) & (high & 1 == 1))
    return high.astype(np.uint16).tobytes()


OPERATIONS: list[Operation | None] = [None, rope_halves(4), subtract_one()]


@st.composite
def plans(
    draw: st.DrawFn,
) -> tuple[list[tuple[str, int, int]], list[tuple[str, int, list[tuple[int, int, int]]]]]:
    """Tensors, and outputs that use each of their rows once, cut anywhere and joined in any order."""
    tensors = draw(
        st.lists(
            st.tuples(
                st.sampled_from(TYPES), st.integers(1, 6).map(lambda n: 4 * n), st.sampled_from([0, 8, 96])
            ),
            min_size=1,
            max_size=5,
        )
    )
    segments = []
    for number, (_, rows, _) in enumerate(tensors):
        cuts = sorted(draw(st.sets(st.integers(1, max(rows // 4 - 1, 1)).map(lambda n: 4 * n), max_size=3)))
        edges = [0, *(cut for cut in cuts if cut < rows), rows]
        segments += [(number, a, b - a) for a, b in itertools.pairwise(edges)]
    segments = draw(st.permutations(segments))
    outputs = []
    while segments:
        count = draw(st.integers(1, len(segments)))
        kind = draw(st.integers(0, len(OPERATIONS) - 1))
        outputs.append((draw(st.sampled_from(["F32", "F16", "BF16"])), kind, list(segments[:count])))
        segments = segments[count:]
    return tensors, outputs


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    plan=plans(),
    threads=st.sampled_from([1, 2, 4]),
    piece_weights=st.sampled_from([1, 128, 200, 1 << 20]),
    shard=st.sampled_from([1, 2000, 1 << 40]),
    parts=st.sampled_from([1, 2]),
    done=st.integers(0, 3),
)
def test_any_plan_gives_the_bytes_and_digests_of_plain_code(
    tmp_path_factory: pytest.TempPathFactory,
    plan: tuple[list[tuple[str, int, int]], list[tuple[str, int, list[tuple[int, int, int]]]]],
    threads: int,
    piece_weights: int,
    shard: int,
    parts: int,
    done: int,
) -> None:
    folder = tmp_path_factory.mktemp("run")
    source = make_source(folder, plan[0], parts)
    outputs = []
    for number, (dtype, kind, rows) in enumerate(plan[1]):
        segments = tuple(
            Segment(source.header.tensors[f"tensor{n}"], first, count, operation=OPERATIONS[kind])
            for n, first, count in rows
        )
        shape = (sum(count for _, _, count in rows), COLUMNS)
        outputs.append(OutputTensor(f"output{number}", shape, dtype, segments))
    out = folder / "out"
    out.mkdir()
    layout, digests = run_job(source, outputs, out, threads=threads, piece_weights=piece_weights, shard=shard)
    by_name_ = {output.name: output for output in outputs}
    for stored in layout.tensors:
        content = (out / layout.files[stored.part].name).read_bytes()
        written = content[stored.offset : stored.offset + stored.nbytes]
        assert written == expected_bytes(source, by_name_[stored.name])
        assert digests.tensors[stored.name] == hashlib.sha256(written).hexdigest()
    assert digests.sources == tuple(hashlib.sha256(content).hexdigest() for content in source.content)
    for file, digest in zip(layout.files, digests.files, strict=True):
        assert digest == hashlib.sha256((out / file.name).read_bytes()).hexdigest()
    assert tuple(read_safetensors(out).tensors.values()) == layout.tensors

    # Again, as after a crash that left some tensors finished: the same digests, from what is there.
    finished = {name: digests.tensors[name] for name in sorted(digests.tensors)[:done]}
    _, again = run_job(
        source, outputs, out, threads=threads, piece_weights=piece_weights, shard=shard, finished=finished
    )
    assert again == digests


def simple(source: Source, dtype: str = "BF16") -> list[OutputTensor]:
    return [
        OutputTensor(name, tensor.shape, dtype, (Segment(tensor, 0, tensor.shape[0]),))
        for name, tensor in source.header.tensors.items()
    ]


def pieces(source: Source, outputs: Sequence[OutputTensor], finished: Sequence[str] = ()) -> list[object]:
    ordered = written_order(outputs)
    layout = lay_out(((o.name, str(o.dtype), o.shape) for o in ordered), 1 << 40)
    placed = placed_by_name(ordered, layout)
    return list(schedule(source.header, placed, finished))


def test_every_source_byte_is_read_once_and_in_order(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("Q8_0", 8, 8), ("F32", 4, 0), ("F16", 4, 96)])
    at = 0
    for piece in pieces(source, simple(source)[1:]):  # tensor 0 is not written
        assert not isinstance(piece, ReadBack)
        here = piece if isinstance(piece, BytesToHash) else piece.slice  # type: ignore[attr-defined]
        assert here.start == at
        at += here.nbytes
    assert at == len(source.content[0])


def test_nothing_is_read_back_when_outputs_are_cut_from_tensors_in_their_order(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("Q8_0", 8, 8), ("F32", 12, 0), ("F16", 4, 96)])
    first, second, third = simple(source)
    halves = [
        replace(
            second,
            name=f"{second.name}.{n}",
            shape=(6, COLUMNS),
            segments=(Segment(second.segments[0].source, 6 * n, 6),),
        )
        for n in (1, 0)
    ]
    assert not any(isinstance(piece, ReadBack) for piece in pieces(source, [third, *halves, first]))


def test_a_tensor_joined_from_two_places_is_read_back_alone(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("Q8_0", 4, 0)] * 3)
    first, second, third = simple(source)
    joined = replace(first, shape=(8, COLUMNS), segments=(third.segments[0], first.segments[0]))
    back = [piece for piece in pieces(source, [joined, second]) if isinstance(piece, ReadBack)]
    assert [(piece.placed.output.name, piece.start, piece.nbytes) for piece in back] == [
        (joined.name, 0, joined.weights * 2)
    ]


def test_a_finished_tensor_is_read_back_and_not_converted_again(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("Q8_0", 4, 0)] * 3)
    names = {"tensor0", "tensor2"}
    found = pieces(source, simple(source), sorted(names))
    assert {p.placed.output.name for p in found if isinstance(p, ReadBack)} == names
    assert {p.placed.output.name for p in found if isinstance(p, SliceToConvert)} == {"tensor1"}


def test_written_tensors_lie_at_multiples_of_their_element_size(tmp_path: Path) -> None:
    odd = Tensor("odd", (3,), by_name("BF16"), 0, 0, 6)
    wide = Tensor("wide", (2,), by_name("F32"), 0, 6, 8)
    outputs = [OutputTensor(t.name, t.shape, t.type.name, (Segment(t, 0, t.shape[0]),)) for t in (odd, wide)]
    layout = lay_out(((o.name, str(o.dtype), o.shape) for o in written_order(outputs)), 1 << 40)
    assert [stored.name for stored in layout.tensors] == ["wide", "odd"]


def test_the_failure_of_the_earliest_piece_is_raised_whichever_thread_fails_first(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("F32", 64, 0)] * 6)
    path = source.header.parts[0].path
    content = bytearray(path.read_bytes())
    for name in ("tensor1", "tensor4"):
        tensor = source.header.tensors[name]
        content[tensor.offset + 40 : tensor.offset + 44] = np.float32("nan").tobytes()
    path.write_bytes(content)
    fd = os.open(path, os.O_RDONLY)
    header = replace(source.header, parts=(replace(source.header.parts[0], identity=Identity.of(fd)),))
    os.close(fd)
    for _ in range(20):
        with pytest.raises(MalformedInput, match=r"tensor1.*weight 10 is not finite \(nan\)"):
            run_job(replace(source, header=header), simple(source), tmp_path, threads=4, piece_weights=64)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("convert")]


def test_progress_is_reported_from_the_callers_thread_and_ends_with_the_total(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("Q8_0", 64, 0)] * 3)
    told: list[tuple[int, int, threading.Thread]] = []
    run_job(
        source,
        simple(source),
        tmp_path,
        threads=2,
        progress=lambda done, total: told.append((done, total, threading.current_thread())),
    )
    total = 3 * 64 * COLUMNS * 2
    assert told[-1][:2] == (total, total)
    assert {thread for _, _, thread in told} == {threading.main_thread()}
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)


def test_an_exception_from_progress_ends_the_work_at_once(tmp_path: Path) -> None:
    def interrupted(done: int, total: int) -> None:
        raise KeyboardInterrupt

    source = make_source(tmp_path, [("Q8_0", 64, 0)] * 3)
    with pytest.raises(KeyboardInterrupt):
        run_job(source, simple(source), tmp_path, threads=2, progress=interrupted)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("convert")]


def test_a_checkpoint_names_only_tensors_whose_bytes_are_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipeline, "CHECKPOINT_BYTES", 1)
    monkeypatch.setattr(pipeline, "WAIT_S", 0.0)
    source = make_source(tmp_path, [("F32", 512, 0)] * 8)
    forced: list[int] = []
    seen: list[tuple[int, dict[str, str]]] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        forced.append(fd)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    _, digests = run_job(
        source,
        simple(source),
        tmp_path,
        threads=2,
        piece_weights=64,
        checkpoint=lambda finished: seen.append((len(forced), dict(finished))),
    )
    assert [count for count, _ in seen] == list(range(1, len(seen) + 1))  # one flush before each
    assert seen[-1][1] == digests.tensors
    for (_, before), (_, after) in itertools.pairwise(seen):
        assert before.items() <= after.items()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    type_name=st.sampled_from(TYPES),
    rows=st.integers(2, 9),
    blocks=st.integers(1, 5),
    units=st.integers(1, 3),
    sources=st.sampled_from([0, 1, 2]),
    run=st.sampled_from(["one", "rows"]),
    piece_weights=st.sampled_from([1, 64, 300, 1 << 20]),
    threads=st.sampled_from([1, 3]),
)
def test_matrices_are_transposed_in_bands_of_any_width(
    tmp_path_factory: pytest.TempPathFactory,
    type_name: str,
    rows: int,
    blocks: int,
    units: int,
    sources: int,
    run: str,
    piece_weights: int,
    threads: int,
) -> None:
    """As gpt-oss' and Llama 4's experts, alone or with one source's weights between another's."""
    columns, folder = blocks * COLUMNS, tmp_path_factory.mktemp("bands")
    source = make_source(folder, [(type_name, units * rows * blocks, 8)] * max(sources, 1))
    operation, segments, expected = transpose(rows, columns), [], []
    for number in range(max(sources, 1)):
        tensor = replace(source.header.tensors[f"tensor{number}"], shape=(units * rows, columns))
        spread = Spread(sources, number, 1 if run == "one" else rows) if sources else None
        segments.append(Segment(tensor, 0, units * rows, operation=operation, spread=spread))
        raw = source.content[0][tensor.offset : tensor.offset + tensor.nbytes]
        expected.append(
            decode(tensor.type, np.frombuffer(raw, np.uint8)).reshape(units, rows, columns).swapaxes(1, 2)
        )
    whole = np.stack(expected, axis=3 if run == "one" else 2).reshape(units * columns, -1)
    out = folder / "out"
    out.mkdir()
    output = OutputTensor("output", whole.shape, "F32", tuple(segments))
    layout, digests = run_job(source, [output], out, threads=threads, piece_weights=piece_weights)
    (stored,) = layout.tensors
    content = (out / layout.files[0].name).read_bytes()
    assert content[stored.offset :] == np.ascontiguousarray(whole).tobytes()
    assert digests.files == (hashlib.sha256(content).hexdigest(),)
    assert digests.sources == (hashlib.sha256(source.content[0]).hexdigest(),)


def test_an_infinite_weight_in_a_band_is_named_where_it_lies(tmp_path: Path) -> None:
    source = make_source(tmp_path, [("F32", 12, 0)])
    tensor = replace(source.header.tensors["tensor0"], shape=(4, 3 * COLUMNS))
    broken = bytearray(source.content[0])
    at = 2 * 3 * COLUMNS + 70
    broken[tensor.offset + 4 * at : tensor.offset + 4 * at + 4] = np.float32(np.inf).tobytes()
    (part,) = source.header.parts
    part.path.write_bytes(broken)
    with part.path.open("rb") as file:
        part = replace(part, identity=Identity.of(file.fileno()))
    source = replace(source, header=replace(source.header, parts=(part,)))
    output = OutputTensor(
        "output", (3 * COLUMNS, 4), "F32", (Segment(tensor, 0, 4, operation=transpose(4, 3 * COLUMNS)),)
    )
    with pytest.raises(MalformedInput, match=rf"weight {at} is not finite"):
        run_job(source, [output], tmp_path, piece_weights=40)
