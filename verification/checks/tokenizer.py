"""Checks of the tokenizer: tokens, decoding, special ids, the chat template."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from llorch.base.errors import InputError
from llorch.base.printable import printable
from llorch.formats.tokenizer import stored_id
from llorch.verification.check import CannotCheck, Measurement, check, count, spread
from llorch.verification.library import require_transformers
from llorch.verification.sample import ODDITIES, PROSE, neighbours
from llorch.verification.subject import Subject

if TYPE_CHECKING:
    from tokenizers import AddedToken, Encoding, Tokenizer

# Special ids: the GGUF's key, and the key in config.json and generation_config.json.
SPECIAL_IDS = (
    ("tokenizer.ggml.bos_token_id", "bos_token_id"),
    ("tokenizer.ggml.eos_token_id", "eos_token_id"),
    ("tokenizer.ggml.padding_token_id", "pad_token_id"),
)
# An added token by itself, inside words, between blanks, and twice.
FRAMES = (
    "{0}",
    "a{0}b",
    " {0} ",
    "{0}{0}",
)
SIDES = ("the source", "the folder")
NEXT = 3  # tokens of each side to show after the first difference of two encodings
FOLLOWING = 12  # characters of the text to show there
MOST_ADDED = 1000  # added tokens to try; some vocabularies have thousands of reserved ones
QUICK_IDS = 4096  # single ids that quick decodes
TEMPLATE = "tokenizer.chat_template"
MERGES = "tokenizer.ggml.merges"
NAMED = "additional_chat_templates"  # the folder of named templates


@check(
    "tokenizer.ids",
    at_most=0,
    unit="texts",
    because="a model given other tokens is given another text, and still answers fluently",
)
def tokenizer_ids(subject: Subject) -> Measurement:
    """Both tokenizers give the same ids for prose and difficult texts, with special tokens and without."""
    texts = (*ODDITIES, *PROSE.split("\n\n"))
    return count(
        different(subject.source_text.tokenizer, subject.folder_text.tokenizer, texts),
        f"{len(texts)} texts",
        compared=len(texts),
    )


@check(
    "tokenizer.auto",
    at_most=0,
    unit="texts",
    because="AutoTokenizer is what users call, and of some models it builds the tokenizer anew by the model's name",
)
def tokenizer_auto(subject: Subject) -> Measurement:
    """transformers' AutoTokenizer gives the ids of tokenizer.json; without transformers, by our table of its models.

    Quick uses only the table if tokenizer_config.json is as that requires: importing transformers takes longer than all
    other checks of a small model.
    """
    if subject.level == "quick" and is_as_planned(subject):
        return count([], "by the table of models: tokenizer_config.json is as planned", compared=1)
    try:
        library = require_transformers("AutoTokenizer")
    except CannotCheck:
        warned = [text for text in subject.vocabulary.warnings if text.startswith("transformers ")]
        return count(warned, "by the table of models: transformers is not installed", compared=1)
    texts = (*ODDITIES, *PROSE.split("\n\n"))
    by_folder = subject.folder_text.tokenizer
    try:
        auto = library.AutoTokenizer.from_pretrained(
            subject.folder, local_files_only=True, trust_remote_code=False
        )
        theirs = [auto(text, add_special_tokens=False)["input_ids"] for text in texts]
    except Exception as error:  # noqa: BLE001  # users would get the same error
        return Measurement(len(texts), f"{type(error).__name__}: {printable(str(error), 100, quoted=False)}")
    differences = (
        f"{printable(text, 30)}: {a[:8]} by tokenizer.json, {b[:8]} by {type(auto).__name__}"
        for text, b in zip(texts, theirs, strict=True)
        if (a := by_folder.encode(text, add_special_tokens=False).ids) != b
    )
    return count(differences, f"{len(texts)} texts by {type(auto).__name__}", compared=len(texts))


def is_as_planned(subject: Subject) -> bool:
    """Return whether tokenizer_config.json is what results from the source, without a warning about transformers."""
    name = "tokenizer_config.json"
    try:
        planned, warnings = subject.vocabulary.tokenizer_config, subject.vocabulary.warnings
        return subject.json(name) == planned and not any(
            text.startswith("transformers ") for text in warnings
        )
    except (InputError, OSError, CannotCheck):
        return False


def different(one: Tokenizer, other: Tokenizer, texts: tuple[str, ...]) -> Iterator[str]:
    """Yield a description of each text for which two tokenizers give different ids."""
    for text in texts:
        for special in (True, False):
            a, b = (t.encode(text, add_special_tokens=special) for t in (one, other))
            if a.ids != b.ids:
                yield f"{printable(text, 30)}: {first_difference(text, a, b)}"
                break


def first_difference(text: str, a: Encoding, b: Encoding, sides: tuple[str, str] = SIDES) -> str:
    """Describe where two encodings of a text start to differ, with the next ids and pieces of both sides."""
    same = next((i for i, (x, y) in enumerate(zip(a.ids, b.ids, strict=False)) if x != y), None)
    at = min(len(a.ids), len(b.ids)) if same is None else same
    starts = [one.offsets[at][0] for one in (a, b) if at < len(one.ids) and one.offsets[at] != (0, 0)]
    place = min(starts, default=len(text) if at else 0)
    found = " and ".join(f"{next_tokens(one, at)} in {side}" for one, side in zip((a, b), sides, strict=True))
    return f"from character {place} ({printable(text[place : place + FOLLOWING])}), token {at}: {found}"


def next_tokens(encoded: Encoding, at: int) -> str:
    """Return the tokens from index `at` on as `17 'the', 5 ' cat' …`, or `its end` if there is none."""
    rows = list(zip(encoded.ids, encoded.tokens, strict=True))[at : at + NEXT]
    more = " …" if len(encoded.ids) > at + NEXT else ""
    return ", ".join(f"{token} {printable(piece, 20)}" for token, piece in rows) + more or "its end"


@check(
    "tokenizer.vocabulary", at_most=0, unit="tokens", because="the ids of a token are rows of the embedding"
)
def tokenizer_vocabulary(subject: Subject) -> Measurement:
    """Both tokenizers have the same tokens with the same ids."""
    if (size := size_if_same(subject)) is not None:
        return count([], f"{size} tokens", compared=size)
    one = subject.source_text.tokenizer.get_vocab(with_added_tokens=True)
    other = subject.folder_text.tokenizer.get_vocab(with_added_tokens=True)
    differing = sorted(dict(one.items() ^ other.items()))
    shown_tokens = (
        f"{printable(t, 30)}: {one.get(t)} in the source, {other.get(t)} in the folder" for t in differing
    )
    return count(shown_tokens, f"{len(one)} tokens", compared=len(one))


@check(
    "tokenizer.merges",
    at_most=0,
    unit="merges",
    because="the first merge that applies is made, so their order decides what becomes of words that no text here has",
)
def tokenizer_merges(subject: Subject) -> Measurement:
    """The merges of both tokenizers are the same in the same order, if the source has any."""
    if MERGES not in subject.header.metadata:  # scores can be turned into several equivalent orders of merges
        return count([], "the source has none", compared=1)
    if (size := size_if_same(subject)) is not None:
        return count([], f"{size} tokens", compared=size)
    one, other = (merges(text.tokenizer) for text in (subject.source_text, subject.folder_text))
    differences = (
        f"number {number} is {printable(str(a), 40)} in the source, {printable(str(b), 40)} in the folder"
        for number, (a, b) in enumerate(itertools.zip_longest(one, other))
        if a != b
    )
    return count(differences, f"{len(one)} merges", compared=max(1, len(one)))


def merges(tokenizer: Tokenizer) -> Sequence[object]:
    """Return the merges by rank, as the library writes them; empty for a model of another kind."""
    found = json.loads(tokenizer.to_str())["model"].get("merges")
    return found if isinstance(found, list) else []


@check(
    "tokenizer.special",
    at_most=0,
    unit="tokens",
    because="a control token that is no longer one is cut to pieces, or shown to the reader as text",
)
def tokenizer_special(subject: Subject) -> Measurement:
    """Added tokens are the same, special on both sides or on neither, and their texts give the same ids."""
    one, other = subject.source_text.tokenizer, subject.folder_text.tokenizer
    mine, theirs = one.get_added_tokens_decoder(), other.get_added_tokens_decoder()
    differences = []
    for token in sorted(mine.keys() | theirs.keys()):
        a, b = mine.get(token), theirs.get(token)
        if a is not None and b is not None:
            if a.special != b.special:
                side = "source" if a.special else "folder"
                differences.append(f"{token} {printable(str(a.content), 30)} is special only in the {side}")
        elif (only := a or b) is not None and not is_ordinary(only, token, other if b is None else one):
            side = "folder" if a is None else "source"
            differences.append(
                f"{token} {printable(str(only.content), 30)} is an added token only in the {side}"
            )
    texts = [
        str(t.content)
        for t in spread([*{t.content: t for t in (*mine.values(), *theirs.values())}.values()], MOST_ADDED)
    ]
    framed = [frame.format(text) for text in texts for frame in FRAMES]
    differences += different_ids(one, other, framed)
    return count(differences, f"{len(mine)} tokens, {len(framed)} texts", compared=max(1, len(mine | theirs)))


def size_if_same(subject: Subject) -> int | None:
    """Return the number of tokens if both sides have the same tokenizer.json, so nothing can differ; else None."""
    one = subject.source_text.tokenizer
    same = one is subject.folder_text.tokenizer
    return int(one.get_vocab_size(with_added_tokens=True)) if same else None


def is_ordinary(added: AddedToken, token: int, elsewhere: Tokenizer) -> bool:
    """Return whether an added token of one side is an ordinary token on the other side with the same effect."""
    return not added.special and elsewhere.encode(str(added.content), add_special_tokens=False).ids == [token]


def different_ids(one: Tokenizer, other: Tokenizer, texts: Sequence[str]) -> Iterator[str]:
    """Yield what `different` does, without special tokens, and in batches."""
    pairs = (t.encode_batch(list(texts), add_special_tokens=False) for t in (one, other))
    for text, a, b in zip(texts, *pairs, strict=True):
        if a.ids != b.ids:
            yield f"{printable(text, 30)}: {first_difference(text, a, b)}"


@check(
    "tokenizer.splits",
    at_most=0,
    unit="texts",
    because="where words are cut decides which tokens can be; a vocabulary hides a wrong cut on many texts",
)
def tokenizer_splits(subject: Subject) -> Measurement:
    """Both tokenizers normalize a text and split it into words in the same way.

    The texts are difficult ones, and every sequence of three kinds of characters that pre-tokenizers distinguish. If
    one side does not split at all, the normalized texts are compared as a whole.
    """
    one, other = subject.source_text.tokenizer, subject.folder_text.tokenizer
    texts = (*ODDITIES, *PROSE.split("\n\n"), *neighbours())
    differences = []
    if not same_parts(one, other):
        cut = one.pre_tokenizer is not None and other.pre_tokenizer is not None
        for text in texts:
            a, b = pieces(one, text), pieces(other, text)
            if (a if cut else "".join(a)) != (b if cut else "".join(b)):
                differences.append(
                    f"{printable(text, 30)}: {printable(str(a), 60)} in the source, "
                    f"{printable(str(b), 60)} in the folder"
                )
    differences += [
        f"{part} is {getattr(one, part)} in the source, {getattr(other, part)} in the folder"
        for part in ("truncation", "padding")
        if getattr(one, part) != getattr(other, part)
    ]
    return count(differences, f"{len(texts)} texts", compared=len(texts))


def same_parts(one: Tokenizer, other: Tokenizer) -> bool:
    """Return whether normalizer and pre-tokenizer have the same definition, so that no text can differ."""
    for part in ("normalizer", "pre_tokenizer"):
        first, second = (
            None if found is None else json.loads(found.__getstate__())
            for found in (getattr(one, part), getattr(other, part))
        )
        if first != second:
            return False
    return True


def pieces(tokenizer: Tokenizer, text: str) -> list[str]:
    """Return the words that a tokenizer looks up in its vocabulary: the normalized text, split."""
    if tokenizer.normalizer is not None:
        text = tokenizer.normalizer.normalize_str(text)
    if tokenizer.pre_tokenizer is None:
        return [text]
    return [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str(text)]


@check(
    "tokenizer.decoded",
    at_most=0,
    unit="texts",
    because="what a reader sees is what the decoder makes of the ids",
)
def tokenizer_decoded(subject: Subject) -> Measurement:
    """Both tokenizers decode the same ids to the same text: ids of texts, and every token by itself."""
    if (size := size_if_same(subject)) is not None:
        return count([], f"{size} tokens", compared=size)
    one, other = subject.source_text.tokenizer, subject.folder_text.tokenizer
    rows = [one.encode(text).ids for text in (*ODDITIES, *PROSE.split("\n\n"))]
    size = one.get_vocab_size(with_added_tokens=True)
    rows += [[token] for token in spread(range(size), size if subject.level == "full" else QUICK_IDS)]
    differences = []
    for skip in (True, False):
        pairs = (t.decode_batch(rows, skip_special_tokens=skip) for t in (one, other))
        for ids, a, b in zip(rows, *pairs, strict=True):
            if a != b:
                differences.append(
                    f"{ids[:6]}: {printable(a, 30)} in the source, {printable(b, 30)} in the folder"
                )
    return count(differences, f"{len(rows)} rows of ids", compared=len(rows))


@check("tokenizer.end_ids", at_most=0, unit="ids", because="a generation that misses its end runs on")
def tokenizer_end_ids(subject: Subject) -> Measurement:
    """Generation ends at the same tokens; a folder without generation_config.json only has the first of them."""
    one, other = set(subject.source_text.end_ids), set(subject.folder_text.end_ids)
    # config.json usually has only one.
    if other and not (subject.folder / "generation_config.json").exists():
        one &= other
    differing = [f"{i} ends only in the {'source' if i in one else 'folder'}" for i in sorted(one ^ other)]
    what = f"{len(one)} ids" if one | other else "neither names one"
    return count(differing, what, compared=max(1, len(one | other)))


@check(
    "config.special_ids", at_most=0, unit="keys", because="transformers takes these ids from its own files"
)
def config_special_ids(subject: Subject) -> Measurement:
    """The ids in config.json and generation_config.json are those in the source's metadata, null if it has none."""
    names = ["config.json"]
    if (subject.folder / "generation_config.json").exists():  # it is optional
        names.append("generation_config.json")
    documents = {name: subject.json(name) for name in names}
    differences, compared = [], 0
    for gguf_key, theirs in SPECIAL_IDS:
        expected = stored_id(subject.header.metadata, gguf_key)
        for name, document in documents.items():
            if theirs not in document or (expected is None and name != "config.json"):
                continue  # generation_config.json may have ends that the source doesn't give by id
            compared += 1
            value = document[theirs]
            named = value if isinstance(value, list) else [value]
            if expected not in named:
                differences.append(f"{theirs} in {name} is {value}, {gguf_key} is {expected}")
    return count(differences, f"{compared} keys", compared=compared)


