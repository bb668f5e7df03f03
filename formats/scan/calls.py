"""Calls in a template: filters, tests, functions, macros and methods, with their results and misuses."""

from __future__ import annotations

from jinja2 import nodes

from llorch.formats.scan import bombs, constants, gates
from llorch.formats.scan.constants import UNKNOWN, Value, compute, join, one_of
from llorch.formats.scan.expressions import MOST_STEPS, Expressions, parser
from llorch.formats.scan.names import CALLED_NAMES, CODE_NAMES, DUNDER, GLOBALS, SERVER_NAMES
from llorch.formats.scan.rules import Finding


def keyword_pairs(node: nodes.Filter) -> list[nodes.Keyword]:
    """Return the named arguments of a filter, which are Keywords though jinja2 annotates them as pairs."""
    return list(node.kwargs)  # type: ignore[arg-type]


class Calls(Expressions):
    """Expressions of a template in which something is called."""

    def of_filter(self, node: nodes.Filter) -> Value:
        """`a|name(…)`."""
        return self.apply_filter(node, UNKNOWN if node.node is None else self.value(node.node))

    def apply_filter(self, node: nodes.Filter, base: Value) -> Value:
        """Apply a filter to a value; of several filters of a `filter` block the innermost comes first."""
        if isinstance(node.node, nodes.Filter) and base is not UNKNOWN and node.node.node is None:
            base = self.apply_filter(node.node, base)
        arguments = [self.value(one) for one in node.args]
        keywords = {pair.key: self.value(pair.value) for pair in keyword_pairs(node)}
        for dynamic in (node.dyn_args, node.dyn_kwargs):
            if dynamic is not None:
                self.value(dynamic)
        name = node.name
        if name not in parser().filters:
            self.add_finding("unknown-filter", node, name)
        self.filter_findings(node, base, arguments, keywords)
        if name == "map":
            return self.map_items(base, arguments, keywords, node)
        if name in ("string", "tojson") and "messages" in base.tags:
            return Value((), base.tags | {"content"})
        if name in ("length", "count", "wordcount"):
            return Value((), (base.tags - {"messages"}) | {"count"})
        made = constants.apply_filter(parser(), name, base, arguments, keywords)
        if name in ("join", "format", "replace", "reverse") and not made.values:
            made = made.with_tags("built") if arguments and any(one.texts for one in arguments) else made
        return self.check_text(made, node)

    def filter_findings(
        self, node: nodes.Filter, base: Value, arguments: list[Value], keywords: dict[str, Value]
    ) -> None:
        """Add findings for misuses of a filter."""
        reached = node.name if node.name == "attr" else ""
        given = arguments
        if node.name in ("map", "select", "reject") and arguments and "attr" in arguments[0].texts:
            reached, given = "attr", arguments[1:]
        if reached:
            self.add_finding("attribute-filter", node, node.name)
        names = [*given[:1]] if reached or node.name in gates.BY_ATTRIBUTE else []
        for named in [*names, *(keywords[key] for key in ("attribute",) if key in keywords)]:
            for text in named.texts:
                for part in text.split("."):
                    self.check_name(part, node)
            if "built" in named.tags and not named.texts:
                self.add_finding("built-name", node, "an attribute put together from pieces")
        if node.name == "random":
            self.add_finding("random-choice", node, "random")
        self.findings += gates.rewrite_findings(self, node, node.name, base, arguments)
        self.findings += bombs.width_findings(
            self.where, node, node.name, base, [*arguments, *keywords.values()]
        )
        if node.name in gates.SELECTING:
            by = arguments[0].texts if arguments and node.name in gates.BY_ATTRIBUTE else []
            for value in arguments[1:]:
                certain = bool(gates.CONTENT_FIELDS & {*by})
                self.findings += gates.trigger_findings(self.where, node, base, value, certain=certain)
            if any("date" in one.tags for one in (base, *arguments)):
                self.findings.append(
                    Finding("date-gate", self.where, node.lineno, f"{node.name} by strftime_now")
                )

    def map_items(
        self, base: Value, arguments: list[Value], keywords: dict[str, Value], node: nodes.Filter
    ) -> Value:
        """Return `map('filter', …)` or `map(attribute=…)` of a value."""
        names = [one for one in (arguments[0].texts if arguments else []) if one in parser().filters]
        if "attribute" in keywords:
            return join(
                *(self.member(base, name) for name in keywords["attribute"].texts), Value((), frozenset())
            )
        if len(names) != 1 or len(base.values) != 1 or not isinstance(base.values[0], list | tuple | str):
            return Value((), base.tags)
        parts = [
            constants.apply_filter(parser(), names[0], one_of([one], base.tags), arguments[1:], {})
            for one in base.values[0]
        ]
        return self.check_text(compute(lambda *items: list(items), *parts), node) if parts else base

    def of_test(self, node: nodes.Test) -> Value:
        """`a is name`."""
        base = UNKNOWN
        if not (isinstance(node.node, nodes.Name) and node.node.name in GLOBALS):
            base = self.value(node.node)
        if node.name not in parser().tests:
            self.add_finding("unknown-filter", node, f"is {node.name}")
        if node.name in ("defined", "undefined", "callable"):
            return Value((True, False))
        sides = [base, *(self.value(one) for one in node.args)]
        if node.name in gates.COMPARING:
            self.findings += gates.comparison_findings(self, node, sides)
        return Value((True, False), frozenset().union(*(one.tags for one in sides)) & {"date", "content"})

    def of_call(self, node: nodes.Call) -> Value:
        """`a(…)`, `a.b(…)`."""
        arguments = [self.value(one) for one in node.args]
        keywords = {}
        for keyword in node.kwargs:
            self.check_name(keyword.key, keyword)
            keywords[keyword.key] = self.value(keyword.value)
        for dynamic in (node.dyn_args, node.dyn_kwargs):
            if dynamic is not None:
                self.value(dynamic)
        if isinstance(node.node, nodes.Name):
            return self.call_function(node.node.name, arguments, keywords, node)
        if isinstance(node.node, nodes.Getattr | nodes.Getitem):
            return self.call_method(node.node, arguments, node)
        self.value(node.node)
        return UNKNOWN

    def call_function(
        self, name: str, arguments: list[Value], keywords: dict[str, Value], node: nodes.Call
    ) -> Value:
        """Return the result of a function or a macro."""
        if name in self.macros:
            return self.call_macro(self.macros[name], arguments, keywords)
        if name == "strftime_now":
            return Value((), frozenset({"date"}))
        if name == "namespace":
            return UNKNOWN
        if name == "dict":
            names = list(keywords)
            return (
                compute(lambda *v: dict(zip(names, v, strict=True)), *keywords.values()) if names else UNKNOWN
            )
        if name == "range":
            self.findings += bombs.range_findings(self.where, node, arguments)
            if any("date" in one.tags for one in arguments):
                self.findings.append(
                    Finding("date-gate", self.where, node.lineno, "a range that depends on strftime_now")
                )
            return constants.range_items(arguments) if arguments else UNKNOWN
        if name in CODE_NAMES | CALLED_NAMES | SERVER_NAMES or DUNDER.fullmatch(name):
            self.add_finding("code-name", node, name)
        elif name not in GLOBALS and name not in self.names and name not in ("loop", "caller", "super"):
            self.add_finding("unknown-function", node, name)
        return Value((), frozenset().union(*(one.tags for one in arguments)) if arguments else frozenset())

    def call_macro(self, macro: nodes.Macro, arguments: list[Value], keywords: dict[str, Value]) -> Value:
        """Return a macro's text for these arguments, if it is constant."""
        tags = frozenset().union(*(one.tags for one in (*arguments, *keywords.values())), frozenset())
        if macro.name in self.active_macros or self.steps > MOST_STEPS or len(self.active_macros) > 5:
            return Value((), tags)
        before = dict(self.names)
        for index, argument in enumerate(macro.args):
            given = keywords.get(argument.name, arguments[index] if index < len(arguments) else UNKNOWN)
            self.names[argument.name] = given
        self.active_macros.append(macro.name)
        made = self.render(macro.body)
        self.active_macros.pop()
        self.names = before
        return Value(made.values, made.tags | tags)

    def call_method(
        self,
        function: nodes.Getattr | nodes.Getitem,
        arguments: list[Value],
        node: nodes.Call,
    ) -> Value:
        """Return the result of a method of a text, a list or a dict."""
        if isinstance(function, nodes.Getitem):
            self.value(function)
            return UNKNOWN
        base, name = self.owner(function.node), function.attr
        self.check_name(name, node)
        if name in ("encode", "decode"):
            self.add_finding("decodes", node, name)
        if name in ("format", "format_map"):
            for text in base.texts:
                for found in DUNDER.findall(text):
                    self.add_finding("dunder-name", node, found)
        if name in gates.COMPARING_METHODS:
            self.findings += gates.comparison_findings(self, node, [base, *arguments])
        if name in gates.SPLITTING:
            for value in arguments[:1]:
                self.findings += gates.trigger_findings(
                    self.where, node, base, value, certain="content" in base.tags
                )
        if name == "get" and arguments:
            for text in arguments[0].texts:
                self.check_name(text, node, attribute=False)
            self.findings += gates.lookup_findings(self.where, node, base, arguments[0])
            if "messages" in base.tags and arguments[0].texts:
                return self.member(base, arguments[0].texts[0])
        self.findings += gates.rewrite_findings(self, node, name, base, arguments)
        self.findings += bombs.width_findings(self.where, node, name, base, arguments)
        made = constants.method(name, base, arguments)
        if name in ("join", "format", "replace") and base.texts and not made.values:
            made = made.with_tags("built")
        return self.check_text(made, node)
