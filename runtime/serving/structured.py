"""Constrain answers to a JSON Schema, by the library llguidance."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llorch.runtime.request import Constraint
from llorch.runtime.serving.errors import ApiError
from llorch.runtime.text.token_bytes import token_bytes

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from tokenizers import Tokenizer

    from llorch.runtime.model import Model

# Between the parts of a document: enough for indentation, but bounded, because small models may not stop.
WHITESPACE = r"[ \n]{0,16}"
MESSAGE_CHARACTERS = 300  # of the description of a schema's error


class Structures:
    """Constraints for one model's answers. They share the tokenizer's tables, built at first use within a second."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._tokens: LLTokenizer | None = None

    def constraint_factory(self, schema: Mapping[str, object]) -> Callable[[], Constraint]:
        """A factory of constraints for answers that follow a schema; ApiError 400 if that is not possible."""
        try:
            from llguidance import LLMatcher  # imported only by a server that is asked for JSON
        except ImportError:
            raise refuse("it needs a package that is not installed: pip install 'llorch[serve]'") from None
        try:
            grammar = LLMatcher.grammar_from_json_schema(
                json.dumps(schema), overrides={"whitespace_pattern": WHITESPACE}
            )
        except (RecursionError, ValueError) as error:
            raise refuse(f"the schema cannot be read: {error}") from None
        matcher = LLMatcher(self._ready(), grammar, log_level=0)
        if matcher.is_error():
            raise refuse(f"the schema cannot be followed: {matcher.get_error()}")
        return lambda: _SchemaConstraint(matcher.deep_copy())

    def _ready(self) -> LLTokenizer:
        from llguidance import LLTokenizer, TokenizerWrapper

        with self._lock:
            if self._tokens is None:
                model = self._model
                if not model.end_ids:
                    raise refuse("this model has no token that ends an answer")
                tokens = _Tokens(model.tokenizer, model.vocabulary_size, model.end_ids[0])
                self._tokens = LLTokenizer(
                    TokenizerWrapper(tokens), n_vocab=model.vocabulary_size, eos_token=list(model.end_ids)
                )
            return self._tokens


def refuse(why: str) -> ApiError:
    """The error 400 for an unsupported response_format."""
    return ApiError(
        400,
        f"response_format: {why[:MESSAGE_CHARACTERS]}",
        param="response_format",
        code="unsupported_parameter",
    )


class _SchemaConstraint:
    """The state of one answer within its schema."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def restrict(self, scores: NDArray[np.float32]) -> None:
        """Exclude disallowed tokens; once the document is complete, only end tokens remain."""
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        scores[np.unpackbits(mask, count=len(scores), bitorder="little") == 0] = -np.inf
        self._require_valid()

    def accept(self, token: int) -> None:
        """Advance by a token that was allowed."""
        self._matcher.consume_token(token)
        self._require_valid()

    def _require_valid(self) -> None:
        if self._matcher.is_error():
            raise RuntimeError(f"an answer left its schema: {self._matcher.get_error()}")


class _Tokens:
    """The interface that llguidance needs of a tokenizer: every token's bytes, and texts as exactly matching tokens."""

    def __init__(self, tokenizer: Tokenizer, rows: int, end: int) -> None:
        count = min(rows, tokenizer.get_vocab_size(with_added_tokens=True))
        self.eos_token_id, self.bos_token_id = end, None
        self.tokens = [token_bytes(tokenizer, token) for token in range(count)]
        added: Mapping[int, Any] = tokenizer.get_added_tokens_decoder()
        self.special_token_ids = [token for token, of in added.items() if of.special and token < count]
        self._tokenizer = tokenizer
        self._of_bytes = {piece: token for token, piece in reversed(list(enumerate(self.tokens)))}

    def __call__(self, text: str) -> list[int]:
        """Encode as the tokenizer does; byte by byte if that adds a space in front, as SentencePiece tokenizers do."""
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        wanted = text.encode()
        if b"".join(self.tokens[token] for token in ids) == wanted:
            return ids
        single = [self._of_bytes.get(bytes([byte])) for byte in wanted]
        return [token for token in single if token is not None]
