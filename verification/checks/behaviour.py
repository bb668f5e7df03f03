"""Whether both sides compute the same: one decoder, run on two readings that hold equal weights.

The limits are those of the table in docs/verification.md: two right readings in float32 differ by rounding
alone, some 1e-11 nats, and a fault that no other check sees is above 1e-8.
"""

from __future__ import annotations

from llorch.runtime import LogitsComparison, compare_logits
from llorch.verification.check import Measured, check
from llorch.verification.sample import PROMPT, PROSE
from llorch.verification.subject import Subject

FINITE_POSITIONS = 32  # of the text, computed in float16
CHUNK, CHUNKED = 7, 96  # tokens: no power of two, so that no buffer ends where a chunk does; and of so many
LONGEST = 2048  # positions that the full level goes to, where the model and memory have room for them
TAIL = 64  # positions that are compared at the end of a long text
GREEDY_TOKENS = 24


@check(
    "logits.mean",
    at_most=1e-10,
    fault_above=1e-8,
    unit="nats",
    because="equal weights of equal meaning leave the rounding of float32: 1e-11",
)
def logits_mean(subject: Subject) -> Measured:
    """Mean KL divergence of the folder's reading from the source's, over a text."""
    found = subject.comparison
    return Measured(found.kl_mean, f"worst at position {found.kl_max_at}", summary(found))


@check(
    "logits.worst",
    at_most=1e-9,
    fault_above=1e-7,
    unit="nats",
    because="a window's edge, a rare token or a wrong row shows at few positions, and a mean hides it",
)
def logits_worst(subject: Subject) -> Measured:
    """The largest KL divergence of any position of the same text."""
    found = subject.comparison
    return Measured(found.kl_max, f"position {found.kl_max_at}", summary(found))


@check(
    "logits.top",
    at_most=0,
    unit="positions",
    because="the most probable token is what a greedy reader sees; below a margin of 1e-3 it is a tie",
)
def logits_top(subject: Subject) -> Measured:
    """At how many positions the most probable token is another, by more than rounding can do."""
    found = subject.comparison
    flips = [flip for flip in found.flips if flip.margin > 1e-3]
    where = ", ".join(str(flip.position) for flip in flips[:5])
    return Measured(len(flips), where and f"position {where}", summary(found))


@check(
    "logits.finite",
    at_most=0,
    unit="logits",
    because="a loader computes in the dtype that config.json asks for, and float16 ends at 65504",
)
def logits_finite(subject: Subject) -> Measured:
    """Every logit is a number, also of a folder that is computed in its own dtype where that is float16."""
    asked = subject.config.get("dtype", subject.config.get("torch_dtype"))
    if asked == "float16":
        from llorch import runtime  # torch, as in `Subject`

        with runtime.load(subject.folder, device=subject.device, dtype="float16") as model:
            logits = model.logits(subject.prose[:FINITE_POSITIONS])
    else:
        logits = subject.folder_logits  # bfloat16 reaches as far as float32
    bad = ~logits.isfinite()
    first = int(bad.any(dim=1).int().argmax()) if bool(bad.any()) else None
    where = "" if first is None else f"position {first}"
    return Measured(int(bad.sum()), where, f"{len(logits)} positions in {asked or 'float32'}")


@check(
    "logits.chunked",
    at_most=1e-9,
    fault_above=1e-7,
    unit="nats",
    because="a mask or a position that goes wrong on a filled cache still talks fluently",
)
def logits_chunked(subject: Subject) -> Measured:
    """The folder's reading gives the same for a text in chunks as for the whole."""
    ids = subject.prose[:CHUNKED]
    chunked = subject.folder_reading.logits(ids, chunk=CHUNK)
    found = compare_logits(subject.folder_logits[: len(ids)], chunked)
    return Measured(found.kl_max, f"position {found.kl_max_at}", summary(found))


@check(
    "logits.long",
    at_most=1e-9,
    fault_above=1e-7,
    unit="nats",
    because="faults of rope and windows grow with the position, or begin at one",
    level="full",
)
def logits_long(subject: Subject) -> Measured:
    """The worst of the last positions of a text as long as context, memory and `LONGEST` allow."""
    once = subject.folder_reading.tokenizer.encode(PROSE).ids
    wanted = subject.positions(LONGEST, LONGEST)
    ids = (once * (wanted // len(once) + 1))[:wanted]
    source, folder = (model.logits(ids)[-TAIL:] for model in (subject.ggml_reading, subject.folder_reading))
    found = compare_logits(source, folder)
    return Measured(found.kl_max, f"position {wanted - len(source) + found.kl_max_at}", summary(found))


@check(
    "generate.greedy",
    at_most=0,
    unit="tokens",
    because="what a user does with both must come out the same",
)
def generate_greedy(subject: Subject) -> Measured:
    """Both readings continue a prompt by the same tokens, the most probable ones."""
    wanted = subject.positions(GREEDY_TOKENS, GREEDY_TOKENS)
    source, folder = (
        model.generate(PROMPT, max_new_tokens=wanted)
        for model in (subject.ggml_reading, subject.folder_reading)
    )
    pairs = zip(source.ids, folder.ids, strict=False)
    same = next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(source.ids), len(folder.ids)))
    longest = max(len(source.ids), len(folder.ids))
    return Measured(longest - same, f"token {same}" if same < longest else "", f"{longest} tokens")


def summary(found: LogitsComparison) -> str:
    """What was compared, for the report."""
    return f"{found.positions} positions, logits at most {found.difference:.1e} apart"
