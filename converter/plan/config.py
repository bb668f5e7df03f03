"""config.json and generation_config.json from metadata and the architecture's table.

Only keys of a fixed list are written. Floats are the shortest decimals of their float32. Values that GGUF does not
have come from the architecture's table and are reported as assumed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from llorch.base.errors import MalformedInput, UnsupportedInput
from llorch.base.printable import printable
from llorch.converter.plan.dtype import DType
from llorch.converter.plan.published import fill_in
from llorch.converter.plan.rope import Rope, rope_parameters
from llorch.converter.plan.settings import Settings, require_settings
from llorch.converter.schema.architecture import Architecture, Evidence, Key, Kind, Sizes
from llorch.converter.schema.keys import Keys
from llorch.formats.gguf import REQUIRED, Metadata
from llorch.formats.tokenizer import stored_id

# Keys of every decoder's config.json → names of sizes.
DECODER_SIZES = {
    "vocab_size": "vocab",
    "hidden_size": "hidden",
    "intermediate_size": "ff",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "max_position_embeddings": "context",
}

# Keys of other families that some files have, allowed only with the value that has no effect.
NEUTRAL_KEYS = (
    Key("attention.causal", kind=Kind.FLAG, default=True, only=(True,)),
    Key("attention.clamp_kqv", default=0.0, only=(0.0,)),
    Key("attention.max_alibi_bias", default=0.0, only=(0.0,)),
    Key("expert_group_count", kind=Kind.INTEGER, default=0, only=(0, 1)),
    Key("expert_group_used_count", kind=Kind.INTEGER, default=0, only=(0, 1)),
    Key("nextn_predict_layers", kind=Kind.INTEGER, default=0, only=(0,)),
    Key("pooling_type", kind=Kind.INTEGER, default=0, only=(0,)),
)

# Special ids of config.json → metadata keys; a missing one is written as null, since the classes' defaults differ.
SPECIAL_IDS = {
    "bos_token_id": "tokenizer.ggml.bos_token_id",
    "eos_token_id": "tokenizer.ggml.eos_token_id",
    "pad_token_id": "tokenizer.ggml.padding_token_id",
}

# transformers' names of sampling settings → general.sampling.* keys.
SAMPLING_DECIMALS = {
    "temperature": "general.sampling.temp",
    "top_p": "general.sampling.top_p",
    "min_p": "general.sampling.min_p",
    "repetition_penalty": "general.sampling.penalty_repeat",
}
SAMPLING_TOP_K = "general.sampling.top_k"
TYPES, UNUSED = "tokenizer.ggml.token_type", 5  # of llama.cpp's `enum llama_token_type`
SUPPRESSED = "tokenizer.ggml.suppress_tokens"  # ids that are never sampled


@dataclass(frozen=True, slots=True)
class Config:
    """The content of config.json without its dtype, and the values in it that no metadata key determines."""

    values: Mapping[str, object]
    assumed: Mapping[str, object]


def build_config(
    architecture: Architecture,
    evidence: Evidence,
    rope: Rope,
    *,
    flags: Mapping[str, bool],
    tied: bool,
    settings: Settings,
) -> Config:
    """Build config.json; an InputError names the key whose value cannot be expressed, or set."""
    keys, sizes = evidence.keys, evidence.sizes
    names = {k: s for k, s in {**DECODER_SIZES, **architecture.sizes}.items() if s in sizes}
    assumed: dict[str, object] = {**architecture.assumed, **rope.assumed}
    values: dict[str, object] = {
        "architectures": [architecture.class_name],
        "model_type": architecture.model_type,
        **({"head_dim": sizes["head_dim"]} if _writes_head_dim(architecture, keys, sizes) else {}),
        **{name: sizes[size] for name, size in names.items()},
        **architecture.assumed,
        **special_ids(keys.metadata, sizes["vocab"]),
        **flags,
        "tie_word_embeddings": tied,
    }
    own = {key.gguf for key in architecture.keys} | (
        {"nextn_predict_layers"} if architecture.has_prediction_layers else set()
    )
    for key in (*(key for key in NEUTRAL_KEYS if key.gguf not in own), *architecture.keys):
        value, given = _read(key, keys, sizes)
        if key.config:
            values[key.config] = value
            assumed |= {} if given else {key.config: value}
    for name, derive in architecture.derived.items():
        values[name] = assumed[name] = derive(evidence)
    values |= rope_parameters(architecture, rope, keys, sizes)
    published = fill_in(architecture.model_type, values)
    require_settings(settings, architecture, values | published, assumed | published)
    published = fill_in(architecture.model_type, {**values, **settings})  # some follow from settings
    values |= {**published, **settings}
    assumed |= published
    assumed = {key: value for key, value in assumed.items() if key not in settings}
    return Config(dict(sorted(values.items())), dict(sorted(assumed.items())))


def with_dtype(config: Mapping[str, object], dtype: DType) -> dict[str, object]:
    """Add the dtype of the weights to config.json, under the keys of transformers 4 and 5."""
    return dict(sorted({**config, "dtype": dtype.torch_name, "torch_dtype": dtype.torch_name}.items()))


def build_generation_config(
    metadata: Metadata, vocab: int, eos_token_ids: Sequence[int], used: set[str]
) -> dict[str, object]:
    """Build generation_config.json: the ids that end generation, and the recommended sampling.

    used: the keys that were read are added to it. A temperature of 0 or below means greedy decoding in llama.cpp, where
    of the other settings only the repetition penalty has an effect.
    """
    ids = special_ids(metadata, vocab)
    stops = list(dict.fromkeys(eos_token_ids))
    for stop in stops:
        if not 0 <= stop < vocab:
            raise MalformedInput(
                f"stops at id {stop}, outside the {vocab} rows of token_embd.weight", where="the tokenizer"
            )
    eos = stops[0] if len(stops) == 1 else stops or ids["eos_token_id"]
    config: dict[str, object] = {
        name: token for name, token in {**ids, "eos_token_id": eos}.items() if token is not None
    }
    sampling: dict[str, object] = {}
    for name, key in SAMPLING_DECIMALS.items():
        if key in metadata:
            used.add(key)
            sampling[name] = metadata.decimal(key)
    if SAMPLING_TOP_K in metadata:
        used.add(SAMPLING_TOP_K)
        top_k = metadata.number(SAMPLING_TOP_K)  # some writers store a float
        if not top_k.is_integer():
            raise MalformedInput(
                f"is {top_k}, expected a whole number", where=f"key {printable(SAMPLING_TOP_K)}"
            )
        sampling["top_k"] = max(int(top_k), 0)  # 0 is no limit here; in llama.cpp 0 and below are
    never = [
        token for token in _unused_ids(metadata) if token not in stops
    ]  # an end token may be typed UNUSED
    suppressed = metadata.integers(SUPPRESSED, None)
    if suppressed is not None:
        used.add(SUPPRESSED)
        never += [token for token in suppressed.tolist() if 0 <= token < vocab]  # llama.cpp drops the others
    if never:
        config["suppress_tokens"] = list(dict.fromkeys(never))
    penalty = {name: value for name, value in sampling.items() if name == "repetition_penalty"}
    temperature = sampling.get("temperature", 1.0)
    if isinstance(temperature, float) and temperature <= 0:
        return {**config, **penalty, "do_sample": False}
    return {**config, **sampling, **({"do_sample": True} if sampling.keys() - penalty.keys() else {})}


def _unused_ids(metadata: Metadata) -> list[int]:
    """Return the ids of type UNUSED, which the model need not generate: tokenizer.json has no such type.

    Those at the end of the vocabulary are padding, which the tokenizer does not have.
    """
    types = metadata.integers(TYPES, None)
    if types is None:
        return []
    used = (types != UNUSED).nonzero()[0]
    unused: list[int] = (types[: used[-1] + 1 if len(used) else 0] == UNUSED).nonzero()[0].tolist()
    return unused


def special_ids(metadata: Metadata, vocab: int) -> dict[str, int | None]:
    """Return the ids of bos, eos and pad, None if missing; MalformedInput for an id without a row in the embedding."""
    ids: dict[str, int | None] = {}
    for name, key in SPECIAL_IDS.items():
        token = ids[name] = stored_id(metadata, key)
        if token is not None and not 0 <= token < vocab:
            raise MalformedInput(
                f"is {token}, outside the {vocab} rows of token_embd.weight", where=f"key {printable(key)}"
            )
    return ids


def _read(key: Key, keys: Keys, sizes: Sizes) -> tuple[object, bool]:
    """Return a key's value, and whether the file has it."""
    getters: Mapping[Kind, Callable[[str], object]] = {
        Kind.INTEGER: keys.integer,
        Kind.DECIMAL: keys.decimal,
        Kind.FLAG: keys.flag,
        Kind.INTEGERS: keys.integers,
    }
    given = keys.has(key.gguf) or key.default is REQUIRED
    value = getters[key.kind](key.gguf) if given else key.unset
    if not given or (key.unset is not None and value == key.unset):
        return (key.default(sizes) if callable(key.default) else key.default), False
    if key.only and value not in key.only:
        only = " or ".join(str(v) for v in key.only)
        raise UnsupportedInput(
            f"is {value}; transformers' class knows only {only}",
            where=f"key {printable(keys.name(key.gguf))}",
        )
    if key.least is not None and isinstance(value, (int, float)) and value < key.least:
        raise keys.wrong(key.gguf, f"is {value}, below {key.least:g}")
    return (None if key.none is not None and value == key.none else value), True


def _writes_head_dim(architecture: Architecture, keys: Keys, sizes: Sizes) -> bool:
    """Return whether config.json gets head_dim: if needed, or if the original had it, as the file's key shows."""
    if architecture.head_dim == "never":
        return False
    needed = sizes["hidden"] != sizes["heads"] * sizes["head_dim"] or keys.has("attention.key_length")
    return architecture.head_dim == "always" or (architecture.head_dim == "unusual" and needed)
