"""What is judged: a folder and the GGUF it was made from, opened no further and no oftener than asked.

Everything is read anew from the disk: of what the conversion held in memory nothing is believed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import threading
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, wraps
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from llorch.base.errors import InputError, MalformedInput, UnsupportedInput
from llorch.base.file_digests import FileDigests
from llorch.base.record_files import RECORD
from llorch.converter.plan import make_plan
from llorch.formats import SafetensorsTensor, read_safetensors
from llorch.formats.gguf import Header, read_header
from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer
from llorch.verification.check import CannotCheck
from llorch.verification.readings import LAYERS, Sizes, open_reading, rounding_of, sizes_of
from llorch.verification.sample import PROSE

if TYPE_CHECKING:
    from llorch.converter.plan import PlannedTensor
    from llorch.runtime import Model, Text
    from llorch.verification.lockstep import LockstepResult

LOG = logging.getLogger("llorch.verification")
QUICK_BYTES = 2 << 30  # what a quick check reads or works on: a few seconds
JUST_WRITTEN_BYTES = 32 << 20  # that quick hashes of what the same run has written and hashed
QUICK_FLOP = 2e11  # what a quick check computes with each reading: a few seconds on one core
LOGITS_BYTES = 512 << 20  # most that the logits of one reading may take
LOCKSTEP_FLOP = 6e9  # what a quick lockstep computes with each reading of the layers that it runs
LOCKSTEP_BYTES = 128 << 20  # of float32 that the layers of a quick lockstep take
FULL_FLOP = 1.2e12  # what a full check computes with each reading: half a minute on two cores
LEAST_POSITIONS, QUICK_POSITIONS, LONGEST = 24, 200, 2048
LEAST_LAYERS = 3  # that quick runs, however large they are: the first, the last, and one between them
MOST_KINDS = 6  # of layers of which quick runs one each, however large they are

T = TypeVar("T")


def _silent(done: int, total: int) -> None:
    """Tells nobody."""


class once(cached_property[T]):  # noqa: N801  # used as `cached_property` is
    """A cached property of which threads wait for each other; its refusal is kept too, and not tried again."""

    def __init__(self, function: Callable[[Any], T]) -> None:
        refused: weakref.WeakKeyDictionary[Any, Exception] = weakref.WeakKeyDictionary()
        lock = threading.RLock()

        @wraps(function)
        def attempt(subject: Any) -> T:
            with lock:
                if self.attrname in vars(subject):  # made while this thread waited
                    return vars(subject)[self.attrname]  # type: ignore[no-any-return]
                if subject in refused:
                    raise refused[subject]
                try:
                    made = vars(subject)[self.attrname] = function(subject)
                except (CannotCheck, InputError) as error:
                    refused[subject] = error
                    raise
                return made

        super().__init__(attempt)


class Subject:
    """A folder, its source where there is one, and how thoroughly to look; a context manager.

    device: where the readings are computed, "cpu" or another that torch knows.
    Whatever needs the source raises CannotCheck where there is none, and InputError for what is malformed.
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
        self.pattern: str | None = (
            None  # of tensors' names that are looked at, or None for what the level can afford
        )
        self.just_written = False  # whether the digests of files are those that this run has just made
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
        """Told how far the check is that this thread makes."""
        progress: Callable[[int, int], None] = getattr(self._of_thread, "progress", _silent)
        return progress

    @progress.setter
    def progress(self, progress: Callable[[int, int], None]) -> None:
        self._of_thread.progress = progress

    def stay_within_memory(self) -> None:
        """Takes the processor where the device has no room for all readings at once, and says so in the log."""
        from llorch import runtime  # torch: whoever asks for a device by its name waits for it later

        if self.device == "cpu":
            return
        try:
            source = None if self._source is None else (self._source, rounding_of(self.tensors))
            runtime.require_room([(self.folder, None), *([source] * 2 if source else [])], self.device)
        except runtime.DoesNotFit as error:
            LOG.warning("%s: both readings are computed on the processor", error)
            self.device = "cpu"
        except (InputError, OSError):
            return  # the checks say what is wrong with the files

    @property
    def source(self) -> Path:
        """The GGUF file, or a part of a split one."""
        if self._source is None:
            raise CannotCheck("there is no source to compare with: --against names one")
        return self._source

    @once
    def header(self) -> Header:
        """Of the source."""
        return read_header(self.source)

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """conversion.json."""
        if not (self.folder / RECORD).exists():
            # another exporter's folder makes no such claim; whatever else it is, the other checks say
            raise CannotCheck(f"there is no {RECORD} to say what was written", optional=True)
        return self.json(RECORD)

    @cached_property
    def digested_files(self) -> Sequence[Mapping[str, Any]]:
        """The rows of conversion.json of the files that are there; the card is prose, and people edit it."""
        rows = self.record["files"]
        return [row for row in rows if row["role"] != "card" and (self.folder / row["path"]).is_file()]

    @cached_property
    def hashed_files(self) -> Collection[Path]:
        """Which of them this level hashes."""
        names = self.affordable((row["path"], row["size"]) for row in self.digested_files)
        return {self.folder / name for name in names}

    @cached_property
    def source_sizes(self) -> Mapping[Path, int]:
        """The source's parts."""
        return {part.path: part.identity.size for part in self.header.parts}

    @cached_property
    def hashed_sources(self) -> Collection[Path]:
        """Which of them this level hashes."""
        return {
            Path(n) for n in self.affordable((str(path), size) for path, size in self.source_sizes.items())
        }

    def hash_ahead(self) -> None:
        """Begins with the digests that the checks will ask for; those say what cannot be read."""
        for paths in ("hashed_files", "hashed_sources"):
            with suppress(CannotCheck, InputError, OSError, LookupError, TypeError, AttributeError):
                self.digests.begin(getattr(self, paths))

    def open_ahead(self) -> None:
        """Begins to load both readings where that takes a device's time; what is wrong with them the checks say."""

        def open_both() -> None:
            for name in ("folder_reading", "ggml_reading"):
                with suppress(Exception):  # the first check that needs it meets it again
                    getattr(self, name)

        if self.device != "cpu":
            self._opening = threading.Thread(target=open_both, name="open-readings")
            self._opening.start()

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """What the caller of the conversion said of the model that the source does not say: `--set`."""
        if not (self.folder / RECORD).exists():
            return {}
        found = self.record.get("options", {}).get("set", {})
        return found if isinstance(found, dict) else {}

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """config.json."""
        return self.json("config.json")

    def json(self, name: str) -> Mapping[str, Any]:
        """One of the folder's files, which is to be a JSON object."""
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
        """What the folder's safetensors files hold, read strictly."""
        return read_safetensors(self.folder, links=True).tensors

    @once
    def vocabulary(self) -> TokenizerFiles:
        """The tokenizer that the source's keys lead to."""
        return build_tokenizer(self.header.metadata)

    @once
    def outputs(self) -> Sequence[PlannedTensor]:
        """The tensors that the source's header leads to."""
        # What is unknown was refused, or left out with a warning, when the folder was made.
        packed = any(tensor.dtype == "U8" for tensor in self.tensors.values())
        return make_plan(self.header, self.vocabulary, allow_unknown=True, keep_blocks=packed).outputs

    @once
    def source_text(self) -> Text:
        """What the source says of text; no weight is read for it.

        Where tokenizer.json is to the byte what the source's keys lead to, its tokenizer is the folder's.
        """
        from llorch import runtime  # torch: two seconds that the checks before did not need

        name = "tokenizer.json"
        with suppress(InputError, OSError):
            if (self.folder / name).read_bytes() == self.vocabulary.files()[name]:
                return runtime.read_text(self.header, self.vocabulary, self.folder_text.tokenizer)
        return runtime.read_text(self.header, self.vocabulary)

    @once
    def folder_text(self) -> Text:
        """What the folder says of text."""
        from llorch import runtime  # as above

        return runtime.read_text(self.folder)

    @cached_property
    def rounding(self) -> Literal["bfloat16", "float16"] | None:
        """What the source's weights are rounded to before both readings are compared."""
        return rounding_of(self.tensors, [output.name for output in self.outputs if output.dtype == "F32"])

    @cached_property
    def sizes(self) -> Sizes:
        """How large the model is, by the folder's headers."""
        return sizes_of(self.tensors)

    @once
    def ggml_reading(self) -> Model:
        """The source, by ggml's conventions; with every weight as the folder can hold it."""
        return self._open(self.header, self.rounding)

    @once
    def folder_reading(self) -> Model:
        """The folder, by transformers' conventions."""
        return self._open(self.folder, None)

    def in_float16(self) -> Model:
        """The folder computed in float16; a context manager of its own."""
        return open_reading(self.folder, self.sizes, self.device, dtype="float16")

    def _open(
        self,
        path: Path | Header,
        rounded: Literal["bfloat16", "float16"] | None,
        dtype: Literal["float16", "float32", "float64"] = "float32",
    ) -> Model:
        try:
            self._models.append(open_reading(path, self.sizes, self.device, rounded, dtype))
        except UnsupportedInput as error:
            raise CannotCheck(f"the runtime does not know it: {error}") from error
        return self._models[-1]

    @cached_property
    def prose(self) -> list[int]:
        """The beginning of a text as ids, again and again where this level can afford more than it has."""
        ids = self.prose_once
        wanted = self.positions()
        return (ids * (wanted // len(ids) + 1))[:wanted]

    @cached_property
    def prose_once(self) -> list[int]:
        """The text, as the folder's tokenizer has it; ids that the model has no row for left out."""
        known = self.folder_reading.vocabulary_size
        return [token for token in self.folder_text.tokenizer.encode(PROSE).ids if token < known] or [0]

    def positions(self) -> int:
        """How many positions to compute: so many as time and the context allow."""
        n_ctx = self.folder_reading.traits.n_ctx
        flop, longest = (LOCKSTEP_FLOP, QUICK_POSITIONS) if self.level == "quick" else (FULL_FLOP, LONGEST)
        left_out = self.folder_reading.traits.n_layers - len(self.layers)
        weights = (
            self.sizes.weights - left_out * self.sizes.layer
        )  # the output layer is computed however few they are
        return max(1, min(n_ctx, longest, max(LEAST_POSITIONS, int(flop / (2 * max(1, weights))))))

    @cached_property
    def layers(self) -> Sequence[int]:
        """Which layers are run: all, or for quick what fits in `LOCKSTEP_BYTES`, by position, kind and digest."""
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
        affordable = LOCKSTEP_BYTES // (4 * max(1, self.sizes.layer))
        return sorted(order[: max(least, affordable)])

    def _layer_shapes(self, index: int) -> frozenset[tuple[str, tuple[int, ...]]]:
        stem = f"{LAYERS}{index}."
        return frozenset(
            (name.removeprefix(stem), tensor.shape)
            for name, tensor in self.tensors.items()
            if name.startswith(stem)
        )

    @once
    def lockstep(self) -> LockstepResult:
        """Both readings layer by layer over `prose`, or the folder's alone where there is no source."""
        folder = self.folder_reading
        source = None if self._source is None else self.ggml_reading
        if source is not None:
            one, other = source.traits, folder.traits
            for name in ("n_layers", "hidden_size", "vocabulary_size"):
                if getattr(one, name) != getattr(other, name):
                    raise CannotCheck(f"{name} is not the same in both: traits.structure says more")
        if self.level == "quick" or not self.sizes.is_small:
            # what float32 does to this model matters only where the readings differ at all
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
        """The source's reading in float64, or the folder's where there is no source."""
        if self._source is None:
            return self._open(self.folder, None, "float64")
        return self._open(self.header, self.rounding, "float64")

    def affordable(self, sizes: Iterable[tuple[str, int]]) -> set[str]:
        """Which of these (name, bytes) are hashed: quick what fits in `QUICK_BYTES`, full all.

        Of what was just written, quick hashes what is small: the run that wrote it knows the other digests.

        The choice is by a digest of the names, so it is spread evenly and always the same.
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
