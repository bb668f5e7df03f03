"""Whether text goes in and out as it did: tokens, special ids, the chat template."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from llorch.base.shown import shown
from llorch.formats.tokenizer import stored_id
from llorch.verification.check import Measured, check, counted
from llorch.verification.sample import ODDITIES, PROSE
from llorch.verification.subject import Subject

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The ids that both sides name: the GGUF's key, and the keys of config.json and generation_config.json.
SPECIAL_IDS = (
    ("tokenizer.ggml.bos_token_id", "bos_token_id"),
    ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ("tokenizer.ggml.padding_token_id", "pad_token_id"),
)
TEMPLATE = "tokenizer.chat_template"
NAMED = "additional_chat_templates"  # the folder of the templates that have a name


@check(
    "tokenizer.ids",
    at_most=0,
    unit="texts",
    because="a model given other tokens is given another text, and still answers fluently",
)
def tokenizer_ids(subject: Subject) -> Measured:
    """Both tokenizers give the same ids for prose and for oddities, with special tokens and without."""
    texts = (*ODDITIES, *PROSE.split("\n\n"))
    return counted(
        different(subject.ggml_reading.tokenizer, subject.folder_reading.tokenizer, texts),
        f"{len(texts)} texts",
        compared=len(texts),
    )


@check(
    "tokenizer.auto",
    at_most=0,
    unit="texts",
    because="AutoTokenizer is what users call, and of some models it builds the tokenizer anew by the model's name",
)
def tokenizer_auto(subject: Subject) -> Measured:
    """transformers' AutoTokenizer gives the ids of tokenizer.json; without transformers, as its table says."""
    try:
        from transformers import AutoTokenizer  # seconds, and only where it is there
        from transformers.utils import logging
    except ImportError:
        warned = [text for text in subject.vocabulary.warnings if text.startswith("transformers ")]
        return counted(warned, "by the table of models: transformers is not installed", compared=1)
    texts = (*ODDITIES, *PROSE.split("\n\n"))
    ours = subject.folder_reading.tokenizer
    talk = logging.get_verbosity()
    logging.set_verbosity(logging.CRITICAL)  # what it says of config.json is no progress of ours
    try:
        auto = AutoTokenizer.from_pretrained(subject.folder, local_files_only=True, trust_remote_code=False)
        theirs = [auto(text, add_special_tokens=False)["input_ids"] for text in texts]
    except Exception as error:  # noqa: BLE001  # whatever it is, nobody can use the folder's tokenizer
        return Measured(len(texts), f"{type(error).__name__}: {shown(str(error), 100, quoted=False)}")
    finally:
        logging.set_verbosity(talk)
    differences = (
        f"{shown(text, 30)}: {a[:8]} by tokenizer.json, {b[:8]} by {type(auto).__name__}"
        for text, b in zip(texts, theirs, strict=True)
        if (a := ours.encode(text, add_special_tokens=False).ids) != b
    )
    return counted(differences, f"{len(texts)} texts by {type(auto).__name__}", compared=len(texts))


def different(one: Tokenizer, other: Tokenizer, texts: tuple[str, ...]) -> Iterator[str]:
    """The texts for which two tokenizers give different ids, shown."""
    for text in texts:
        for special in (True, False):
            a, b = (t.encode(text, add_special_tokens=special).ids for t in (one, other))
            if a != b:
                yield f"{shown(text, 30)}: {a[:8]} in the source, {b[:8]} in the folder"
                break


@check(
    "tokenizer.vocabulary", at_most=0, unit="tokens", because="the ids of a token are rows of the embedding"
)
def tokenizer_vocabulary(subject: Subject) -> Measured:
    """Every token has the same id in both tokenizers, and neither has one that the other lacks."""
    one = subject.ggml_reading.tokenizer.get_vocab(with_added_tokens=True)
    other = subject.folder_reading.tokenizer.get_vocab(with_added_tokens=True)
    differing = sorted(dict(one.items() ^ other.items()))
    shown_tokens = (
        f"{shown(t, 30)}: {one.get(t)} in the source, {other.get(t)} in the folder" for t in differing
    )
    return counted(shown_tokens, f"{len(one)} tokens", compared=len(one))


@check("tokenizer.end_ids", at_most=0, unit="ids", because="a generation that misses its end runs on")
def tokenizer_end_ids(subject: Subject) -> Measured:
    """A generation ends at the same tokens."""
    one, other = set(subject.ggml_reading.end_ids), set(subject.folder_reading.end_ids)
    differing = [f"{i} ends only in the {'source' if i in one else 'folder'}" for i in sorted(one ^ other)]
    what = f"{len(one)} ids" if one | other else "neither names one"
    return counted(differing, what, compared=max(1, len(one | other)))


@check(
    "config.special_ids", at_most=0, unit="keys", because="transformers takes these ids from its own files"
)
def config_special_ids(subject: Subject) -> Measured:
    """The ids of config.json and generation_config.json are those of the source's keys, null where it has none."""
    documents = {name: subject.json(name) for name in ("config.json", "generation_config.json")}
    differences, compared = [], 0
    for gguf_key, theirs in SPECIAL_IDS:
        expected = stored_id(subject.header.metadata, gguf_key)
        for name, document in documents.items():
            if theirs not in document or (expected is None and name != "config.json"):
                continue  # generation_config.json may name ends by their texts
            compared += 1
            value = document[theirs]
            named = value if isinstance(value, list) else [value]
            if expected not in named:
                differences.append(f"{theirs} in {name} is {value}, {gguf_key} is {expected}")
    return counted(differences, f"{compared} keys", compared=compared)


@check("template.text", at_most=0, unit="templates", because="a template is copied, never rewritten")
def template_text(subject: Subject) -> Measured:
    """Every template, the default one and those with names, is the source's, character for character."""
    expected, found = dict(source_templates(subject)), dict(folder_templates(subject))
    names = sorted(expected.keys() | found.keys())
    differences = [
        f"{name} {where_it_is(name, expected, found)}"
        for name in names
        if expected.get(name) != found.get(name)
    ]
    characters = sum(map(len, found.values()))
    what = f"{len(found)} of {characters} characters" if found or expected else "neither has one"
    return counted(differences, what, compared=max(1, len(names)))


def where_it_is(name: str, source: Mapping[str, str], folder: Mapping[str, str]) -> str:
    """What to say of a template that is not the same on both sides."""
    if name in source and name in folder:
        return "differs"
    return f"is only in the {'source' if name in source else 'folder'}"


def source_templates(subject: Subject) -> Iterator[tuple[str, str]]:
    """The source's templates by the files that they become; a name of one of llama.cpp's own is no template."""
    metadata = subject.header.metadata
    default = metadata.text(TEMPLATE, None)
    if default is not None and "{" in default:
        yield "chat_template.jinja", default
    for key in metadata:
        if key.startswith(f"{TEMPLATE}."):
            yield f"{NAMED}/{key[len(TEMPLATE) + 1 :]}.jinja", metadata.text(key)


def folder_templates(subject: Subject) -> Iterator[tuple[str, str]]:
    """The folder's templates by file."""
    files = [subject.folder / "chat_template.jinja", *sorted((subject.folder / NAMED).glob("*.jinja"))]
    for file in files:
        if file.is_file():
            name = file.relative_to(subject.folder).as_posix()
            yield name, file.read_bytes().decode("utf-8", "replace")
