"""Executes a plan: reads, converts, hashes and writes in parallel, in bounded memory.

Each thread takes the next piece of `schedule`, with a buffer, in order, so the earliest piece always has a buffer
and later ones can wait for it. The work on a piece releases the GIL: pread, dequantizing, SHA-256, pwrite. The
result does not depend on the number of threads.
"""

from __future__ import annotations

import errno
import functools
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from llorch.base.printable import printable
from llorch.base.progress import Progress
from llorch.converter.plan.schedule import (
    PIECE_WEIGHTS,
    BytesToHash,
    Piece,
    PlacedTensor,
    ReadBack,
    SliceToConvert,
    bands,
    element_bytes,
    schedule,
)
from llorch.converter.quantization.block_scales import ScaleRanges
from llorch.converter.write.buffers import Buffer, BufferPool, Bytes
from llorch.converter.write.dequantize import Dequantize, converted_bytes, dequantizer
from llorch.converter.write.staging import naming, write_all
from llorch.converter.write.stream_digest import OrderedDigest
from llorch.formats import read_exactly
from llorch.formats.gguf import Header, TensorData

# Bytes written between two fsyncs: the disk then works while we do, and a crash costs little. With 512 MiB, half of a
# small model's bytes were left for the last fsync; docs/benchmarks.md has both.
CHECKPOINT_BYTES = 64 << 20
BUFFERS_PER_THREAD = 3  # one being filled, two waiting for a digest
WAIT_S = 0.05


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file being written: its path, a descriptor, its header's bytes, and its final size."""

    path: Path
    fd: int
    header: bytes
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Digests:
    """SHA-256 of each source file and each written file, and of each tensor's bytes on both sides, by name."""

    sources: tuple[str, ...]
    files: tuple[str, ...]
    tensors: Mapping[str, str]
    source_tensors: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Job:
    """What to convert, from where and to where.

    placed, files: of one layout, in its order. finished: outputs that the files already contain, with their digests;
    they are read back for the file's digest, and the caller must compare their digests.
    checkpoint: called from time to time, from another thread, with the outputs that are finished and on disk.
    scales: gets all blocks that are converted.
    """

    header: Header
    data: TensorData
    placed: Sequence[PlacedTensor]
    files: Sequence[OpenFile]
    finished: Mapping[str, str]
    checkpoint: Callable[[Mapping[str, str]], None]
    threads: int
    piece_weights: int = PIECE_WEIGHTS
    scales: ScaleRanges = field(default_factory=ScaleRanges)


def write(job: Job, progress: Progress | None = None) -> Digests:
    """Run the job; when this returns, the files are complete and on disk.

    Raises what `converted_bytes` raises, and OSError; of several failures, the one in the earliest piece.
    """
    return _Pipeline(job).run(progress)


