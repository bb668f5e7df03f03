"""Checks of loading: the folder as transformers loads it, in the dtype that config.json names, against the source."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llorch.base.printable import printable
from llorch.verification.check import CannotCheck, Measurement, check, count
from llorch.verification.checks.behaviour import KL_CEILING, noise_of
from llorch.verification.library import require_transformers
from llorch.verification.readings import Run, release
from llorch.verification.sample import ODDITIES, PROSE
from llorch.verification.subject import Subject

if TYPE_CHECKING:
    from torch import Tensor

LOADED_BYTES = 1 << 30  # most bytes of weights for transformers, which needs all of them in memory
POSITIONS = 64

# Faults of older versions of transformers: model_type, the version that fixed it, the condition, and the fault.
OTHERWISE: Sequence[tuple[str, tuple[int, int], Callable[[Mapping[str, Any]], bool], str]] = (
    (
        "granitemoehybrid",
        (5, 23),
        lambda config: int(config.get("mamba_n_groups") or 1) > 1,
        "norms all channels of Mamba 2 at once where the model has groups",
    ),
)


@check(
    "transformers.tokens",
    at_most=0,
    unit="texts",
    because="AutoTokenizer builds its own tokenizer of the folder's files, and that is the one that users have",
    level="full",
)
def transformers_tokens(subject: Subject) -> Measurement:
    """AutoTokenizer gives the same ids as the source's tokenizer."""
    library = require_transformers("AutoTokenizer")
    source = subject.source_text.tokenizer
    try:
        loaded = library.AutoTokenizer.from_pretrained(subject.folder, local_files_only=True)
    except Exception as error:  # noqa: BLE001  # users would get the same error
        return Measurement(
            math.inf, f"AutoTokenizer: {type(error).__name__}: {printable(str(error), 200, quoted=False)}"
        )
    texts = (*ODDITIES, *PROSE.split("\n\n"))
    differences = []
    for text in texts:
        one, other = (
            source.encode(text, add_special_tokens=False).ids,
            loaded.encode(text, add_special_tokens=False),
        )
        if one != list(other):
            differences.append(
                f"{printable(text, 30)}: {one[:8]} in the source, {list(other)[:8]} by AutoTokenizer"
            )
    return count(differences, f"{len(texts)} texts, {type(loaded).__name__}", compared=len(texts))


@check(
    "transformers.logits",
    at_most=1e-6,
    ceiling=KL_CEILING,
    unit="nats",
    because="in float32 both compute the same model; in config.json's type no activation may overflow",
    level="full",
)
def transformers_logits(subject: Subject) -> Measurement:
    """Mean KL divergence of transformers in float32 from the source; infinite if the dtype of config.json overflows."""
    nbytes = sum(tensor.nbytes for tensor in subject.tensors.values())
    if nbytes > LOADED_BYTES:
        raise CannotCheck(
            f"transformers would load {nbytes:,} bytes, {LOADED_BYTES:,} are allowed", optional=True
        )
    library = require_transformers("AutoConfig", "AutoModelForCausalLM")
    require_the_same_model(library, subject.config)
    import torch

    reading, ids = subject.ggml_reading, subject.prose[:POSITIONS]
    named = subject.config.get("dtype") or subject.config.get("torch_dtype") or "float32"
    try:
        used = _logits(library, subject, getattr(torch, str(named)), ids)
        exact = used if named == "float32" else _logits(library, subject, torch.float32, ids)
    except Exception as error:  # noqa: BLE001  # users would get the same error
        return Measurement(math.inf, f"{type(error).__name__}: {printable(str(error), 200, quoted=False)}")
    bad = (~used.isfinite()).any(-1).nonzero().flatten().tolist()
    if bad:
        return Measurement(math.inf, f"position {bad[0]}", f"a logit in {named} is no finite number")
    with torch.inference_mode():
        run = Run(reading, ids)
        for index in range(reading.traits.n_layers):
            run.layer(index)
            release(reading, index, subject.sizes)
        expected = run.logits(run.end())
    from llorch.runtime import compare_logits

    exact, used = exact.to(expected.device), used.to(expected.device)
    found = compare_logits(expected, exact[:, : expected.shape[1]])
    cost = compare_logits(exact, used).kl_mean
    detail = f"{found.positions} positions; {named} costs {cost:.1e} nats of it"
    return Measurement(
        found.kl_mean, f"worst at position {found.kl_max_at}", detail, noise_of(subject.lockstep)
    )


def _logits(library: Any, subject: Subject, dtype: Any, ids: Sequence[int]) -> Tensor:
    """Return transformers' logits of the folder, computed in a dtype: (positions, vocabulary), float32."""
    import torch

    plain = {"attn_implementation": "eager"}
    # In 16 bits its grouped matrix products need rows of a multiple of 16 bytes.
    if int(library.__version__.partition(".")[0]) >= 5:
        plain["experts_implementation"] = "eager"
    loaded = (
        _class_of(library, subject)
        .from_pretrained(subject.folder, dtype=dtype, local_files_only=True, **plain)
        .to(subject.device)
    )
    with torch.inference_mode():
        logits: Tensor = loaded(torch.tensor([list(ids)], device=subject.device)).logits[0]
    return logits.float()


def _class_of(library: Any, subject: Subject) -> Any:
    """Return AutoModelForCausalLM, or the class that config.json names if that doesn't support it (mistral4)."""
    config = library.AutoConfig.from_pretrained(subject.folder, local_files_only=True)
    if type(config) in library.MODEL_FOR_CAUSAL_LM_MAPPING:
        return library.AutoModelForCausalLM
    (name,) = subject.config.get("architectures") or [""]
    return getattr(library, str(name), library.AutoModelForCausalLM)


def require_the_same_model(library: Any, config: Mapping[str, Any]) -> None:
    """Raise CannotCheck if this version of transformers is known to compute the model wrongly."""
    version = tuple(int(part) for part in library.__version__.split(".")[:2])
    for model_type, mended, concerns, what in OTHERWISE:
        if config.get("model_type") == model_type and version < mended and concerns(config):
            needed = ".".join(map(str, mended))
            raise CannotCheck(f"transformers {library.__version__} {what}: {needed} or newer does not")
