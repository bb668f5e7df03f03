"""Comparison of two config.json: differences with an effect on the model, and keys that differ without any.

Both are read as the runtime reads them, with the defaults of their classes. A different trait, special id or dtype of
the weights is an effect. A key that is spelled differently, is left out because it is the default, or only matters in
training has none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from llorch.base.errors import InputError, MalformedInput
from llorch.base.printable import printable
from llorch.verification.checks.meaning import EXACT, OWN, relative, rope_difference, within_context

if TYPE_CHECKING:
    from llorch.runtime import Config, Rope, Traits

FILE = "config.json"
# Keys at the top level of a multimodal model's config that also apply to its text_config.
OF_THE_WHOLE = ("bos_token_id", "eos_token_id", "pad_token_id", "tie_word_embeddings", "dtype", "torch_dtype")
# Keys about the file, not the model: another class with the same computation, how the original's weights are packed.
NOT_OF_THE_MODEL = (
    "architectures",
    "quantization_config",
    "auto_map",
    "transformers_version",
    "_name_or_path",
)
IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# Text parts of vision models that compute the same as another class, and are written as that.
WRITTEN_AS = {"qwen3_vl_text": "qwen3", "qwen3_vl_moe_text": "qwen3_moe"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One effect: what differs, and both values."""

    what: str
    written: str
    original: str

    def __str__(self) -> str:
        return f"{self.what} is {self.written}, the original's is {self.original}"


@dataclass(frozen=True, slots=True)
class ConfigComparison:
    """The result of a comparison. effects: what differs. spelled: keys that differ without an effect."""

    effects: tuple[Difference, ...]
    spelled: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """The result in one sentence."""
        same = "the same in effect as the original" if not self.effects else "not the original's in effect"
        also = f"; spelled otherwise, without effect: {', '.join(self.spelled)}" if self.spelled else ""
        return f"{same}{also}"

    def to_json(self) -> dict[str, object]:
        """Return the comparison for --json."""
        return {
            "effects": [asdict(effect) for effect in self.effects],
            "spelled_otherwise": list(self.spelled),
        }


def read_reference_config(path: Path) -> Config:
    """Read an original's config, from its folder or the file itself; of a multimodal model, the text part.

    Raises InputError if it isn't a config of a known class, OSError if it cannot be read.
    """
    from llorch import runtime  # its tables, which --help does not need

    file = path / FILE if path.is_dir() else path
    values = runtime.read_json(file)
    text = values.get("text_config")
    if isinstance(text, dict):
        values = {**{key: values[key] for key in OF_THE_WHOLE if key in values}, **text}
    if not values:
        raise MalformedInput("says nothing", path=file)
    kept = {key: value for key, value in values.items() if key not in NOT_OF_THE_MODEL}
    if kept.get("model_type") in WRITTEN_AS:
        kept["model_type"] = WRITTEN_AS[str(kept["model_type"])]
    return runtime.Config.of_values(kept, file)


def compare_configs(folder: Path, reference: Config) -> ConfigComparison:
    """Compare the config.json of `folder` with the original's. Raises what `read_reference_config` does."""
    from llorch import runtime  # as above

    written = runtime.Config.of_folder(folder)
    differing = sorted(
        key
        for key in written.values.keys() | reference.values.keys()
        if key not in NOT_OF_THE_MODEL and written.values.get(key) != reference.values.get(key)
    )
    spelled = tuple(key for key in differing if not _changes(written, reference, key))
    return ConfigComparison(tuple(_effects(written, reference)), spelled)


def _effects(written: Config, original: Config) -> Iterator[Difference]:
    from llorch import runtime  # as above

    yield from _traits(runtime.traits_of_config(written), runtime.traits_of_config(original))
    yield from _beside(written, original)


def _changes(written: Config, original: Config, key: str) -> bool:
    """Return whether replacing one key by the original's value, or its absence, has an effect."""
    from llorch import runtime  # as above

    values = {name: value for name, value in written.values.items() if name != key}
    if key in original.values:
        values[key] = original.values[key]
    try:
        return any(_effects(written, runtime.Config.of_values(values, written.path)))
    except InputError:  # it contradicts the other keys
        return True


def _traits(one: Traits, other: Traits) -> Iterator[Difference]:
    for field in fields(one):
        name = field.name
        a, b = within_context(one, name), within_context(other, name)
        if name == "ropes":
            yield from _ropes(one, other)
        elif name not in OWN and not _same(a, b):
            yield _difference(name, a, b)


def _ropes(one: Traits, other: Traits) -> Iterator[Difference]:
    context = max(one.n_ctx, other.n_ctx)
    for layer, (a, b) in enumerate(zip(one.ropes, other.ropes, strict=False)):
        if a is None or b is None:
            if a is not b:
                yield Difference(
                    f"the rotary embedding of layer {layer}", _rope(a, context), _rope(b, context)
                )
                return
        elif rope_difference(a, b, context) > EXACT:
            yield Difference(f"the rotary embedding of layer {layer}", _rope(a, context), _rope(b, context))
            return


def _rope(rope: Rope | None, context: int) -> str:
    """Describe a RoPE for a long sequence: its fastest and slowest frequency, and the scale."""
    if rope is None:
        return "none"
    frequencies = rope.planned_for(context)
    return (
        f"{len(frequencies)} pairs by {frequencies[0]:.6g} to {frequencies[-1]:.6g}, scale {rope.scale:.6g}"
    )


def _beside(written: Config, original: Config) -> Iterator[Difference]:
    """Yield effects that aren't traits: special ids, tied embeddings, dtype of the weights."""
    for key in IDS:
        a, b = (_ids(config.get(key, None)) for config in (written, original))
        if a != b and b:  # an original may have all of them in generation_config.json only
            yield _difference(key, a, b)
    tied = [config.flag("tie_word_embeddings") for config in (written, original)]
    if tied[0] != tied[1]:
        yield _difference("tie_word_embeddings", *tied)
    types = [config.get("dtype", None) or config.get("torch_dtype", None) for config in (written, original)]
    if None not in types and types[0] != types[1]:
        yield _difference("dtype", *types)


def _ids(value: object) -> list[object]:
    return sorted(value) if isinstance(value, list) else [] if value is None else [value]


def _same(a: object, b: object) -> bool:
    if isinstance(a, float) or isinstance(b, float):
        return relative(a, b) <= EXACT
    if isinstance(a, tuple) and isinstance(b, tuple) and type(a) is tuple:
        return len(a) == len(b) and all(_same(x, y) for x, y in zip(a, b, strict=True))
    return a == b


def _difference(what: str, a: object, b: object) -> Difference:
    """Return the difference of two values; for values per layer, at the first layer that differs."""
    if isinstance(a, tuple) and isinstance(b, tuple) and len(a) == len(b):
        layer = next(i for i, (x, y) in enumerate(zip(a, b, strict=True)) if not _same(x, y))
        return Difference(f"{what} of layer {layer}", _text(a[layer]), _text(b[layer]))
    return Difference(what, _text(a), _text(b))


def _text(value: object) -> str:
    return printable(str(value), 120, quoted=False)
