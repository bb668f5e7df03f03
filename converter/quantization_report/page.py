"""The quantization report as one HTML page: self-contained, without scripts, for light and dark, desktop and phone.

Nothing from a file becomes markup: every string goes through `charts.text`, and if one were forgotten, the page's
content security policy would let nothing run or load.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files

from llorch.converter.provenance.record import Conversion, TensorRow
from llorch.converter.quantization.block_scales import has_scales
from llorch.converter.quantization.error import ReferenceComparison, TensorError
from llorch.converter.quantization.stats import Claim, LayerShare, Quantization, QuantShare
from llorch.converter.quantization_report.charts import (
    Point,
    Range,
    Share,
    layer_bars,
    point_chart,
    range_chart,
    rounded_up,
    share_bar,
    text,
)
from llorch.formats.quants import BY_ID, by_name

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
COLOURS = 8  # the classes t0 … t7 of the style; further types are grey
MOST_CHARTS = 24
MOST_ROWS = 1000  # rows of a table; conversion.json has all
MOST_NAMES = 40
MOST_MESSAGE = 1000  # characters of a warning
NUMBER = re.compile(r"(?<![^.])\d{1,9}(?![^.])")  # of a layer or expert: between dots
RECIPE = re.compile(r"_(XS|S|M|L|MOE)$")
UNITS = ("B", "kB", "MB", "GB", "TB")


def page(conversion: Conversion, comparison: ReferenceComparison | None = None) -> str:
    """Return the whole page. comparison: with the original weights, if available."""
    quantization = conversion.quantization
    colours = {name: f"t{n}" if n < COLOURS else "tx" for n, name in enumerate(quantization.types)}
    name = conversion.sources[0].name
    sections = [
        _facts(conversion, quantization, comparison),
        _type_section(quantization, colours),
        _size_section(quantization, colours),
        _scale_section(quantization, conversion.tensors, colours),
        "" if comparison is None else _error_section(comparison, conversion.tensors, colours),
        _messages_section(conversion),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Quantization of {text(name)}</title>\n<style>\n{_style()}</style>\n</head>\n<body>\n<main>\n"
        f"<header><p>Quantization report</p>\n<h1>{text(name)}</h1></header>\n"
        f"{''.join(sections)}{_footer(conversion)}</main>\n</body>\n</html>\n"
    )


def _style() -> str:
    return files(__package__).joinpath("page.css").read_text(encoding="utf-8")


def _facts(conversion: Conversion, quantization: Quantization, comparison: ReferenceComparison | None) -> str:
    claim = quantization.claim
    weights = sum(share.weights for share in quantization.types.values())
    facts = [
        ("claims to be", "nothing" if claim is None else _claim_text(claim)),
        ("most weights are", next(iter(quantization.types), "none")),
        ("bits per weight", f"{quantization.bits_per_weight:.2f}"),
        ("weights", _millions(weights)),
        ("in the source", _bytes(sum(source.size for source in conversion.sources))),
        (
            f"written as {conversion.dtype}",
            _bytes(sum(f.size for f in conversion.files if f.role == "weights")),
        ),
        ("non-finite blocks", "0"),
    ]
    if comparison is not None:
        relative = [e.relative for e in comparison.errors if e.relative is not None]
        facts.append(("largest relative error", _percent(max(relative)) if relative else "none measured"))
    tiles = "".join(f"<div><dt>{text(name)}</dt><dd>{text(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{tiles}</dl>\n'


def _claim_text(claim: Claim) -> str:
    return claim.name or f"unknown type {claim.file_type}"


def _type_section(quantization: Quantization, colours: Mapping[str, str]) -> str:
    total = sum(share.weights for share in quantization.types.values())
    shares = [
        Share(
            share.weights, colours[name], f"{name}: {_percent(share.weights / max(total, 1))} of the weights"
        )
        for name, share in quantization.types.items()
    ]
    rows = [
        [
            _key(name, colours),
            f"{share.tensors:,}",
            f"{share.weights:,}",
            text(_percent(share.weights / max(total, 1))),
            text(_bytes(share.size)),
            f"{8 * share.size / max(share.weights, 1):.2f}",
        ]
        for name, share in quantization.types.items()
    ]
    titles = ["type", "tensors", "weights", "share", "size", "bits per weight"]
    bar = share_bar(shares, total, "share of each type")
    sentence = f"<p>{_claim_sentence(quantization)}</p>"
    return _section("Which types it really has", f"{sentence}\n{bar}\n{_table(titles, rows)}")


def _claim_sentence(quantization: Quantization) -> str:
    """Compare what the file claims with what it is."""
    claim, types = quantization.claim, quantization.types
    mix = ", ".join(f"{share.tensors:,} {text(name)}" for name, share in types.items())
    is_it = f"Its tensors are {mix}."
    if claim is None:
        return f"The file does not say which quantization it has. {is_it}"
    says = f"The file calls itself <strong>{text(_claim_text(claim))}</strong>. {is_it}"
    base = RECIPE.sub("", claim.name or "")
    if base not in {type.name for type in BY_ID.values()}:
        return says
    total = sum(share.weights for share in types.values())
    share = types.get(base, QuantShare(0, 0, 0)).weights / max(total, 1)
    if not share:
        return f"{says} <strong>None of them is {text(base)}.</strong>"
    only = "Only " if share < 0.5 else ""
    return f"{says} {only}{text(_percent(share))} of the weights are {text(base)}."


def _size_section(quantization: Quantization, colours: Mapping[str, str]) -> str:
    layers = [layer for layer in quantization.layers if layer.name.isdecimal()]
    groups = [(layer.name, [layer]) for layer in quantization.layers if not layer.name.isdecimal()]
    groups.insert(1 if groups and groups[0][0] == "embedding" else 0, (f"{len(layers)} layers", layers))
    total = sum(sum(layer.sizes.values()) for layer in quantization.layers)
    rows = []
    for name, of_group in groups:
        shares = _shares(of_group, colours)
        size = sum(share.value for share in shares)
        rows.append(
            f"<dt>{text(name)}</dt><dd>{share_bar(shares, total, f'size of {name}')}</dd>"
            f"<dd>{text(_bytes(size))}</dd>"
        )
    bars: list[tuple[str, Sequence[Share]]] = [(layer.name, _shares([layer], colours)) for layer in layers]
    top = max((sum(layer.sizes.values()) for layer in layers), default=0)
    unit = min(max(int(math.log10(top or 1)) // 3, 0), len(UNITS) - 1)
    chart = layer_bars(bars, 1000.0**unit, UNITS[unit], "size of each layer")
    return _section(
        "Where the bytes are",
        f'<dl class="rows">{"".join(rows)}</dl>\n<h3>Layer by layer</h3>\n'
        f'<div class="scroll">{chart}</div>\n{_legend(quantization.types, colours)}',
    )


def _shares(layers: Sequence[LayerShare], colours: Mapping[str, str]) -> list[Share]:
    """Return the bytes of each type in some layers."""
    sizes = {name: sum(layer.sizes.get(name, 0) for layer in layers) for name in colours}
    return [Share(size, colours[name], f"{name}, {_bytes(size)}") for name, size in sizes.items() if size]


def _scale_section(
    quantization: Quantization, tensors: Sequence[TensorRow], colours: Mapping[str, str]
) -> str:
    quants = {rows.tensor: rows.quant for tensor in tensors for rows in tensor.sources}
    charts: dict[str, dict[int, Range]] = {}
    table = []
    for name, scales in quantization.scales.items():
        if scales.minimum is None or scales.median is None or scales.maximum is None:
            table.append(
                [text(name), _key(quants[name], colours), f"{scales.blocks:,}", f"{scales.zeros:,}", *"———"]
            )
            continue
        numbers = scales.minimum, scales.median, scales.maximum
        row = [text(name), _key(quants[name], colours), f"{scales.blocks:,}", f"{scales.zeros:,}"]
        table.append([*row, *(f"{number:.3g}" for number in numbers)])
        layer, role = _place(name)
        if layer is not None:
            label = f"{name} ({quants[name]}): {numbers[0]:.3g} – {numbers[1]:.3g} – {numbers[2]:.3g}"
            of_role = charts.setdefault(role, {})
            previous = of_role.get(layer)  # another expert of this layer, if each is a tensor
            low, high = (
                (min(numbers[0], previous.low), max(numbers[2], previous.high)) if previous else numbers[::2]
            )
            of_role[layer] = Range(layer, low, numbers[1], high, colours[quants[name]], label)
    if not table:
        return _section("Block scales", "<p>No tensor is stored in blocks, so there are no scales.</p>")
    drawn = ""
    if charts:
        ranges = [r for of_role in charts.values() for r in of_role.values()]
        low = math.floor(math.log10(min(r.low for r in ranges)))
        high = max(math.ceil(math.log10(max(r.high for r in ranges))), low + 1)
        last = max(r.layer for r in ranges)
        drawn = _grid(
            (role, range_chart(list(of_role.values()), (low, high), last, f"scales of {role} by layer"))
            for role, of_role in charts.items()
        )
    titles = ["tensor", "type", "scales", "zeros", "minimum", "median", "maximum"]
    return _section(
        "Block scales",
        "<p>The magnitude of <i>d</i>, by which a block's integers are multiplied: from the smallest to the largest "
        "in each tensor, with a dot at the median, layer by layer. Types differ in what else they multiply by, so "
        "compare within a colour. Every block was found finite: a conversion that meets another ends with an "
        f"error.</p>\n{drawn}\n{_legend([name for name in colours if has_scales(by_name(name))], colours)}"
        f"{_details('All scales', titles, table, 2)}",
    )


def _error_section(
    comparison: ReferenceComparison, tensors: Sequence[TensorRow], colours: Mapping[str, str]
) -> str:
    quants = {row.name: row.sources[0].quant for row in tensors}
    charts: dict[str, dict[int, Point]] = {}
    for error in comparison.errors:
        layer, role = _place(error.name)
        if layer is None or not error.relative:
            continue
        label = f"{error.name} ({quants[error.name]}): {_percent(error.relative)}"
        previous = charts.setdefault(role, {}).get(layer)
        if previous is None or previous.value < error.relative:  # of several experts, the worst
            charts[role][layer] = Point(layer, error.relative, colours[quants[error.name]], label)
    points = [point for of_role in charts.values() for point in of_role.values()]
    top = rounded_up(max((point.value for point in points), default=0.0))
    last = max((point.layer for point in points), default=0)
    drawn = _grid(
        (role, point_chart(list(of_role.values()), top, last, f"error of {role} by layer"))
        for role, of_role in charts.items()
    )
    exact = sum(error.relative == 0 for error in comparison.errors)
    ordered = sorted(comparison.errors, key=lambda e: -(math.inf if e.relative is None else e.relative))
    titles = ["tensor", "stored as", "relative error", "largest distance"]
    return _section(
        "Error against the original",
        f"<p>The root of the mean squared error of what was written, relative to that of the original's mean "
        f"square. {len(comparison.errors):,} tensors were compared; {exact:,} of them are the original's to the "
        f"bit.</p>\n{drawn}\n{_legend([name for name in colours if name in quants.values()], colours)}"
        f"<h3>The worst</h3>\n{_table(titles, [_error_row(e, quants, colours) for e in ordered[:10]], 2)}"
        f"{_details('All errors', titles, [_error_row(e, quants, colours) for e in ordered], 2)}"
        f"{_names('Only in the original', comparison.missing)}{_names('Only in what was written', comparison.extra)}"
        f"{_names('Not comparable', [f'{name}: {why}' for name, why in comparison.incomparable.items()])}",
    )


def _error_row(error: TensorError, quants: Mapping[str, str], colours: Mapping[str, str]) -> list[str]:
    relative = "—" if error.relative is None else text(_percent(error.relative))
    worst = "—" if error.worst is None else f"{error.worst:.3g}"
    return [text(error.name), _key(quants[error.name], colours), relative, worst]


def _messages_section(conversion: Conversion) -> str:
    """List warnings, notes, tensors that are not written, and assumed values."""
    listed = [
        _names("Warnings", conversion.warnings),
        _names("Taken for granted", conversion.notes),
        _names("Tensors that are not written", [f"{name}: {why}" for name, why in conversion.unused.items()]),
        _names("Assumed, since the file does not say", [f"{k} = {v}" for k, v in conversion.assumed.items()]),
    ]
    return _section("What else the conversion says", "".join(listed)) if any(listed) else ""


def _footer(conversion: Conversion) -> str:
    sources = "".join(
        f"<li>{text(s.name)}<br><code>sha256:{text(s.sha256)}</code></li>" for s in conversion.sources
    )
    made = f"llorch {conversion.tools['llorch']}, {conversion.finished}"
    return (
        f"<footer><ul>{sources}</ul><p>Weights as written: <code>{text(conversion.weights)}</code></p>"
        f"<p>Architecture {text(conversion.architecture)}; {text(made)}</p></footer>\n"
    )


def _place(name: str) -> tuple[int | None, str]:
    """Return a tensor's layer, the first number in its name, and its name within the layer."""
    found = NUMBER.search(name)
    if found is None:
        return None, name
    return int(found[0]), NUMBER.sub("*", name[found.end() + 1 :]).removesuffix(".weight")


