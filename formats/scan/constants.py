"""Possible values of a template's expressions, from its constants, computed in bounds without running the template.

jinja2's own filters and Python's text methods compute them, on arguments small enough for any of these.
"""

from __future__ import annotations

import itertools
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, nodes

MOST_VALUES = 16  # possible values kept of one expression
MOST_TEXT = 2048  # characters of a text
MOST_ITEMS = 256
MOST_NUMBER = 4096  # as an argument, such as a width, a count or an index
MOST_INTEGER = 1 << 63  # in arithmetic
MOST_POWER = 64

TEXT_METHODS = frozenset(
    """capitalize casefold center count encode endswith expandtabs find format index isalnum isalpha isdigit join ljust
    lower lstrip partition removeprefix removesuffix replace rfind rjust rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper zfill""".split()  # noqa: SIM905
)
BYTES_METHODS = frozenset({"decode", "hex", "replace", "strip"})
CODECS = frozenset(
    """ascii utf-8 utf8 utf-7 utf-16 utf-16-le utf-16-be utf-32 latin-1 latin1 unicode_escape unicode-escape
    raw_unicode_escape rot13 rot_13 idna punycode""".split()  # noqa: SIM905
)
DICT_METHODS = frozenset({"get", "items", "keys", "values"})
NOT_COMPUTED = frozenset(
    {"random", "map", "select", "reject", "selectattr", "rejectattr", "groupby", "attr", "pprint"}
)
WIDE_FORMAT = re.compile(r"%[-#0 +]*(?:\d{4,}|\*)|\{[^}]*\d{4,}[^}]*\}")
REACHING_FORMAT = re.compile(r"\{[^}]*[.\[!{]")

OPERATORS: Mapping[type[nodes.BinExpr], Callable[[Any, Any], Any]] = {
    nodes.Add: operator.add,
    nodes.Sub: operator.sub,
    nodes.Mul: operator.mul,
    nodes.Mod: operator.mod,
    nodes.FloorDiv: operator.floordiv,
    nodes.Pow: operator.pow,
}


@dataclass(frozen=True, slots=True)
class Value:
    """What an expression can be. values: possible constants, empty if unknown. tags: what flowed into it.

    Tags: "messages" the conversation, "content" the text of messages, "count" a length, "date" the clock, "built" a
    text put together from pieces.
    """

    values: tuple[Any, ...] = ()
    tags: frozenset[str] = field(default=frozenset())

    @property
    def texts(self) -> list[str]:
        """The strings among the values."""
        return [one for one in self.values if isinstance(one, str)]

    def with_tags(self, *tags: str) -> Value:
        """Return the value with more tags."""
        return Value(self.values, self.tags | frozenset(tags))


UNKNOWN = Value()


def one_of(found: Iterable[Any], tags: Iterable[str] = ()) -> Value:
    """Return a value of the constants that are small enough, without duplicates."""
    kept: list[Any] = []
    for one in found:
        if is_small(one) and not any(type(one) is type(other) and one == other for other in kept):
            kept.append(one)
    return Value(tuple(kept[:MOST_VALUES]), frozenset(tags))


def is_small(value: Any, depth: int = 3) -> bool:
    """Return whether a value is small enough that computing with it stays cheap."""
    if value is None or isinstance(value, bool | float):
        return True
    if isinstance(value, int):
        return abs(value) <= MOST_INTEGER
    if isinstance(value, str | bytes):
        return len(value) <= MOST_TEXT
    if depth and isinstance(value, list | tuple):
        return len(value) <= MOST_ITEMS and all(is_small(one, depth - 1) for one in value)
    if depth and isinstance(value, dict):
        return len(value) <= MOST_ITEMS and all(
            is_small(one, depth - 1) for pair in value.items() for one in pair
        )
    return False


def require_modest(*arguments: Any) -> None:
    """Raise ValueError for a number with which a filter or method could fill memory."""
    if any(isinstance(one, int) and abs(one) > MOST_NUMBER for one in arguments):
        raise ValueError("too large")


def join(*found: Value) -> Value:
    """Return a value that is any of several values."""
    return one_of(
        itertools.chain.from_iterable(one.values for one in found),
        itertools.chain.from_iterable(one.tags for one in found),
    )


