"""try_out(): a model with nothing to compare it with. Does it load, run, and make of English more than a guess?

It cannot say that a model is the right one. It says that this one is no ruin: files of the right length and digest
have held zeros, the wrong vocabulary, or weights in an order that nothing reads.
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

SHARE_OF_MEMORY = 0.8  # of the machine's, that a model may take here


def memory_here() -> int:
    """Bytes that a model may take on this machine."""
    return int(SHARE_OF_MEMORY * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class SmokeSubject:
    """A model file or folder, opened when it is first asked for; a context manager.

    What the runtime does not support, or what does not fit into this machine, raises CannotCheck.
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
        """What its headers say."""
        try:
            return runtime.describe(self.path)
        except UnsupportedInput as error:
            raise CannotCheck(f"the runtime does not know it: {error}") from error

    @cached_property
    def model(self) -> Model:
        """Ready to run."""
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
        """The beginning of a text as ids: what this level can afford to compute."""
        ids: list[int] = self.model.tokenizer.encode(PROSE).ids
        most = min(self.model.n_ctx, LOGITS_BYTES // (4 * self.model.vocabulary_size))
        if self.level == "quick":
            affordable = int(QUICK_FLOP / (2 * self.description.weights))
            most = min(most, QUICK_POSITIONS, max(LEAST_POSITIONS, affordable))
        return ids[: max(2, most)]

    @cached_property
    def logits(self) -> Tensor:
        """After every token of `prose`; (tokens, vocabulary), float32."""
        return self.model.logits(self.prose)


@check(
    "alone.finite",
    at_most=0,
    unit="positions",
    because="one NaN in a weight spreads to everything after it",
)
def finite(lone: SmokeSubject) -> Measurement:
    """At how many positions of a text a logit is no finite number."""
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
    """Mean negative log-likelihood of a text's tokens, as a share of that of a uniform guess."""
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
    """How many texts are others after they were encoded and decoded, but for blanks at their beginning."""
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
    """Runs a .gguf file or a folder by itself; what the runtime does not know is skipped, so INCOMPLETE.

    level: "quick" computes as many positions as a few seconds allow, "full" a whole text. device: where; "auto" is
    cuda if there. progress: told which check is made. Raises OSError for what is not there and InputError for what is
    no model; whatever else is wrong with it is in the report.
    """
    from llorch.runtime import choose_device  # torch: two seconds that a wrong path should not cost

    file = Path(path)
    file.stat()
    started = now()
    with SmokeSubject(file, level=level, device=choose_device(device)) as lone:
        with suppress(CannotCheck):  # each check says it
            _ = lone.description
        results = []
        for one in SMOKE_CHECKS.values():
            progress(one.name, 0, 1)
            results.append(one(lone))
        return Report(os.fspath(file), None, level, lone.device, started, now(), tools(), results)
