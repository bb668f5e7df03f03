"""Checks of behaviour: do both sides compute the same? One decoder runs in lockstep on two readings with equal weights.

The limits are those of the table in docs/verification.md: two correct readings in float32 differ only by rounding, some
1e-11 nats, and a fault that no other check finds is above 1e-8. For a noisy model they are raised to a multiple of its
noise, up to a ceiling below the faults of that table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from llorch.runtime import LogitsComparison
from llorch.verification.check import CannotCheck, Measurement, check
from llorch.verification.lockstep import LockstepResult
from llorch.verification.readings import layered_logits, next_tokens
from llorch.verification.sample import PROMPT
from llorch.verification.subject import Subject

GREEDY_TOKENS, QUICK_GREEDY_TOKENS = 24, 8
KL_CEILING, MEAN_CEILING = 1e-3, 1e-4  # structural faults are above 1e-2
FINITE_POSITIONS = 32  # of the text, computed in float16
TIE = 1e-3  # difference of logits below which two tokens count as equally probable


@check(
    "lockstep",
    at_most=1,
    unit="of the limit",
    because="the first operation whose results differ is where the fault is: what comes after it differs by that alone",
)
def lockstep(subject: Subject) -> Measurement:
    """The largest difference of the readings after any step of any layer, as a share of its limit."""
    _ = subject.source
    found = subject.lockstep
    worst = found.worst
    if worst is None:
        return Measurement(math.nan)
    extent = f"{found.steps} steps of {found.extent}, {found.positions} positions"
    detail = f"{extent}, relative RMS at most {worst.relative:.1e}"
    if not found.faults:
        return Measurement(worst.relative / worst.limit, worst.place, detail)
    first = found.faults[0]
    where = (
        f"{first.place}: {found.explanation or 'differs'}; position {first.position}, channel {first.channel}"
    )
    others = ", ".join(str(fault.layer) for fault in found.faults[1:9] if fault.layer is not None)
    more = f"; layers that add faults of their own: {others}" if others else ""
    return Measurement(first.relative / first.limit, where, f"{detail}{more}")


@check(
    "logits.mean",
    at_most=1e-10,
    fault_above=1e-8,
    ceiling=MEAN_CEILING,
    unit="nats",
    because="equal weights of equal meaning leave the rounding of float32: 1e-11",
)
def logits_mean(subject: Subject) -> Measurement:
    """Mean KL divergence of the folder's logits from the source's, over a text."""
    found, logits = lockstep_logits(subject)
    noise = found.noise.kl_mean if found.noise else 0.0
    return Measurement(logits.kl_mean, f"worst at position {logits.kl_max_at}", summary(logits, found), noise)


@check(
    "logits.worst",
    at_most=1e-9,
    fault_above=1e-7,
    ceiling=KL_CEILING,
    unit="nats",
    because="a window's edge, a rare token or a wrong row shows at few positions, and a mean hides it",
)
def logits_worst(subject: Subject) -> Measurement:
    """The largest KL divergence at any position of the same text."""
    found, logits = lockstep_logits(subject)
    return Measurement(logits.kl_max, f"position {logits.kl_max_at}", summary(logits, found), noise_of(found))


@check(
    "logits.top",
    at_most=0,
    unit="positions",
    because="the most probable token is what a greedy reader sees; within 1e-3, or the noise, it is a tie",
)
def logits_top(subject: Subject) -> Measurement:
    """The number of positions at which the most probable token differs by more than rounding explains."""
    found, logits = lockstep_logits(subject)
    flips = find_flips(found, logits)
    where = ", ".join(map(str, flips[:5]))
    return Measurement(len(flips), where and f"position {where}", summary(logits, found))


@check(
    "logits.finite",
    at_most=0,
    unit="positions",
    because="a loader computes in the dtype that config.json asks for, and float16 ends at 65504",
)
def logits_finite(subject: Subject) -> Measurement:
    """Every logit is finite, also in the folder's own dtype if that is float16."""
    asked = subject.config.get("dtype", subject.config.get("torch_dtype"))
    if asked != "float16":  # bfloat16 reaches as far as float32
        chunked = subject.lockstep.chunked
        assert chunked is not None
        whole = subject.lockstep.logits
        kl = chunked.kl.tolist() if whole is None else whole.kl.tolist()
        bad = [position for position, value in enumerate(kl) if not math.isfinite(value)]
        where = f"position {bad[0]}" if bad else ""
        return Measurement(len(bad), where, f"{len(kl)} positions in {asked or 'float32'}")
    with subject.in_float16() as model:
        logits = layered_logits(model, subject.prose[:FINITE_POSITIONS], subject.layers, subject.sizes)
    at = [position for position, row in enumerate(logits.isfinite().all(-1).tolist()) if not row]
    return Measurement(len(at), f"position {at[0]}" if at else "", f"{len(logits)} positions in float16")


