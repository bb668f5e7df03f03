"""Hidden triggers: what a template's conditions depend on, and what it rewrites."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from jinja2 import nodes

from llorch.base.printable import printable
from llorch.formats.scan.bombs import number
from llorch.formats.scan.constants import Value
from llorch.formats.scan.rules import Finding


class Walk(Protocol):
    """The state of a scan that gates use: what is known of names, and where the walk is."""

    where: str
    members: set[str]
    findings: list[Finding]
    steps: int
    loops: list[int]

    def value(self, node: nodes.Node) -> Value:
        """Return what an expression can be."""


CONTENT_FIELDS = frozenset({"content", "text", "reasoning_content", "reasoning", "thinking"})
CONTAINER_FIELDS = frozenset({"messages", "message", "delta", "parts"})
COMPARING = frozenset("in eq equalto == ne != sameas lt gt le ge < > <= >=".split())  # noqa: SIM905
COMPARING_METHODS = frozenset({"startswith", "endswith", "find", "rfind", "index", "count"})
SPLITTING = frozenset({"split", "rsplit", "partition", "rpartition"})
SELECTING = frozenset({"select", "reject", "selectattr", "rejectattr"})
BY_ATTRIBUTE = frozenset({"selectattr", "rejectattr", "groupby"})
LONG_GATE = 64  # no template needs to compare a length with a number this large

# A natural-language word standing alone: no markup, tag or field name.
_TRIGGER = re.compile(r"(?<![\w<\[{|/_@#-])[^\W\d_]{3,}(?![\w>\]}|/_@-])")
_MARKUP = re.compile(r"[<>\[\]{}|/\\▁｜_#*`=:]")
_WORDS = re.compile(r"[^\W\d_]{2,}")
_ADDRESS = re.compile(r"https?://|www\.|@[\w-]+\.|\.(?:com|net|org|io|dev|ai)\b")
# Words of switches for a model's thinking, which publishers let users write in a message.
_SWITCHES = frozenset(
    """detailed thinking reasoning think reason effort strength level mode budget on off no yes enable enabled disable
    disabled low medium high max minimal none auto""".split()  # noqa: SIM905
)
# Fields that describe a part of a message rather than hold its text.
DESCRIPTIVE_FIELDS = frozenset({"type", "role", "id", "name", "function", "block_type", "mime_type"})

# Texts that templates of every publisher compare with: kinds of parts, roles, tool answers.
_FIELDS = frozenset(
    """text image audio video tool function system user assistant developer none null true false thinking reasoning
    final analysis commentary code json string""".split()  # noqa: SIM905
)


def comparison_findings(walk: Walk, node: nodes.Node, sides: Sequence[Value]) -> Iterator[Finding]:
    """Find comparisons of message content with words, which are triggers; comparisons with markup are normal.

    `'value' in content`, in a template that reads `content.value`, only asks for the content's type.
    """
    if not any("content" in one.tags and "count" not in one.tags for one in sides):
        return
    asks_for_member = isinstance(node, nodes.Compare) and all(one.op.endswith("in") for one in node.ops)
    for side in sides:
        members = asks_for_member and set(side.texts) <= walk.members
        if "content" not in side.tags and not members:
            yield from trigger_findings(walk.where, node, sides[0], side, certain=True)


def trigger_findings(
    where: str, node: nodes.Node, base: Value, constant: Value, *, certain: bool = False
) -> Iterator[Finding]:
    """Find words among the constants that message content is compared with.

    certain: whether the comparison is known to be with content, so that a single word is enough.
    """
    if not certain and not base.tags & {"content", "messages"}:
        return
    for value in constant.values:
        for text in value if isinstance(value, list | tuple) else [value]:
            if isinstance(text, str) and is_trigger(text) and (certain or " " in text.strip()):
                yield Finding("content-gate", where, node.lineno, f"looks for {printable(text, 60)}")


def is_trigger(text: str) -> bool:
    """Return whether a text is natural-language words rather than markup."""
    bare = text.strip()
    if _MARKUP.search(bare) and not _ADDRESS.search(bare):
        return False
    words = _TRIGGER.findall(bare)
    spoken = set(_WORDS.findall(bare.lower()))
    return bool(words) and bare.lower() not in _FIELDS and not spoken <= _SWITCHES


def lookup_findings(where: str, node: nodes.Node, base: Value, key: Value) -> Iterator[Finding]:
    """Find lookups in constants with message content or the date as the key."""
    if "date" in key.tags and any(isinstance(value, dict | list | tuple) for value in base.values):
        yield Finding("date-gate", where, node.lineno, "looks up by strftime_now")
    if "content" not in key.tags or "count" in key.tags:
        return
    for value in base.values:
        if isinstance(value, dict):
            for word in value:
                if isinstance(word, str) and _WORDS.search(word):
                    yield Finding("content-gate", where, node.lineno, f"looks up {printable(word, 60)}")


def branch_findings(walk: Walk, node: nodes.If | nodes.CondExpr) -> Iterator[Finding]:
    """Find conditions on the date or on a length, and instructions that depend on message content."""
    clock, count, reads_content = False, False, False
    for test in gate_tests(node.test):
        operands = [test.expr, *(one.expr for one in test.ops)] if isinstance(test, nodes.Compare) else [test]
        values = [peek(walk, one) for one in operands]
        clock = clock or any("date" in one.tags for one in values)
        reads_content = reads_content or (
            isinstance(test, nodes.Compare | nodes.Call | nodes.Test) and compares_content(walk, test, values)
        )
        numbers = [number(one) for one in operands]
        long_ = any(one is not None and abs(one) >= LONG_GATE for one in numbers)
        exact = any(one is not None and abs(one) >= 3 for one in numbers)
        counted = any("count" in one.tags for one in values)
        count = count or (counted and (long_ or (exact and adds_a_sentence(node))))
    if clock:
        yield Finding("date-gate", walk.where, node.lineno, "a condition on strftime_now")
    if count:
        yield Finding("count-gate", walk.where, node.lineno, "a condition on a length")
    if reads_content and adds_a_sentence(node):
        yield Finding("content-gate", walk.where, node.lineno, "instructions that depend on what is said")


def compares_content(walk: Walk, test: nodes.Node, values: Sequence[Value]) -> bool:
    """Return whether a condition compares message content with a text that is not a field's name."""
    if isinstance(test, nodes.Compare):
        reads_content = any("content" in one.tags and "count" not in one.tags for one in values)
        texts = [text for one in values if "content" not in one.tags for text in one.texts]
        operands = [test.expr, *(one.expr for one in test.ops)]
        return (reads_content and any(is_searched_for(text, walk) for text in texts)) or any(
            isinstance(one, nodes.Call) and compares_content(walk, one, []) for one in operands
        )
    if isinstance(test, nodes.Call) and isinstance(test.node, nodes.Getattr):
        base = peek(walk, test.node.node)
        return "content" in base.tags and test.node.attr in COMPARING_METHODS
    return False


