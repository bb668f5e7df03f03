"""What is judged: a folder and the GGUF it was made from, opened no further and no oftener than asked.

Everything is read anew from the disk: of what the conversion held in memory nothing is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal

from llorch.base.errors import MalformedInput
from llorch.base.record_files import RECORD
from llorch.converter.plan import make_plan
from llorch.formats import SafetensorsTensor, read_safetensors
from llorch.formats.gguf import Header, read_header
from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer
from llorch.runtime import LogitsComparison, compare_logits
from llorch.verification.check import CannotCheck
from llorch.verification.sample import PROSE

if TYPE_CHECKING:
    from torch import Tensor

    from llorch.converter.plan import OutputTensor
    from llorch.runtime import Model

QUICK_BYTES = 2 << 30  # what a quick check reads or works on: a few seconds
QUICK_FLOP = 2e11  # what a quick check computes with each reading: a few seconds on one core
LOGITS_BYTES = 512 << 20  # most that the logits of one reading may take
LEAST_POSITIONS, QUICK_POSITIONS = 16, 200

ROUNDED: Mapping[str, Literal["bfloat16", "float16"]] = {"BF16": "bfloat16", "F16": "float16"}


class Subject:
    """A folder, its source where there is one, and how thoroughly to look; a context manager.

    device: where the readings are computed, "cpu" or another that torch knows.
    Whatever needs the source raises CannotCheck where there is none, and InputError for what is malformed.
    """

    def __init__(self, folder: Path, source: Path | None, *, level: str, device: str) -> None:
        self.folder = folder
        self.level = level
        self.device = device
        self._source = source
        self._models: list[Model] = []

    def __enter__(self) -> Subject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for model in self._models:
            model.close()

    @property
    def source(self) -> Path:
        """The GGUF file, or a part of a split one."""
        if self._source is None:
            raise CannotCheck("there is no source to compare with: --against names one")
        return self._source

    @cached_property
    def header(self) -> Header:
        """Of the source."""
        return read_header(self.source)

    @cached_property
    def record(self) -> Mapping[str, Any]:
        """conversion.json."""
        if not (self.folder / RECORD).exists():
            raise CannotCheck(f"there is no {RECORD} to say what was written")
        return self.json(RECORD)

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

    @cached_property
    def tensors(self) -> Mapping[str, SafetensorsTensor]:
        """What the folder's safetensors files hold, read strictly."""
        return read_safetensors(self.folder, links=True).tensors

    @cached_property
    def vocabulary(self) -> TokenizerFiles:
        """The tokenizer that the source's keys lead to."""
        return build_tokenizer(self.header.metadata)

    @cached_property
    def outputs(self) -> Sequence[OutputTensor]:
        """The tensors that the source's header leads to."""
        # What is unknown was refused, or left out with a warning, when the folder was made.
        return make_plan(self.header, self.vocabulary, allow_unknown=True).outputs

    @cached_property
    def ggml_reading(self) -> Model:
        """The source, by ggml's conventions; with every weight as the folder can hold it.

        Where all of the folder's weights are of one 16-bit type, the source's are rounded to it once. Else they
        are taken as they are: such a folder is float32, or lost nothing.
        """
        from llorch import runtime  # torch: two seconds that the checks before did not need

        dtypes = {tensor.dtype for tensor in self.tensors.values()}
        rounded = ROUNDED.get(dtypes.pop()) if len(dtypes) == 1 else None
        self._models.append(runtime.load(self.source, device=self.device, rounded=rounded))
        return self._models[-1]

    @cached_property
    def folder_reading(self) -> Model:
        """The folder, by transformers' conventions."""
        from llorch import runtime  # as above

        self._models.append(runtime.load(self.folder, device=self.device))
        return self._models[-1]

    @cached_property
    def prose(self) -> list[int]:
        """The beginning of a text as ids: what this level can afford to compute."""
        ids = self.folder_reading.tokenizer.encode(PROSE).ids
        return ids[: self.positions(QUICK_POSITIONS, len(ids))]

    def positions(self, quick: int, full: int) -> int:
        """How many positions to compute: at most `quick` or `full`, within time, memory and the context."""
        traits = self.folder_reading.traits
        most = min(full, traits.n_ctx, LOGITS_BYTES // (4 * traits.vocabulary_size))
        if self.level == "quick":
            weights = sum(tensor.nbytes // 2 for tensor in self.tensors.values())
            most = min(most, quick, max(LEAST_POSITIONS, int(QUICK_FLOP / (2 * weights))))
        return max(1, most)

    @cached_property
    def ggml_logits(self) -> Tensor:
        """Of the source's reading, after every token of `prose`."""
        return self.ggml_reading.logits(self.prose)

    @cached_property
    def folder_logits(self) -> Tensor:
        """Of the folder's reading, after every token of `prose`."""
        return self.folder_reading.logits(self.prose)

    @cached_property
    def comparison(self) -> LogitsComparison:
        """Of the two."""
        return compare_logits(self.ggml_logits, self.folder_logits)

    def affordable(self, sizes: Iterable[tuple[str, int]]) -> set[str]:
        """Which of these (name, bytes) are looked at: quick takes what fits in `QUICK_BYTES`, full takes all.

        The choice is by a digest of the names, so it is spread evenly and always the same.
        """
        rows = sorted(sizes, key=lambda row: hashlib.sha256(row[0].encode()).digest())
        if self.level == "full":
            return {name for name, _ in rows}
        chosen, left = set(), QUICK_BYTES
        for name, nbytes in rows:
            if nbytes <= left:
                chosen.add(name)
                left -= nbytes
        return chosen