@check(
    "logits.chunked",
    at_most=1e-9,
    fault_above=1e-7,
    ceiling=KL_CEILING,
    unit="nats",
    because="a mask or a position that goes wrong on a filled cache still talks fluently",
)
def logits_chunked(subject: Subject) -> Measurement:
    """The folder's logits are the same for a text in chunks as for the whole text at once."""
    found = subject.lockstep
    assert found.chunked is not None
    return Measurement(
        found.chunked.kl_max,
        f"position {found.chunked.kl_max_at}",
        summary(found.chunked, found),
        noise_of(found),
    )


@check(
    "logits.long",
    at_most=1e-9,
    fault_above=1e-7,
    ceiling=KL_CEILING,
    unit="nats",
    because="faults of rope grow with the position, and what is nothing at the start is a fault at the context's end",
)
def logits_long(subject: Subject) -> Measurement:
    """The largest KL divergence of a text placed half at the start of the context and half at its end."""
    found, _ = lockstep_logits(subject)
    assert found.long is not None
    return Measurement(
        found.long.kl_max, f"token {found.long.kl_max_at}", summary(found.long, found), noise_of(found)
    )


@check(
    "logits.perplexity",
    at_most=1e-6,
    ceiling=1e-3,
    unit="relative difference",
    because="it is the number by which a model is judged, and both sides must get the same",
    level="full",
)
def logits_perplexity(subject: Subject) -> Measurement:
    """The perplexity of a text is the same by both readings."""
    found, _ = lockstep_logits(subject)
    assert found.losses is not None
    one, other = (math.exp(min(loss, 700.0)) for loss in found.losses)
    noise = found.noise.difference if found.noise else 0.0
    return Measurement(
        abs(other / one - 1), detail=f"{one:.6g} by the source, {other:.6g} by the folder", noise=noise
    )


@check(
    "generate.greedy",
    at_most=0,
    unit="tokens",
    because="what a user does with both must come out the same",
)
def generate_greedy(subject: Subject) -> Measurement:
    """Both readings continue a prompt greedily with the same tokens."""
    if len(subject.layers) < subject.folder_reading.traits.n_layers:
        raise CannotCheck("quick does not run every layer: --level full does", optional=True)
    if not subject.sizes.is_small:  # each further token would read the whole model again
        found, logits = lockstep_logits(subject)
        last = logits.positions - 1
        differs = last in find_flips(found, logits)
        return Measurement(float(differs), "token 0" if differs else "", "1 token, after the lockstep's text")
    known = subject.folder_reading.vocabulary_size
    ids = [token for token in subject.folder_text.tokenizer.encode(PROMPT).ids if token < known]
    room = subject.folder_reading.n_ctx - len(ids)
    if subject.level == "quick":
        return _force(subject, ids, min(QUICK_GREEDY_TOKENS, room))
    source, folder = (
        model.generate(ids, max_new_tokens=min(GREEDY_TOKENS, room)).ids
        for model in (subject.ggml_reading, subject.folder_reading)
    )
    pairs = zip(source, folder, strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(source), len(folder)))
    longest = max(len(source), len(folder))
    return Measurement(longest - same, f"token {same}" if same < longest else "", f"{longest} tokens")


def _force(subject: Subject, ids: Sequence[int], count: int) -> Measurement:
    """Generate the folder's tokens one by one, and compare with the source's logits for that text, computed at once.

    Up to the first difference this is the same as generating with both.
    """
    folder = next_tokens(subject.folder_reading, ids, count)
    logits = subject.ggml_reading.logits([*ids, *folder])[len(ids) - 1 : -1]
    gaps = logits.amax(-1) - logits.gather(-1, torch.tensor(folder)[:, None])[:, 0]
    same = next((place for place, gap in enumerate(gaps.tolist()) if not gap <= TIE), count)
    return Measurement(count - same, f"token {same}" if same < count else "", f"{count} tokens")


def lockstep_logits(subject: Subject) -> tuple[LockstepResult, LogitsComparison]:
    """Return the lockstep and its comparison of logits. Raises CannotCheck without a source."""
    _ = subject.source
    found = subject.lockstep
    assert found.logits is not None
    return found, found.logits


def find_flips(found: LockstepResult, logits: LogitsComparison) -> list[int]:
    """Return the positions whose most probable token differs by more than a tie."""
    tie = max(TIE, 2 * found.noise.difference if found.noise else 0.0)
    return [flip.position for flip in logits.flips if flip.margin > tie]


def noise_of(found: LockstepResult) -> float:
    """Return the largest KL divergence of the source's float32 logits from its float64 ones."""
    return found.noise.kl_max if found.noise else 0.0


def summary(logits: LogitsComparison, found: LockstepResult) -> str:
    """Return what was compared, for the report."""
    noise = f", float32 itself {found.noise.difference:.1e}" if found.noise else ""
    through = f" through {found.extent}" if len(found.layers) < found.n_layers else ""
    return f"{logits.positions} positions{through}, logits at most {logits.difference:.1e} apart{noise}"
