"""smoke_test(): check a model without anything to compare it with: does it load, run, and predict English?

It cannot tell whether a model is the right one, only that it isn't broken: files with the right length and digest have
contained zeros, the wrong vocabulary, or weights in a wrong order.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING

from llorch import runtime
from llorch.base.errors import UnsupportedInput
from llorch.base.printable import printable
from llorch.verification.check import CannotCheck, Check, Measurement, check, count
from llorch.verification.judge import CheckProgress, now, silent, tools
from llorch.verification.report import Report
from llorch.verification.sample import PROSE
from llorch.verification.subject import LEAST_POSITIONS, LOGITS_BYTES, QUICK_FLOP, QUICK_POSITIONS

if TYPE_CHECKING:
    from torch import Tensor

    from llorch.runtime import Description, Model

SHARE_OF_MEMORY = 0.8  # of the machine's memory, that a model may use


def memory_here() -> int:
    """Return the bytes of memory that a model may use on this machine."""
    return int(SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class SmokeSubject:
    """A model file or folder, opened on first use; a context manager.

    Raises CannotCheck for a model that the runtime does not support, or that does not fit into memory.
    """

    def __init__(self, path: Path, *, level: str, device: str) -> None:
        self.path = path
        self.level = level
        self.device = device
        self._models: list[Model] = []

    def __enter__(self) -> SmokeSubject:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for model in self._models:
            model.close()

    @cached_property
    def description(self) -> Description:
        """The model's description, from its headers."""
        try:
            return runtime.describe(self.path)
        except UnsupportedInput as error:
            raise CannotCheck(f"the runtime does not know it: {error}") from error

    @cached_property
    def model(self) -> Model:
        """The loaded model."""
        needed = self.description.for_positions(QUICK_POSITIONS).total
        there = memory_here()
        if needed > there:
            raise CannotCheck(f"it needs {needed:,} bytes of memory, {there:,} may be used here")
        try:
            self._models.append(runtime.load(self.path, device=self.device))
        except UnsupportedInput as error:
            raise CannotCheck(f"the runtime does not know it: {error}") from error
        return self._models[-1]

    @cached_property
    def prose(self) -> Sequence[int]:
        """The beginning of a text as token ids, as long as this level can afford."""
        ids: list[int] = self.model.tokenizer.encode(PROSE).ids
        most = min(self.model.n_ctx, LOGITS_BYTES // (4 * self.model.vocabulary_size))
        if self.level == "quick":
            affordable = int(QUICK_FLOP / (2 * self.description.weights))
            most = min(most, QUICK_POSITIONS, max(LEAST_POSITIONS, affordable))
        return ids[: max(2, most)]

    @cached_property
    def logits(self) -> Tensor:
        """The logits after every token of `prose`: (tokens, vocabulary), float32."""
        return self.model.logits(self.prose)


@check(
    "alone.finite",
    at_most=0,
    unit="positions",
    because="one NaN in a weight spreads to everything after it",
)
def finite(lone: SmokeSubject) -> Measurement:
    """The number of positions of a text with a NaN or infinite logit."""
    bad = (~lone.logits.isfinite()).any(dim=-1).nonzero().flatten().tolist()
    return count(
        (f"position {position}" for position in bad), f"{len(lone.prose)} positions", compared=len(lone.prose)
    )


@check(
    "alone.surprise",
    at_most=0.75,
    fault_above=math.inf,
    unit="of a guess",
    because="whoever has learnt any English is less surprised by it than by chance; weights in disorder are not",
)
def surprise(lone: SmokeSubject) -> Measurement:
    """Mean negative log-likelihood of a text's tokens, divided by that of a uniform guess."""
    import torch  # `import verification` does not load it

    targets = torch.tensor(lone.prose[1:], device=lone.logits.device)
    loss = torch.nn.functional.cross_entropy(lone.logits[:-1].double(), targets)
    guess = math.log(lone.model.vocabulary_size)
    return Measurement(float(loss) / guess, detail=f"{len(targets)} tokens, {float(loss):.2f} nats each")


@check(
    "alone.tokens",
    at_most=0,
    unit="texts",
    because="a text that does not come back from its tokens was not what the model was given",
)
def tokens_come_back(lone: SmokeSubject) -> Measurement:
    """The number of texts that change when encoded and decoded, ignoring blanks at both ends."""
    tokenizer = lone.model.tokenizer
    texts = PROSE.split("\n\n")
    lost = [
        printable(text, 30)
        for text in texts
        if tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids).strip() != text.strip()
    ]
    return count(lost, f"{len(texts)} texts", compared=len(texts))


SMOKE_CHECKS: Mapping[str, Check[SmokeSubject]] = MappingProxyType(
    {found.name: found for found in (finite, surprise, tokens_come_back)}
)


def smoke_test(
    path: str | os.PathLike[str],
    level: str = "quick",
    device: str = "cpu",
    *,
    progress: CheckProgress = silent,
) -> Report:
    """Run a .gguf file or a folder by itself; for an unsupported model the checks are skipped: INCOMPLETE.

    level: "quick" computes as many positions as a few seconds allow, "full" a whole text. device: "auto" is cuda if
    available. progress: called with the running check. Raises OSError for a missing file and InputError for one that
    isn't a model; any other fault is in the report.
    """
    from llorch.runtime import choose_device  # torch, two seconds that a wrong path need not wait for

    file = Path(path)
    file.stat()
    started = now()
    with SmokeSubject(file, level=level, device=choose_device(device)) as lone:
        with suppress(CannotCheck):  # each check reports it
            _ = lone.description
        results = []
        for one in SMOKE_CHECKS.values():
            progress(one.name, 0, 1)
            results.append(one(lone))
        return Report(os.fspath(file), None, level, lone.device, started, now(), tools(), results)