def is_searched_for(text: str, walk: Walk) -> bool:
    """Return whether a text is something to search for: not blank, a member's name or a common field."""
    return text.strip() != "" and text not in walk.members and text.lower() not in _FIELDS


def gate_tests(test: nodes.Node) -> Iterator[nodes.Node]:
    """Yield the comparisons and values of a condition; "is defined" and type tests use no value and are skipped."""
    if isinstance(test, nodes.And | nodes.Or):
        yield from gate_tests(test.left)
        yield from gate_tests(test.right)
    elif isinstance(test, nodes.Not):
        yield from gate_tests(test.node)
    elif isinstance(test, nodes.Test) and test.name in (
        "defined",
        "undefined",
        "none",
        "string",
        "mapping",
        "iterable",
    ):
        return
    else:
        yield test


def peek(walk: Walk, node: nodes.Node) -> Value:
    """Return an expression's value without adding findings, which were added before."""
    kept, steps = list(walk.findings), walk.steps
    value = walk.value(node)
    walk.findings[:], walk.steps = kept, steps + 1
    return value


def adds_a_sentence(node: nodes.If | nodes.CondExpr) -> bool:
    """Return whether a branch adds a sentence of its own to the prompt."""
    bodies = (
        [node.expr1, node.expr2]
        if isinstance(node, nodes.CondExpr)
        else [*node.body, *node.elif_, *node.else_]
    )
    for body in bodies:
        if body is None:
            continue
        refusals = {
            id(text)
            for call in body.find_all(nodes.Call)
            if isinstance(call.node, nodes.Name) and call.node.name == "raise_exception"
            for text in call.find_all((nodes.TemplateData, nodes.Const))
        }
        whole = [body, *body.find_all((nodes.TemplateData, nodes.Const))]
        for one in whole:
            if id(one) in refusals:
                continue
            text = one.data if isinstance(one, nodes.TemplateData) else getattr(one, "value", None)
            if isinstance(text, str) and len(_WORDS.findall(re.sub(r"<[^>]*>|\[[^\]]*\]", " ", text))) >= 4:
                return True
    return False


def rewrite_findings(
    walk: Walk, node: nodes.Filter | nodes.Call, name: str, base: Value, arguments: Sequence[Value]
) -> Iterator[Finding]:
    """Find replacements of words or addresses in message content, and replacements that double a text."""
    if name != "replace" or len(arguments) < 2:
        return
    for new in arguments[1].texts if "date" in base.tags else ():
        if len(_WORDS.findall(new)) >= 3:
            yield Finding("date-gate", walk.where, node.lineno, f"writes {printable(new, 60)} for a date")
    for old in arguments[0].texts:
        if "content" in base.tags and (_ADDRESS.search(old) or is_trigger(old)):
            yield Finding("rewrites-content", walk.where, node.lineno, f"replaces {printable(old, 60)}")
        for new in arguments[1].texts:
            if "content" in base.tags and _ADDRESS.search(new):
                yield Finding("rewrites-content", walk.where, node.lineno, f"writes {printable(new, 60)}")
            if old and new.count(old) >= 2 and (walk.loops or _is_replaced(node)):
                yield Finding("exhausts", walk.where, node.lineno, "replacements that double a text")


def _is_replaced(node: nodes.Filter | nodes.Call) -> bool:
    """Return whether the text is itself the result of a replace."""
    inner: Any = node.node
    if isinstance(inner, nodes.Getattr):
        inner = inner.node
    if isinstance(inner, nodes.Filter):
        return inner.name == "replace"
    return (
        isinstance(inner, nodes.Call)
        and isinstance(inner.node, nodes.Getattr)
        and inner.node.attr == "replace"
    )


def find_members(tree: nodes.Template) -> set[str]:
    """Return every attribute and literal key that a template reads."""
    names = {one.attr for one in tree.find_all(nodes.Getattr)}
    for one in tree.find_all(nodes.Getitem):
        if isinstance(one.arg, nodes.Const) and isinstance(one.arg.value, str):
            names.add(one.arg.value)
    return names