@check("template.text", at_most=0, unit="templates", because="a template is copied, never rewritten")
def template_text(subject: Subject) -> Measurement:
    """Every chat template, the default and the named ones, is the source's, character for character."""
    expected, found = dict(source_templates(subject)), dict(folder_templates(subject))
    names = sorted(expected.keys() | found.keys())
    differences = [
        f"{name} {template_difference(name, expected, found)}"
        for name in names
        if expected.get(name) != found.get(name)
    ]
    characters = sum(map(len, found.values()))
    what = f"{len(found)} of {characters} characters" if found or expected else "neither has one"
    return count(differences, what, compared=max(1, len(names)))


def template_difference(name: str, source: Mapping[str, str], folder: Mapping[str, str]) -> str:
    """Return how a template differs: "differs", or which side alone has it."""
    if name in source and name in folder:
        return "differs"
    return f"is only in the {'source' if name in source else 'folder'}"


def source_templates(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield (file, template) of the source's templates; the name of a template built into llama.cpp isn't one."""
    metadata = subject.header.metadata
    default = metadata.text(TEMPLATE, None)
    if default is not None and "{" in default:
        yield "chat_template.jinja", default
    for key in metadata:
        if key.startswith(f"{TEMPLATE}."):
            yield f"{NAMED}/{key[len(TEMPLATE) + 1 :]}.jinja", metadata.text(key)


def folder_templates(subject: Subject) -> Iterator[tuple[str, str]]:
    """Yield (file, template) of the folder's templates, including those in tokenizer_config.json of older folders."""
    held = subject.folder / "tokenizer_config.json"
    written = subject.json(held.name).get("chat_template") if held.is_file() else None
    for row in written if isinstance(written, list) else [{"name": "default", "template": written}]:
        if isinstance(row, dict) and isinstance(row.get("template"), str):
            name = row.get("name")
            yield "chat_template.jinja" if name == "default" else f"{NAMED}/{name}.jinja", row["template"]
    files = [subject.folder / "chat_template.jinja", *sorted((subject.folder / NAMED).glob("*.jinja"))]
    for file in files:
        if file.is_file():
            name = file.relative_to(subject.folder).as_posix()
            yield name, file.read_bytes().decode("utf-8", "replace")
