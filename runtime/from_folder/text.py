"""Read a folder's tokenizer, end tokens and chat template as transformers does."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from llorch.base.errors import MalformedInput
from llorch.base.printable import printable
from llorch.runtime.from_folder.config import Json, read_json
from llorch.runtime.from_folder.template import chat_template
from llorch.runtime.text.model_text import Text

# The special tokens that transformers passes to a chat template: those with names of their own.
SPECIAL_TOKENS = tuple(f"{role}_token" for role in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))


def folder_text(folder: Path) -> Text:
    """Read the folder's `Text`; MalformedInput if tokenizer.json is absent or the tokenizers library rejects it."""
    from tokenizers import Tokenizer  # half a second of import that comparing logits never needs

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise MalformedInput("has no tokenizer.json", path=folder)
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except BaseException as error:  # the library raises bare Exception, and panics as BaseException
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raise MalformedInput(
            f"is no tokenizer: {printable(str(error), 200, quoted=False)}", path=path
        ) from error
    tokenizer_config = _optional(folder / "tokenizer_config.json")
    return Text(
        tokenizer,
        _end_ids(folder),
        chat_template(folder, tokenizer_config),
        {name: text for name in SPECIAL_TOKENS if (text := _token(tokenizer_config.get(name))) is not None},
        _ids(folder / "generation_config.json", "suppress_tokens"),
        1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1),
    )


def _optional(path: Path) -> Json:
    return read_json(path) if path.is_file() else {}


def _end_ids(folder: Path) -> tuple[int, ...]:
    """`eos_token_id` of generation_config.json, else of config.json."""
    return _ids(folder / "generation_config.json", "eos_token_id") or _ids(
        folder / "config.json", "eos_token_id"
    )


def _ids(path: Path, key: str) -> tuple[int, ...]:
    """The token ids under a key: a number or a list of them; empty if the key is absent."""
    found = _optional(path).get(key)
    ids = found if isinstance(found, list) else [] if found is None else [found]
    if not all(isinstance(token, int) and not isinstance(token, bool) for token in ids):
        raise MalformedInput("is no token id and no list of them", where=f"key '{key}'", path=path)
    return tuple(cast("list[int]", ids))


def _token(tokenizer_config: object) -> str | None:
    """A special token's text, stored as a string or as an object with `content`."""
    text = tokenizer_config.get("content") if isinstance(tokenizer_config, dict) else tokenizer_config
    return text if isinstance(text, str) else None