def compute(how: Callable[..., Any], *found: Value, tags: Iterable[str] = ()) -> Value:
    """Apply a function to combinations of possible values; failures and results that are too large are left out."""
    flowed = {*itertools.chain.from_iterable(one.tags for one in found), *tags}
    results: list[Any] = []
    for choice in itertools.islice(itertools.product(*(one.values for one in found)), MOST_VALUES):
        try:
            results.append(how(*choice))
        except Exception:  # noqa: BLE001, S112  # a template may compute any nonsense
            continue
    return one_of(results, flowed)


def binary(node: nodes.BinExpr, left: Value, right: Value) -> Value:
    """Return the result of a binary operator."""
    how = OPERATORS.get(type(node))
    if how is None:
        return Value((), left.tags | right.tags)
    return compute(lambda a, b: bound(how, a, b), left, right)


def bound(how: Callable[[Any, Any], Any], a: Any, b: Any) -> Any:
    """Apply an operator if its result is small, else raise ValueError."""
    if how is operator.mul:
        size = max(len(x) if isinstance(x, str | bytes | list | tuple) else 1 for x in (a, b))
        times = max((abs(x) for x in (a, b) if isinstance(x, int)), default=1)
        if size * times > 1 << 20:
            raise ValueError("too large")
    if how is operator.pow and not (isinstance(b, int) and 0 <= b <= MOST_POWER and is_small(a)):
        raise ValueError("too large")
    if how is operator.mod and isinstance(a, str) and WIDE_FORMAT.search(a):
        raise ValueError("too wide")
    return how(a, b)


def apply_filter(
    environment: Environment,
    name: str,
    base: Value,
    arguments: list[Value],
    keywords: Mapping[str, Value],
) -> Value:
    """Return the result of a jinja2 filter on constants."""
    tags = base.tags.union(*(one.tags for one in arguments))
    if name in NOT_COMPUTED or name not in environment.filters:
        return Value((), tags)
    names = list(keywords)

    def apply(first: Any, *rest: Any) -> Any:
        if name == "format" and isinstance(first, str) and WIDE_FORMAT.search(first):
            raise ValueError("too wide")
        require_modest(*rest)
        given = [nodes.Const(one) for one in rest[: len(arguments)]]
        named = [
            nodes.Keyword(key, nodes.Const(one))
            for key, one in zip(names, rest[len(arguments) :], strict=True)
        ]
        call = nodes.Filter(nodes.Const(first), name, given, named, None, None)
        call.set_environment(environment)
        made = call.as_const(nodes.EvalContext(environment))
        return made if is_small(made) else list(itertools.islice(made, MOST_ITEMS))

    return compute(apply, base, *arguments, *keywords.values())


def method(name: str, base: Value, arguments: list[Value]) -> Value:
    """Return the result of a method of a constant text, bytes or dict."""

    def call(owner: Any, *rest: Any) -> Any:
        require_modest(*rest)
        if isinstance(owner, str) and name in TEXT_METHODS:
            if name == "format" and (REACHING_FORMAT.search(owner) or WIDE_FORMAT.search(owner)):
                raise ValueError("reaches into its arguments")
            require_codec(name, rest)
            return getattr(owner, name)(*rest)
        if isinstance(owner, bytes) and name in BYTES_METHODS:
            require_codec(name, rest)
            return getattr(owner, name)(*rest)
        if isinstance(owner, dict) and name in DICT_METHODS:
            made = getattr(owner, name)(*rest)
            return made if name == "get" else list(made)
        raise ValueError("not computed")

    return compute(call, base, *arguments)


def require_codec(name: str, arguments: tuple[Any, ...]) -> None:
    """Raise ValueError for a codec that is not a text encoding; some others decompress."""
    if name in ("encode", "decode") and arguments and str(arguments[0]).lower() not in CODECS:
        raise ValueError("not a codec of text")


def range_items(ends: list[Value]) -> Value:
    """Return the items of a short range."""

    def make(*numbers: Any) -> list[int]:
        found = range(*numbers)
        if len(found) > MOST_ITEMS:
            raise ValueError("too long")
        return list(found)

    return compute(make, *ends)


def item(base: Value, key: Value) -> Value:
    """Return an item of a constant text, list or dict."""
    return compute(lambda owner, index: owner[index], base, key)


def take_slice(base: Value, start: Value, stop: Value, step: Value) -> Value:
    """Return a slice of a constant text or list."""
    return compute(lambda owner, a, b, c: owner[a:b:c], base, start, stop, step)
