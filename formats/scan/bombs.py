"""Memory and time that a template would use, as far as its numbers say."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from jinja2 import nodes

from llorch.formats.scan.constants import Value
from llorch.formats.scan.rules import Finding

WIDENING = frozenset(
    {"center", "ljust", "rjust", "zfill", "indent", "wordwrap", "expandtabs", "truncate", "batch", "slice"}
)
MOST_REPETITIONS = 1_000_000
MOST_RANGE = 100_000
MOST_WIDTH = 50_000


def number(node: nodes.Node) -> int | None:
    """Return the value of an expression of integer constants; a huge power counts as 2^63. None for others."""
    if isinstance(node, nodes.Const):
        value = node.value
        return (
            int(value)
            if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e18
            else None
        )
    if isinstance(node, nodes.Neg):
        inner = number(node.node)
        return None if inner is None else -inner
    if isinstance(node, nodes.Mul | nodes.Add | nodes.Sub | nodes.Pow):
        left, right = number(node.left), number(node.right)
        if left is None or right is None:
            return None
        if isinstance(node, nodes.Pow):
            return 1 << 63 if abs(left) > 1 and right > 62 else min(abs(left) ** min(abs(right), 62), 1 << 63)
        if isinstance(node, nodes.Mul):
            return left * right
        return left + right if isinstance(node, nodes.Add) else left - right
    return None


def product(numbers: Sequence[int]) -> int:
    """Return the product of the numbers."""
    found = 1
    for one in numbers:
        found *= one
    return found


def size_findings(where: str, node: nodes.BinExpr, left: Value, right: Value) -> Iterator[Finding]:
    """Find huge repetitions, powers, and widths in a `%` format."""
    if isinstance(node, nodes.Mul):
        times = [one for one in (number(node.left), number(node.right)) if one is not None]
        times += [*whole_numbers(left), *whole_numbers(right)]
        sized = any(isinstance(one, str | bytes | list | tuple) for one in (*left.values, *right.values))
        counted = not all(
            number(one) is not None or whole_numbers(value)
            for one, value in ((node.left, left), (node.right, right))
        )
        if times and max(map(abs, times)) >= (MOST_WIDTH if sized else MOST_RANGE) and counted:
            yield Finding("exhausts", where, node.lineno, f"repeats something {max(times):,} times")
    if isinstance(node, nodes.Pow):
        power = number(node.right)
        if power is not None and power >= 1000:
            yield Finding("exhausts", where, node.lineno, f"to the power of {power:,}")
        elif isinstance(node.left, nodes.Pow) or isinstance(node.right, nodes.Pow):
            yield Finding("exhausts", where, node.lineno, "a power of a power")
    if isinstance(node, nodes.Mod):
        yield from wide_formats(where, node, left)


def wide_formats(where: str, node: nodes.Node, value: Value) -> Iterator[Finding]:
    """Find huge widths in a format."""
    for text in value.texts:
        for width in re.findall(r"\d{5,}", text) if re.search(r"%|\{", text) else ():
            yield Finding("exhausts", where, node.lineno, f"a width of {width[:20]}")


def width_findings(
    where: str, node: nodes.Filter | nodes.Call, name: str, base: Value, arguments: Sequence[Value]
) -> Iterator[Finding]:
    """Find huge widths of `center(10**9)` and similar, and in formats."""
    if name in ("format", "format_map"):
        yield from wide_formats(where, node, base)
    if name not in WIDENING:
        return
    given = [*node.args, *(one.value for one in node.kwargs)]
    widths = [one for one in map(number, given) if one is not None]
    widths += [one for value in arguments for one in whole_numbers(value)]
    if widths and max(map(abs, widths)) >= MOST_WIDTH:
        yield Finding("exhausts", where, node.lineno, f"{name} to {max(widths):,} characters")


def whole_numbers(value: Value) -> list[int]:
    """Return the integers among an expression's possible values."""
    return [one for one in value.values if isinstance(one, int) and not isinstance(one, bool)]


def range_findings(where: str, node: nodes.Call, arguments: Sequence[Value]) -> Iterator[Finding]:
    """Find a range with huge numbers, or with a large multiple of an unknown."""
    for argument, value in zip(node.args, arguments, strict=True):
        written = number(argument)
        known = max([*whole_numbers(value), *([] if written is None else [written])], key=abs, default=0)
        if abs(known) >= MOST_RANGE - 1:
            yield Finding("exhausts", where, node.lineno, f"range({known:,})")
        for inner in [argument, *argument.find_all((nodes.Mul, nodes.Pow))]:
            if isinstance(inner, nodes.Mul):
                factors = [number(one) for one in (inner.left, inner.right)]
                if any(one is not None and abs(one) >= 1000 for one in factors) and None in factors:
                    yield Finding(
                        "exhausts", where, node.lineno, "a range that is a thousand times what is given"
                    )
            elif isinstance(inner, nodes.Pow) and number(inner) is None:
                yield Finding("exhausts", where, node.lineno, "a range to a power")


def growth_findings(where: str, node: nodes.For) -> Iterator[Finding]:
    """Find texts that double in a loop, as `set s = s ~ s`."""
    for assign in node.find_all(nodes.Assign):
        target = assign.target
        name = (
            (target.name, getattr(target, "attr", None))
            if isinstance(target, nodes.Name | nodes.NSRef)
            else None
        )
        for made in [assign.node, *assign.node.find_all((nodes.Concat, nodes.Add, nodes.Mul))]:
            parts = list(flat_sum(made)) if isinstance(made, nodes.Concat | nodes.Add) else []
            if isinstance(made, nodes.Mul):
                parts = [made.left, made.right]
            if name is not None and sum(_name_of(part) == name for part in parts) >= 2:
                yield Finding("exhausts", where, assign.lineno, "what doubles in a loop")
                break


def flat_sum(node: nodes.Node) -> Iterator[nodes.Node]:
    """Yield the parts of a sum or a concatenation."""
    if isinstance(node, nodes.Concat):
        for one in node.nodes:
            yield from flat_sum(one)
    elif isinstance(node, nodes.Add):
        yield from flat_sum(node.left)
        yield from flat_sum(node.right)
    else:
        yield node


def _name_of(node: nodes.Node) -> tuple[str, str | None] | None:
    if isinstance(node, nodes.Name):
        return node.name, None
    if isinstance(node, nodes.Getattr) and isinstance(node.node, nodes.Name):
        return node.node.name, node.attr
    return None


def endless_macros(tree: nodes.Template) -> Iterator[nodes.Macro]:
    """Yield macros that call themselves, directly or through others, without a condition."""
    macros = {macro.name: macro for macro in tree.find_all(nodes.Macro)}
    calls = {name: set(always_called(macro.body)) & set(macros) for name, macro in macros.items()}
    for name, macro in macros.items():
        reached, left = set(), list(calls[name])
        while left:
            one = left.pop()
            if one not in reached:
                reached.add(one)
                left += calls[one]
        if name in reached:
            yield macro


def always_called(body: Sequence[nodes.Node]) -> Iterator[str]:
    """Yield the names that are called on every path through statements."""
    for node in body:
        if isinstance(node, nodes.If) and isinstance(node.test, nodes.Const) and node.test.value:
            yield from always_called(node.body)
        elif isinstance(node, nodes.If | nodes.CondExpr | nodes.For | nodes.And | nodes.Or | nodes.Macro):
            continue
        else:
            if isinstance(node, nodes.Call) and isinstance(node.node, nodes.Name):
                yield node.node.name
            yield from always_called(list(node.iter_child_nodes()))
