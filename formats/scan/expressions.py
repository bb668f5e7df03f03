"""Expressions of a template: their possible values, and findings in them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import cache

from jinja2 import Environment, nodes

from llorch.base.printable import printable
from llorch.formats.chat_template import environment
from llorch.formats.scan import bombs, constants, gates
from llorch.formats.scan.constants import UNKNOWN, Value, compute, join, one_of
from llorch.formats.scan.names import (
    CALLED_NAMES,
    CODE_NAMES,
    DUNDER,
    GLOBALS,
    JINJA_GLOBALS,
    SERVER_NAMES,
    is_private,
)
from llorch.formats.scan.rules import Finding
from llorch.formats.scan.text import ENCODED, INSTRUCTION, NETWORK, SCRIPT, SHELL, matches, scan_characters

MOST_STEPS = 100_000  # nodes walked before loops are no longer unrolled


@cache
def parser() -> Environment:
    """Return the environment that parses templates and knows their filters and tests; it never renders."""
    return environment(datetime.fromtimestamp(0, UTC))


class Expressions(ABC):
    """The state of one template's scan, and the evaluation of its expressions."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.findings: list[Finding] = []
        self.names: dict[str, Value] = {}
        self.macros: dict[str, nodes.Macro] = {}
        # Constant pieces of the prompt with their lines; None for an unknown piece.
        self.prompt: list[tuple[str | None, int]] = []
        self.steps = 0
        self.loops: list[int] = []  # iterations of each enclosing loop, 1 if unknown
        self.members: set[str] = set()  # names of attributes and keys that the template reads
        self.active_macros: list[str] = []  # names of macros being walked

    def add_finding(self, rule: str, node: nodes.Node, what: str) -> None:
        """Add a finding at a node."""
        if len(self.findings) < 1000:
            self.findings.append(Finding(rule, self.where, node.lineno, printable(what, 100)))

    @abstractmethod
    def render(self, body: Sequence[nodes.Node]) -> Value:
        """Return the text that statements make, if it is constant."""

    def text_findings(self, text: str, line: int) -> Iterator[Finding]:
        """Yield findings in one text of the prompt."""
        for rule, pattern in (
            ("instruction", INSTRUCTION),
            ("network-address", NETWORK),
            ("file-or-shell", SHELL),
            ("script", SCRIPT),
            ("encoded-text", ENCODED),
            ("dunder-name", DUNDER),
        ):
            yield from matches(rule, pattern, text, self.where, line=line)
        yield from scan_characters(text, self.where, line=line)

    def value(self, node: nodes.Node) -> Value:
        """Return what an expression can be, adding findings for everything in it."""
        self.steps += 1
        if self.steps > 4 * MOST_STEPS:
            return UNKNOWN
        handler = getattr(self, f"of_{type(node).__name__.lower()}", None)
        if handler is not None:
            found: Value = handler(node)
        elif isinstance(node, nodes.BinExpr):
            found = self.of_operator(node)
        else:
            found = join(UNKNOWN, *(self.value(child) for child in node.iter_child_nodes()))
            found = Value((), found.tags)
        return found

    def of_const(self, node: nodes.Const) -> Value:
        """A literal."""
        if isinstance(node.value, str):
            self.check_literal(node.value, node)
        return one_of([node.value])

    def check_literal(self, text: str, node: nodes.Node) -> None:
        """Check a text of the program, whether it is part of the prompt or not."""
        for found in DUNDER.findall(text):
            self.add_finding("dunder-name", node, found)
        self.findings += scan_characters(text, self.where, lines=False, line=node.lineno)
        for rule, pattern in (
            ("encoded-text", ENCODED),
            ("file-or-shell", SHELL),
            ("network-address", NETWORK),
            ("instruction", INSTRUCTION),
            ("script", SCRIPT),
        ):
            self.findings += matches(rule, pattern, text, self.where, lines=False, line=node.lineno)

    def of_templatedata(self, node: nodes.TemplateData) -> Value:
        """Text between the tags."""
        return one_of([node.data])

    def of_name(self, node: nodes.Name) -> Value:
        """A variable."""
        if node.name in self.names:
            return self.names[node.name]
        if node.name == "messages":
            return Value((), frozenset({"messages"}))
        if is_private(node.name):
            rule = "dunder-name" if DUNDER.search(node.name) else "private-name"
            self.add_finding(rule, node, node.name)
        elif node.name in SERVER_NAMES:
            self.add_finding("code-name", node, node.name)
        elif node.name in JINJA_GLOBALS:
            self.add_finding("unknown-function", node, node.name)
        elif node.name in GLOBALS and node.name not in self.macros:
            self.add_finding("function-as-value", node, node.name)
        return UNKNOWN

    def of_list(self, node: nodes.List) -> Value:
        """A list; known if all its items are."""
        return compute(lambda *items: list(items), *map(self.value, node.items))

    def of_tuple(self, node: nodes.Tuple) -> Value:
        """A tuple; known if all its items are."""
        return compute(lambda *items: items, *map(self.value, node.items))

    def of_dict(self, node: nodes.Dict) -> Value:
        """A dict; known if all its keys and values are."""
        keys = [self.value(pair.key) for pair in node.items]
        parts = [self.value(pair.value) for pair in node.items]
        half = len(keys)
        return compute(lambda *all_: dict(zip(all_[:half], all_[half:], strict=True)), *keys, *parts)

    def of_concat(self, node: nodes.Concat) -> Value:
        """`a ~ b`."""
        parts = [self.value(one) for one in node.nodes]
        made = compute(lambda *pieces: "".join(map(str, pieces)), *parts, tags=["built"])
        return self.check_text(made, node)

    def check_text(self, made: Value, node: nodes.Node) -> Value:
        """Check computed texts as if they had been written out, and return the value."""
        for text in made.texts:
            self.check_literal(text, node)
        return made

    def of_operator(self, node: nodes.BinExpr) -> Value:
        """`a + b` and other binary operators."""
        if isinstance(node, nodes.And | nodes.Or):
            return join(self.value(node.left), self.value(node.right))
        left, right = self.value(node.left), self.value(node.right)
        self.findings += bombs.size_findings(self.where, node, left, right)
        made = constants.binary(node, left, right)
        if isinstance(node, nodes.Mul) and "date" in left.tags | right.tags:
            self.findings.append(Finding("date-gate", self.where, node.lineno, "repeats by strftime_now"))
        if isinstance(node, nodes.Add | nodes.Mod) and (left.texts or right.texts):
            made = made.with_tags("built")
        return self.check_text(made, node)

    def of_neg(self, node: nodes.Neg) -> Value:
        """`-a`."""
        return compute(lambda number: -number, self.value(node.node))

    def of_condexpr(self, node: nodes.CondExpr) -> Value:
        """`a if test else b`."""
        self.value(node.test)
        self.findings += gates.branch_findings(self, node)
        last = UNKNOWN if node.expr2 is None else self.value(node.expr2)
        return join(self.value(node.expr1), last)

    def of_compare(self, node: nodes.Compare) -> Value:
        """A comparison; if it compares message content with words, it is a gate."""
        sides = [self.value(node.expr), *(self.value(one.expr) for one in node.ops)]
        self.findings += gates.comparison_findings(self, node, sides)
        if any("date" in one.tags for one in sides):
            self.findings.append(Finding("date-gate", self.where, node.lineno, "a condition on strftime_now"))
        tags = frozenset().union(*(one.tags for one in sides))
        return Value((True, False), tags & {"date", "content"})

    def of_getattr(self, node: nodes.Getattr) -> Value:
        """`a.b`."""
        base = self.owner(node.node)
        self.check_name(node.attr, node)
        if isinstance(node.node, nodes.Name) and f"{node.node.name}.{node.attr}" in self.names:
            return self.names[f"{node.node.name}.{node.attr}"]
        return self.member(base, node.attr)

    def owner(self, node: nodes.Node) -> Value:
        """Return the value before a dot or a bracket; for a known function there, add a finding."""
        if (
            isinstance(node, nodes.Name)
            and node.name in GLOBALS - {"namespace"}
            and node.name not in self.names
        ):
            self.add_finding("function-as-value", node, node.name)
            return UNKNOWN
        return self.value(node)

    def check_name(self, name: str, node: nodes.Node, *, attribute: bool = True) -> None:
        """Check the name of an attribute or key, literal or computed."""
        if DUNDER.fullmatch(name):
            self.add_finding("dunder-name", node, name)
        elif attribute and is_private(name):
            self.add_finding("private-name", node, name)
        elif name in CODE_NAMES or (isinstance(node, nodes.Call) and name in CALLED_NAMES):
            self.add_finding("code-name", node, name)

    @staticmethod
    def member(base: Value, name: object) -> Value:
        """Return a member of a value that may be the conversation."""
        if "messages" in base.tags and isinstance(name, str):
            is_content, is_container = name in gates.CONTENT_FIELDS, name in gates.CONTAINER_FIELDS
            return Value((), frozenset({"content"} if is_content else {"messages"} if is_container else ()))
        made = constants.item(base, one_of([name]))
        return (
            made
            if made.values
            else Value((), base.tags - ({"content"} if name in gates.DESCRIPTIVE_FIELDS else set()))
        )

    def of_getitem(self, node: nodes.Getitem) -> Value:
        """`a[b]`, also with a slice."""
        base = self.owner(node.node)
        if isinstance(node.arg, nodes.Slice):
            ends = [
                one_of([None]) if part is None else self.value(part)
                for part in (node.arg.start, node.arg.stop, node.arg.step)
            ]
            return self.check_text(constants.take_slice(base, *ends), node)
        key = self.value(node.arg)
        for name in key.texts:
            self.check_name(name, node, attribute="built" in key.tags)
        if "built" in key.tags and not key.texts:
            self.add_finding("built-name", node, "a key put together from pieces")
        self.findings += gates.lookup_findings(self.where, node, base, key)
        if key.values and len(key.values) == 1 and isinstance(key.values[0], str):
            return self.member(base, key.values[0])
        made = constants.item(base, key)
        return made if made.values else Value((), base.tags | (key.tags & {"date", "content"}))