def _section(title: str, content: str) -> str:
    return f"<section>\n<h2>{title}</h2>\n{content}\n</section>\n"


def _grid(charts: Iterable[tuple[str, str]]) -> str:
    figures = [f"<figure><figcaption>{text(title)}</figcaption>{chart}</figure>" for title, chart in charts]
    more = len(figures) - MOST_CHARTS
    left_out = f"<p>{more:,} more are in the table only.</p>" if more > 0 else ""
    return f'<div class="grid">{"".join(figures[:MOST_CHARTS])}</div>{left_out}'


def _key(name: str, colours: Mapping[str, str]) -> str:
    return f'<span class="key {colours[name]}">{text(name)}</span>'


def _legend(names: Iterable[str], colours: Mapping[str, str]) -> str:
    return f'<p class="legend">{" ".join(_key(name, colours) for name in names)}</p>\n'


def _table(titles: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Return a table. The cells are markup already; the first `words` columns are text, the others numbers."""
    head = "".join(f"<th{'' if n < words else _NUMBER}>{title}</th>" for n, title in enumerate(titles))
    body = "".join(
        "<tr>" + "".join(f"<td{'' if n < words else _NUMBER}>{c}</td>" for n, c in enumerate(row)) + "</tr>\n"
        for row in rows[:MOST_ROWS]
    )
    more = len(rows) - MOST_ROWS
    left_out = f"<p>{more:,} more rows are in conversion.json or --json.</p>" if more > 0 else ""
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table></div>{left_out}\n'


_NUMBER = ' class="number"'


def _details(title: str, titles: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    return f"<details><summary>{title} ({len(rows):,})</summary>{_table(titles, rows, words)}</details>\n"


def _names(title: str, names: Sequence[str]) -> str:
    """Return a list of names with a title, or "" if there are none."""
    if not names:
        return ""
    listed = "".join(f"<li>{text(name, MOST_MESSAGE)}</li>" for name in names[:MOST_NAMES])
    more = f"<li>and {len(names) - MOST_NAMES:,} more</li>" if len(names) > MOST_NAMES else ""
    return f"<h3>{title} ({len(names):,})</h3><ul>{listed}{more}</ul>\n"


def _millions(count: int) -> str:
    return f"{count:,}" if count < 10**6 else f"{count / 10**6:,.1f} M"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %" if share < 0.9995 or share == 1 else "99.9 %"


def _bytes(size: float) -> str:
    """Format a size in powers of 1000, as disks are sold."""
    unit = 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[unit]}" if unit == 0 else f"{size:.3g} {UNITS[unit]}"