class _Pipeline:
    def __init__(self, job: Job) -> None:
        outputs = [tensor.output for tensor in job.placed]
        self._job = job
        self._dequantize: Dequantize = dequantizer(sum(output.weights for output in outputs))
        self._pieces: Iterator[tuple[int, Piece]] = enumerate(
            schedule(job.header, job.placed, job.finished, job.piece_weights)
        )
        self._buffers = BufferPool(outputs, job.threads * BUFFERS_PER_THREAD, job.piece_weights)
        self._finished: dict[str, str] = {}
        self._bytes_to_write = {
            tensor.output.name: tensor.stored.nbytes
            for tensor in job.placed
            if tensor.output.name not in job.finished
        }
        self._done_bytes = 0
        self._failures: list[tuple[int, BaseException]] = []
        self._stopped = threading.Event()
        # Held while a region that several sources share is read, changed and written.
        self._region_lock = threading.Lock()
        self._next_piece_lock, self._progressed = threading.Lock(), threading.Condition()
        self._tensors_by_part = [
            sorted(
                (one for one in job.header.tensors.values() if one.part == number), key=lambda one: one.offset
            )
            for number in range(len(job.header.parts))
        ]
        self._source_digests = [
            OrderedDigest(
                part.identity.size, ranges=[(one.offset, one.offset + one.nbytes) for one in tensors]
            )
            for part, tensors in zip(job.header.parts, self._tensors_by_part, strict=True)
        ]
        self._file_digests = [OrderedDigest(file.size_bytes) for file in job.files]
        self._tensor_digests = {
            tensor.output.name: OrderedDigest(
                tensor.stored.nbytes, functools.partial(self._finished.__setitem__, tensor.output.name)
            )
            for tensor in job.placed
        }

    def run(self, progress: Progress | None) -> Digests:
        for file, digest in zip(self._job.files, self._file_digests, strict=True):
            self._write_bytes(file, np.frombuffer(file.header, np.uint8), 0)
            digest.add(0, np.frombuffer(file.header, np.uint8), _release_nothing)
        workers = [threading.Thread(target=self._work, name=f"convert-{n}") for n in range(self._job.threads)]
        saver = threading.Thread(target=self._save_regularly, name="checkpoint")
        total = sum(tensor.stored.nbytes for tensor in self._job.placed)
        try:
            for thread in (*workers, saver):
                thread.start()
            while alive := [worker for worker in workers if worker.is_alive()]:
                if progress is not None:
                    progress(self._done_bytes, total)
                alive[0].join(WAIT_S)
        finally:
            self._stop()
            for thread in (*workers, saver):
                with suppress(RuntimeError):  # a thread that was not started
                    thread.join()
        if self._failures:
            raise min(self._failures, key=lambda failure: failure[0])[1]
        self._save()
        if progress is not None:
            progress(total, total)
        return Digests(
            tuple(digest.hexdigest() for digest in self._source_digests),
            tuple(digest.hexdigest() for digest in self._file_digests),
            {name: digest.hexdigest() for name, digest in self._tensor_digests.items()},
            {
                tensor.name: sha256
                for tensors, digest in zip(self._tensors_by_part, self._source_digests, strict=True)
                for tensor, sha256 in zip(tensors, digest.of_ranges, strict=True)
            },
        )

    def _work(self) -> None:
        """Run in a thread: process the next piece until there is none, or one failed."""
        np.seterr(all="ignore")  # in this thread; weights that are not finite are found afterwards
        while True:
            with self._next_piece_lock:
                if self._stopped.is_set():
                    return
                number, piece = next(self._pieces, (-1, None))
                buffer = None if piece is None else self._buffers.acquire()
            if piece is None or buffer is None:
                return
            try:
                self._process(piece, buffer)
            except BaseException as error:  # noqa: BLE001  # raised again in the caller's thread
                self._failures.append((number, error))
                self._stop()
                return
            finally:
                self._buffers.release(buffer)

    def _stop(self) -> None:
        """Make every thread end after its piece, and wake those that wait."""
        self._stopped.set()
        self._buffers.close()
        with self._progressed:
            self._progressed.notify_all()

    def _process(self, piece: Piece, buffer: Buffer) -> None:
        data = self._job.data
        match piece:
            case BytesToHash(part, start, nbytes):
                data.read_file_into(part, start, buffer.source[:nbytes])
                self._source_digests[part].add(start, buffer.source[:nbytes], self._buffers.retain(buffer))
            case SliceToConvert(placed=placed, slice=part):
                tensor, source = part.segment.source, buffer.source[: part.nbytes]
                data.read_file_into(part.part, part.start, source, where=f"tensor {printable(tensor.name)}")
                raw = data.little_endian(tensor, source)
                if piece.first:
                    self._source_digests[part.part].add(part.start, source, self._buffers.retain(buffer))
                    self._job.scales.count(tensor, raw)
                for band, of_band in bands(part, raw, self._job.piece_weights):
                    written = converted_bytes(placed.output, band, of_band, buffer, self._dequantize)
                    self._write(replace(piece, slice=band), written, buffer)
            case ReadBack(placed, start, nbytes):
                self._wait_until_written(placed.output.name)
                bytes_back = buffer.written[:nbytes]
                self._read_bytes(
                    self._job.files[placed.stored.part], bytes_back, placed.stored.offset + start
                )
                self._hash(placed, start, bytes_back, buffer)
                if placed.output.name in self._job.finished:
                    self._count(nbytes)

    def _write(self, piece: SliceToConvert, written: Bytes, buffer: Buffer) -> None:
        placed, start = piece.placed, piece.slice.at * element_bytes(piece.placed.output)
        if piece.slice.segment.spread is not None:
            self._write_between(piece, written, placed.stored.offset + start)
        else:
            self._write_bytes(self._job.files[placed.stored.part], written, placed.stored.offset + start)
        if piece.feeds_digests:
            self._hash(placed, start, written, buffer)
        self._count(len(written), placed.output.name)

    def _write_between(self, piece: SliceToConvert, written: Bytes, at: int) -> None:
        """Write a piece's weights between those of the sources that share its region."""
        size, file = element_bytes(piece.placed.output), self._job.files[piece.placed.stored.part]
        region = np.empty(piece.slice.extent * size, np.uint8)
        with self._region_lock:
            self._read_bytes(file, region, at)
            places = piece.slice.places(region.view(f"u{size}"))
            places[...] = written.view(f"u{size}").reshape(places.shape)
            self._write_bytes(file, region, at)

    def _write_bytes(self, file: OpenFile, data: Bytes, at: int) -> None:
        with naming(file.path):
            write_all(file.fd, data.data, at)

    def _read_bytes(self, file: OpenFile, data: Bytes, at: int) -> None:
        with naming(file.path):
            if read_exactly(file.fd, data.data, at) < len(data):
                raise OSError(errno.EIO, "is shorter than what was written to it")

    def _hash(self, placed: PlacedTensor, start: int, data: Bytes, buffer: Buffer) -> None:
        self._tensor_digests[placed.output.name].add(start, data, self._buffers.retain(buffer))
        self._file_digests[placed.stored.part].add(
            placed.stored.offset + start, data, self._buffers.retain(buffer)
        )

    def _count(self, nbytes: int, name: str = "") -> None:
        with self._progressed:
            self._done_bytes += nbytes
            if name:
                self._bytes_to_write[name] -= nbytes
                self._progressed.notify_all()

    def _wait_until_written(self, name: str) -> None:
        """Wait until an output is written. All its pieces are earlier, so they have buffers and will be written."""
        with self._progressed:
            self._progressed.wait_for(lambda: self._stopped.is_set() or not self._bytes_to_write.get(name))

    def _save_regularly(self) -> None:
        saved = 0
        while not self._stopped.wait(WAIT_S):
            if self._done_bytes - saved < CHECKPOINT_BYTES:
                continue
            saved = self._done_bytes
            try:
                self._save()
            except BaseException as error:  # noqa: BLE001  # as in _work
                self._failures.append((-1, error))
                self._stop()

    def _save(self) -> None:
        """Force everything written so far to disk, then report the finished tensors."""
        finished = self._finished.copy()
        for file in self._job.files:
            with naming(file.path):
                os.fsync(file.fd)
        self._job.checkpoint(finished)


def _release_nothing() -> None:
    """Release nothing: the header's bytes are in no buffer."""
