"""The subject of a verification: a folder and the GGUF file it was made from, each part opened once, when needed.

Everything is read from the disk again; nothing that the conversion had in memory is trusted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.file_digests import FileDigests
from llorch.base.record_files import RECORD
from llorch.converter.plan import make_plan
from llorch.formats import SafetensorsTensor, read_safetensors
from llorch.formats.gguf import Header, read_header
from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer
from llorch.verification.check import CannotCheck
from llorch.verification.once import once
from llorch.verification.readings import LAYERS, Sizes, open_reading, rounding_of, sizes_of
from llorch.verification.sample import PROSE

if TYPE_CHECKING:
    from llorch.converter.plan import PlannedTensor
    from llorch.runtime import Model, Text
    from llorch.verification.lockstep import LockstepResult

LOG = logging.getLogger("llorch.verification")
QUICK_BYTES = 2 << 30  # that a quick check reads or works on, a few seconds
JUST_WRITTEN_BYTES = 32 << 20  # that quick hashes of files which the same run has written and hashed
QUICK_FLOP = 2e11  # of a quick check with each reading, a few seconds on one core
LOGITS_BYTES = 512 << 20  # most bytes of the logits of one reading
LOCKSTEP_FLOP = 6e9  # of a quick lockstep with each reading, in the layers that it runs
LOCKSTEP_BYTES = 128 << 20  # of float32 weights in the layers of a quick lockstep
FULL_FLOP = 1.2e12  # of a full check with each reading, half a minute on two cores
LEAST_POSITIONS, QUICK_POSITIONS, LONGEST = 24, 200, 2048
LEAST_LAYERS = 3  # quick runs at least the first, the last, and one between, however large they are
MOST_KINDS = 6  # quick runs one layer of each of so many kinds, however large they are


def _silent(done: int, total: int) -> None:
    """Ignore the progress."""


class Subject:
    """A folder, its source if there is one, and the level of verification; a context manager.

    device: where the readings are computed, "cpu" or another of torch's devices. Properties that need the source raise
    CannotCheck if there is none, and InputError if a file is malformed.
    """

    def __init__(
        self,
        folder: Path,
        source: Path | None,
        *,
        level: str,
        device: str,
        digests: FileDigests | None = None,
    ) -> None:
        self.folder = folder
        self.level = level
        self.device = device
        self.digests = digests or FileDigests()
        self._of_thread = threading.local()
        # Glob pattern of the tensors to check; None to check what the level can afford.
        self.pattern: str | None = None
        self.just_written = False  # whether the same run has just hashed the files
        self._source = source
        self._models: list[Model] = []
        self._opening: threading.Thread | None = None

    def __enter__(self) -> Subject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.digests.close()
        if self._opening is not None:
            self._opening.join()
        for model in self._models:
            model.close()

    @property
    def progress(self) -> Callable[[int, int], None]:
        """The progress of the check that runs in this thread."""
        progress: Callable[[int, int], None] = getattr(self._of_thread, "progress", _silent)
        return progress

    @progress.setter
    def progress(self, progress: Callable[[int, int], None]) -> None:
        self._of_thread.progress = progress

    def stay_within_memory(self) -> None:
        """Switch to the CPU, with a warning in the log, if the device has no room for all readings at once."""
        from llorch import runtime  # torch, slow to import

        if self.device == "cpu":
            return
        try:
            source = None if self._source is None else (self._source, rounding_of(self.tensors))
            runtime.require_memory([(self.folder, None), *([source] * 2 if source else [])], self.device)
        except runtime.DoesNotFit as error:
            LOG.warning("%s: both readings are computed on the processor", error)
            self.device = "cpu"
        except (InputError, OSError):
            return  # the checks report what is wrong with the files

    @property
    def source(self) -> Path:
        """The path of the GGUF file, or of a part of a split one."""
        if self._source is None:
            raise CannotCheck("there is no source to compare with: --against names one")
        return self._source

    @once
    def header(self) -> Header:
        """The source's header."""
        return read_header(self.source)

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """The folder's conversion.json, parsed."""
        if not (self.folder / RECORD).exists():
            # optional: a folder written by another exporter has none, and the other checks still apply
            raise CannotCheck(f"there is no {RECORD} to say what was written", optional=True)
        return self.json(RECORD)

    @cached_property
    def digested_files(self) -> Sequence[Mapping[str, Any]]:
        """The rows of conversion.json for existing files, except the model card, which people edit."""
        rows = self.record["files"]
        return [row for row in rows if row["role"] != "card" and (self.folder / row["path"]).is_file()]

    @cached_property
    def hashed_files(self) -> Collection[Path]:
        """The files of the folder that this level hashes."""
        names = self.affordable((row["path"], row["size"]) for row in self.digested_files)
        return {self.folder / name for name in names}

    @cached_property
    def source_sizes(self) -> Mapping[Path, int]:
        """The source's parts: path → bytes."""
        return {part.path: part.identity.size for part in self.header.parts}

    @cached_property
    def hashed_sources(self) -> Collection[Path]:
        """The source's parts that this level hashes."""
        return {
            Path(n) for n in self.affordable((str(path), size) for path, size in self.source_sizes.items())
        }

    def hash_ahead(self) -> None:
        """Start hashing the files whose digests the checks need; the checks report what cannot be read."""
        for paths in ("hashed_files", "hashed_sources"):
            with suppress(CannotCheck, InputError, OSError, LookupError, TypeError, AttributeError):
                self.digests.begin(getattr(self, paths))

    def open_ahead(self) -> None:
        """Start loading both readings in a thread if the device isn't the CPU; the checks report faults."""

        def open_both() -> None:
            for name in ("folder_reading", "ggml_reading"):
                with suppress(Exception):  # the first check that needs it raises it again
                    getattr(self, name)

        if self.device != "cpu":
            self._opening = threading.Thread(target=open_both, name="open-readings")
            self._opening.start()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """The keys of config.json that were set by --set at the conversion."""
        if not (self.folder / RECORD).exists():
            return {}
        found = self.record.get("options", {}).get("set", {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The folder's config.json, parsed."""
        return self.json("config.json")

    def json(self, name: str) -> Mapping[str, Any]:
        """Read one of the folder's files as a JSON object. Raises MalformedInput."""
        path = self.folder / name
        try:
            document = json.loads(path.read_bytes())
        except (ValueError, RecursionError) as error:
            raise MalformedInput(f"is no JSON: {error}", path=path) from error
        if not isinstance(document, dict):
            raise MalformedInput("is no JSON object", path=path)
        return document

    @once
    def tensors(self) -> Mapping[str, SafetensorsTensor]:
        """The tensors in the folder's safetensors files, read strictly."""
        return read_safetensors(self.folder, links=True).tensors

    @once
    def vocabulary(self) -> TokenizerFiles:
        """The tokenizer files that result from the source's metadata."""
        return build_tokenizer(self.header.metadata)

    @once
    def outputs(self) -> Sequence[PlannedTensor]:
        """The tensors that a conversion of the source writes, from its header."""
        # Unknown tensors were refused, or left out with a warning, at the conversion.
        packed = any(tensor.dtype == "U8" for tensor in self.tensors.values())
        return make_plan(self.header, self.vocabulary, allow_unknown=True, keep_blocks=packed).outputs

    @once
    def source_text(self) -> Text:
        """The source's tokenizer and chat template, read without weights.

        If the folder's tokenizer.json is byte for byte what results from the source, the folder's tokenizer is reused.
        """
        from llorch import runtime  # torch, two seconds that the earlier checks do not need

        name = "tokenizer.json"
        with suppress(InputError, OSError):
            if (self.folder / name).read_bytes() == self.vocabulary.files()[name]:
                return runtime.read_text(self.header, self.vocabulary, self.folder_text.tokenizer)
        return runtime.read_text(self.header, self.vocabulary)

    @once
    def folder_text(self) -> Text:
        """The folder's tokenizer and chat template."""
        from llorch import runtime  # as above

        return runtime.read_text(self.folder)

    @cached_property
    def rounding(self) -> Literal["bfloat16", "float16"] | None:
        """The dtype that the source's weights are rounded to before the readings are compared."""
        return rounding_of(self.tensors, [output.name for output in self.outputs if output.dtype == "F32"])

    @cached_property
    def sizes(self) -> Sizes:
        """The model's sizes, from the folder's headers."""
        return sizes_of(self.tensors)

    @once
    def ggml_reading(self) -> Model:
        """The source, read by ggml's conventions, with weights rounded as in the folder."""
        return self._open(self.header, self.rounding)

    @once
    def folder_reading(self) -> Model:
        """The folder, read by transformers' conventions."""
        return self._open(self.folder, None)

    def in_float16(self) -> Model:
        """Open the folder's reading computed in float16; the caller closes it."""
        return open_reading(self.folder, self.sizes, self.device, dtype="float16")

    def _open(
        self,
        path: Path | Header,
        rounded: Literal["bfloat16", "float16"] | None,
        dtype: Literal["float16", "float32", "float64"] = "float32",
    ) -> Model:
        try:
            lazy = self.level == "quick" and self._affordable_layers < self.sizes.layers
            self._models.append(open_reading(path, self.sizes, self.device, rounded, dtype, lazy=lazy))
        except UnsupportedInput as error:
            raise CannotCheck(f"the runtime does not know it: {error}") from error
        return self._models[-1]

    @cached_property
    def prose(self) -> list[int]:
        """The token ids of a text, cut or repeated to the length that this level can afford."""
        ids = self.prose_once
        wanted = self.positions()
        return (ids * (wanted // len(ids) + 1))[:wanted]

    @cached_property
    def prose_once(self) -> list[int]:
        """The token ids of the text by the folder's tokenizer, without ids that the model has no embedding for."""
        known = self.folder_reading.vocabulary_size
        return [token for token in self.folder_text.tokenizer.encode(PROSE).ids if token < known] or [0]

    def positions(self) -> int:
        """Return the number of positions to compute, as time and the context allow."""
        n_ctx = self.folder_reading.traits.n_ctx
        flop, longest = (LOCKSTEP_FLOP, QUICK_POSITIONS) if self.level == "quick" else (FULL_FLOP, LONGEST)
        left_out = self.folder_reading.traits.n_layers - len(self.layers)
        # The output layer is always computed, however few layers are run.
        weights = self.sizes.weights - left_out * self.sizes.layer
        return max(1, min(n_ctx, longest, max(LEAST_POSITIONS, int(flop / (2 * max(1, weights))))))

    @cached_property
    def layers(self) -> Sequence[int]:
        """The indices of the layers to run: all, or for quick as many as fit in `LOCKSTEP_BYTES`.

        Chosen in this order: the first and the last, one of each kind, and the others by a digest of their index.
        """
        traits = self.folder_reading.traits
        if self.level == "full":
            return range(traits.n_layers)
        kinds = {
            index: (traits.windows[index], traits.ropes[index], self._layer_shapes(index))
            for index in range(traits.n_layers)
        }
        of_kind = [next(i for i in kinds if kinds[i] == kind) for kind in dict.fromkeys(kinds.values())]
        rest = sorted(kinds, key=lambda index: hashlib.sha256(f"layer {index}".encode()).digest())
        order = list(dict.fromkeys([0, traits.n_layers - 1, *of_kind, *rest]))
        least = max(LEAST_LAYERS, len({0, traits.n_layers - 1, *of_kind[:MOST_KINDS]}))
        return sorted(order[: max(least, self._affordable_layers)])

    @property
    def _affordable_layers(self) -> int:
        """How many of the largest layers fit in `LOCKSTEP_BYTES` as float32."""
        return LOCKSTEP_BYTES // (4 * max(1, self.sizes.layer))

    def _layer_shapes(self, index: int) -> frozenset[tuple[str, tuple[int, ...]]]:
        stem = f"{LAYERS}{index}."
        return frozenset(
            (name.removeprefix(stem), tensor.shape)
            for name, tensor in self.tensors.items()
            if name.startswith(stem)
        )

    @once
    def lockstep(self) -> LockstepResult:
        """The result of the lockstep over `prose`; of the folder's reading alone if there is no source."""
        folder = self.folder_reading
        source = None if self._source is None else self.ggml_reading
        if source is not None:
            one, other = source.traits, folder.traits
            for name in ("n_layers", "hidden_size", "vocabulary_size"):
                if getattr(one, name) != getattr(other, name):
                    raise CannotCheck(f"{name} is not the same in both: traits.structure says more")
        if self.level == "quick" or not self.sizes.is_small:
            # the noise of float32 only matters if the readings differ at all
            found = self._in_lockstep(source, folder)
            if found.is_quiet or found.noise is not None:
                return found
        return self._in_lockstep(source, folder, self._exact_reading())

    def _in_lockstep(self, source: Model | None, folder: Model, exact: Model | None = None) -> LockstepResult:
        from llorch.verification.lockstep import Lockstep  # torch, as above

        lockstep = Lockstep(source, folder, exact, self.sizes, self.prose, self.layers)
        found = lockstep.run(len(self.prose_once) if self.level == "full" else 0, self.progress)
        if exact is None and not found.is_quiet and found.is_certain:
            lockstep.measure_noise(self._exact_reading())
        return found

    def _exact_reading(self) -> Model:
        """Open the source's reading in float64, or the folder's if there is no source."""
        if self._source is None:
            return self._open(self.folder, None, "float64")
        return self._open(self.header, self.rounding, "float64")

    def affordable(self, sizes: Iterable[tuple[str, int]]) -> set[str]:
        """Return the names of the (name, bytes) to hash: for quick as many as fit in `QUICK_BYTES`, for full all.

        If they were just written, quick hashes only small ones: the run that wrote them has hashed them. The choice is
        by a digest of the names, so it is spread evenly and always the same.
        """
        rows = sorted(sizes, key=lambda row: hashlib.sha256(row[0].encode()).digest())
        if self.level == "full":
            return {name for name, _ in rows}
        chosen, left = set(), JUST_WRITTEN_BYTES if self.just_written else QUICK_BYTES
        for name, nbytes in rows:
            if nbytes <= left:
                chosen.add(name)
                left -= nbytes
        return chosen
