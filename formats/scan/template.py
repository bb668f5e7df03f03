"""Scan of a chat template as a program: its statements are walked in order, with constants propagated, and never run.

Both branches of a condition are walked, a loop over constants once per item, any other loop once. What is known of an
expression is a `constants.Value`; what is objected to is a row of `rules.RULES`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from jinja2 import TemplateSyntaxError, nodes
from jinja2.exceptions import TemplateError

from llorch.base.printable import printable
from llorch.formats.scan import bombs, constants, gates
from llorch.formats.scan.calls import Calls
from llorch.formats.scan.constants import UNKNOWN, Value, join, one_of
from llorch.formats.scan.expressions import MOST_STEPS, parser
from llorch.formats.scan.names import DUNDER, is_private
from llorch.formats.scan.rules import Finding, distinct
from llorch.formats.scan.text import matches, scan_characters

MOST_CHARACTERS = 1 << 18  # four times the longest published template
FAR_RIGHT = re.compile(r"[ \t]{250,}\{[{%]")


def scan_template(template: str, where: str = "chat_template.jinja") -> list[Finding]:
    """Return what a template does that no conversation needs, with line numbers.

    Takes bounded time and memory whatever the template is.

    >>> [str(one) for one in scan_template("{{ messages['__cla' ~ 'ss__'] }}")]
    ["chat_template.jinja, line 1: dunder-name: '__class__'"]
    """
    return distinct(_scan(template, where))


def _scan(template: str, where: str) -> Iterator[Finding]:
    yield from scan_characters(template, where, line=1)
    yield from matches("hidden-by-space", FAR_RIGHT, template, where, line=1)
    if len(template) > MOST_CHARACTERS:
        yield Finding("too-large", where, None, f"{len(template)} characters, at most {MOST_CHARACTERS}")
        yield from matches("dunder-name", DUNDER, template, where, line=1)
        return
    try:
        tree = parser().parse(template)
    except TemplateSyntaxError as error:
        yield Finding(
            "does-not-parse", where, error.lineno, printable(error.message or "", 100, quoted=False)
        )
    except (TemplateError, RecursionError, ValueError, OverflowError, MemoryError) as error:
        yield Finding("does-not-parse", where, None, type(error).__name__)
    else:
        walk = Walk(where)
        try:
            walk.run(tree)
        except RecursionError:
            yield Finding("does-not-parse", where, None, "nested too deeply to be read")
        yield from walk.findings
        yield from walk.prompt_findings()
        return
    yield from matches("dunder-name", DUNDER, template, where, line=1)


class Walk(Calls):
    """The statements of one template, walked in the order in which they would run."""

    def prompt_findings(self) -> Iterator[Finding]:
        """Yield findings in the constant parts of the prompt, with adjacent pieces joined."""
        text, line = "", 1
        for piece, at in [*self.prompt, (None, 0)]:
            if piece is not None:
                text, line = text + piece, line if text else at
                continue
            yield from self.text_findings(text, line)
            text = ""

    def run(self, tree: nodes.Template) -> None:
        """Walk the whole template."""
        for macro in tree.find_all(nodes.Macro):
            self.macros.setdefault(macro.name, macro)
        self.members = gates.find_members(tree)
        for macro in bombs.endless_macros(tree):
            self.add_finding("exhausts", macro, f"{macro.name} calls itself without a condition")
        self.body(tree.body)

    def body(self, statements: Iterable[nodes.Node]) -> None:
        """Walk statements in order."""
        for node in statements:
            self.steps += 1
            handler = getattr(self, f"on_{type(node).__name__.lower()}", None)
            if handler is not None:
                handler(node)
            elif isinstance(node, nodes.Include | nodes.Import | nodes.FromImport | nodes.Extends):
                self.add_finding("loads-template", node, type(node).__name__.lower())
                self.value(node.template)
            else:
                self.walk_children(node)

    def walk_children(self, node: nodes.Node) -> None:
        """Walk a statement that has no handler: its expressions, then its statements."""
        statements = []
        for child in node.iter_child_nodes():
            if isinstance(child, nodes.Expr):
                self.value(child)
            else:
                statements.append(child)
        self.body(statements)

    def on_output(self, node: nodes.Output) -> None:
        """Text and expressions that become part of the prompt."""
        for child in node.nodes:
            if isinstance(child, nodes.TemplateData):
                self.prompt.append((child.data, child.lineno))
            else:
                self.add_to_prompt(self.value(child), child.lineno)

    def add_to_prompt(self, value: Value, line: int) -> None:
        """Add a value to the prompt: the first of its texts; the others are checked by themselves."""
        texts = [str(one) for one in value.values if isinstance(one, str | int | float)]
        for other in texts[1:]:
            self.findings += self.text_findings(other, line)
        self.prompt.append((texts[0] if texts else None, line))

    def on_if(self, node: nodes.If) -> None:
        """Every branch, each from what was known before it."""
        self.value(node.test)
        before = dict(self.names)
        self.findings += gates.branch_findings(self, node)
        after: list[dict[str, Value]] = []
        branches: list[list[nodes.Node]] = [[*node.body]]
        branches += [[one] for one in node.elif_]
        branches.append([*node.else_])
        for branch in branches:
            self.names = dict(before)
            self.prompt.append((None, node.lineno))
            self.body(branch)
            after.append(self.names)
        self.prompt.append((None, node.lineno))
        self.names = {
            name: join(*(known[name] for known in after if name in known))
            for name in dict.fromkeys(name for known in after for name in known)
        }

    def on_for(self, node: nodes.For) -> None:
        """A loop: once per item of constants, else once."""
        over = self.value(node.iter)
        items: list[Any] | None = None
        if len(over.values) == 1 and isinstance(over.values[0], str | list | tuple):
            items = list(over.values[0])
        times = len(items) if items is not None else self.repetitions(node.iter)
        self.loops.append(max(times, 1))
        if bombs.product(self.loops) >= bombs.MOST_REPETITIONS:
            self.add_finding("exhausts", node, f"loops that run {bombs.product(self.loops):,} times")
        self.findings += bombs.growth_findings(self.where, node)
        tags = over.tags - {"count"}
        unrolled = items if items is not None and len(items) <= 64 and self.steps < MOST_STEPS else [None]
        for one in unrolled or [None]:
            known = (
                one_of([one], tags) if items is not None and len(unrolled) == len(items) else Value((), tags)
            )
            self.assign(node.target, known)
            if node.test is not None:
                self.value(node.test)
            self.body(node.body)
        self.loops.pop()
        self.body(node.else_)

    def repetitions(self, iterated: nodes.Node) -> int:
        """Return how often a loop over range(…) runs, as far as constants say; 1 if nothing is known."""
        if not (isinstance(iterated, nodes.Call) and isinstance(iterated.node, nodes.Name)):
            return 1
        if iterated.node.name != "range" or not iterated.args:
            return 1
        known = [
            abs(one)
            for argument in iterated.args[:2]
            for one in (bombs.number(argument), *bombs.whole_numbers(gates.peek(self, argument)))
            if one is not None
        ]
        return max(known, default=1)

    def on_assign(self, node: nodes.Assign) -> None:
        """`set name = value`, also with several names."""
        self.assign(node.target, self.value(node.node))
        made = node.node
        if not isinstance(node.target, nodes.Name) or not isinstance(made, nodes.Call):
            return
        if isinstance(made.node, nodes.Name) and made.node.name == "namespace":
            for member in made.kwargs:
                self.names[f"{node.target.name}.{member.key}"] = gates.peek(self, member.value)

    def assign(self, target: nodes.Node, value: Value) -> None:
        """Bind a name, an attribute of a namespace or a tuple of names."""
        if isinstance(target, nodes.Name):
            self.names[target.name] = value
        elif isinstance(target, nodes.NSRef):
            if is_private(target.attr):
                self.add_finding("private-name", target, target.attr)
            self.names[f"{target.name}.{target.attr}"] = value
        elif isinstance(target, nodes.Tuple):
            for index, one in enumerate(target.items):
                part = constants.item(value, one_of([index]))
                self.assign(one, part if part.values else Value((), value.tags))

    def on_assignblock(self, node: nodes.AssignBlock) -> None:
        """`set name` … `endset`: the text of the block's body."""
        made = self.render(node.body)
        if node.filter is not None:
            made = self.apply_filter(node.filter, made)
        self.assign(node.target, made)

    def on_filterblock(self, node: nodes.FilterBlock) -> None:
        """`filter` … `endfilter`: the block's body through a filter."""
        self.add_to_prompt(self.apply_filter(node.filter, self.render(node.body)), node.lineno)

    def render(self, body: Sequence[nodes.Node]) -> Value:
        """Walk statements and return their text if it is constant, without adding it to the prompt."""
        outside, self.prompt = self.prompt, []
        self.body(body)
        inside, self.prompt = self.prompt, outside
        tags = {"built"} if len(inside) > 1 else set()
        if any(piece is None for piece, _ in inside):
            for piece, line in inside:
                self.findings += self.text_findings(piece or "", line)
            return Value((), frozenset(tags))
        return one_of(["".join(piece or "" for piece, _ in inside)], tags)

    def on_macro(self, node: nodes.Macro) -> None:
        """A macro's body, with unknown arguments."""
        for default in node.defaults:
            self.value(default)
        before = dict(self.names)
        for argument in node.args:
            self.names[argument.name] = UNKNOWN
        self.active_macros.append(node.name)
        self.prompt.append((None, node.lineno))
        self.body(node.body)
        self.prompt.append((None, node.lineno))
        self.active_macros.pop()
        self.names = before
