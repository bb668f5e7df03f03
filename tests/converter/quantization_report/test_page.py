"""The report's page: its content, that it is well formed, and that nothing from a file becomes markup."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from llorch.converter import Conversion, convert
from llorch.converter.quantization.error import compare_with_reference, read_reference
from llorch.converter.quantization.stats import Claim, Quantization, QuantShare
from llorch.converter.quantization_report.charts import rounded_up
from llorch.converter.quantization_report.page import page
from tests.models.gguf_writer import STRING, TYPE_F32, Model, array, one
from tests.models.tiny import random_llama, tiny_llama

HOSTILE = "<img src=x onerror=alert(1)>\"'</script>"

VOID = {"meta", "br"}
ELEMENTS = {
    *("html", "head", "title", "style", "body", "main", "header", "section", "footer", "h1", "h2", "h3", "p"),
    *(
        "strong",
        "i",
        "code",
        "ul",
        "li",
        "dl",
        "dt",
        "dd",
        "div",
        "span",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
    ),
    *("td", "details", "summary", "figure", "figcaption", "svg", "rect", "line", "circle", "g", "text"),
}
ATTRIBUTES = {
    *("lang", "charset", "http-equiv", "content", "name", "class", "viewbox", "preserveaspectratio", "role"),
    *("aria-label", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "width", "height", "text-anchor"),
}


class Read(HTMLParser):
    """A page parsed as a browser would: elements, attributes and text; fails if elements do not nest."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self._open: list[str] = []
        self.feed(source)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def converted(tmp_path: Path, model: Model | Path) -> Conversion:
    source = model if isinstance(model, Path) else model.write(tmp_path / "model.gguf")
    return convert(source, tmp_path / "out")


def charts(source: str, kind: str) -> list[ET.Element]:
    return [ET.fromstring(svg) for svg in re.findall(rf'<svg class="{kind}".*?</svg>', source)]


# -- nothing from a file becomes markup


def hostile(tmp_path: Path) -> str:
    """A page in which every string from a file is hostile."""
    model = random_llama(matrices="Q8_0")
    for key in ("general.name", "general.author", "general.basename", "tokenizer.chat_template"):
        model.key(key, one(STRING, HOSTILE))
    model.key("general.tags", array(STRING, [HOSTILE] * 3)).key("llama." + HOSTILE, one(STRING, HOSTILE))
    for name in (HOSTILE, f"blk.0.{HOSTILE}", f"output.{HOSTILE}"):
        model.tensor(name, [64], TYPE_F32)
    source = model.write(tmp_path / HOSTILE.replace("/", "\\"))
    conversion = convert(source, tmp_path / "out", dtype="float32", allow_unknown=True)
    original = load_file(conversion.folder / "model.safetensors")
    was = original.pop("model.norm.weight")
    original |= {HOSTILE: was, "model.layers.0.mlp.up_proj.weight": was}
    (tmp_path / "original").mkdir()
    save_file(original, tmp_path / "original" / "model.safetensors")
    comparison = compare_with_reference(conversion.folder, read_reference(tmp_path / "original"))
    rows = [
        replace(row, sources=tuple(replace(s, tensor=HOSTILE) for s in row.sources))
        for row in conversion.tensors
    ]
    first = next(iter(conversion.quantization.scales.values()))
    told = replace(
        conversion,
        architecture=HOSTILE,
        tensors=tuple(rows),
        quantization=replace(conversion.quantization, scales={HOSTILE: first}),
        assumed={HOSTILE: HOSTILE},
        notes=(HOSTILE,),
        finished=HOSTILE,
    )
    return page(told, comparison)


def test_a_model_whose_every_string_is_markup_gives_a_page_without_it(tmp_path: Path) -> None:
    source = hostile(tmp_path)
    assert "<img" not in source
    assert "<script" not in source.lower()
    assert "</script" not in source.lower()
    read = Read(source)
    assert read.elements <= ELEMENTS | VOID
    assert read.attributes <= ATTRIBUTES
    assert read.text.count(HOSTILE) >= 8, "it is shown as the text that it is"


def test_control_characters_and_line_ends_are_shown_as_escapes(tmp_path: Path) -> None:
    conversion = converted(tmp_path, tiny_llama())
    source = page(replace(conversion, notes=("a\x00b\n\x1b[2J\u202e" + "x" * 5000,)))
    assert r"a\x00b\n\x1b[2J\u202e" in source
    assert "x" * 1001 not in source
    assert not set(source) & {"\x00", "\x1b", "\u202e"}


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    source = page(converted(tmp_path, tiny_llama()))
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert source.index(f'http-equiv="Content-Security-Policy" content="{policy}') < source.index("<style>")
    assert not re.search(r"url\(|@import|https?:|src=|href=|\bon\w+=", source)


# -- what it shows


def test_the_page_of_a_quantized_model_with_its_original_is_well_formed(
    test_data: Path, tmp_path: Path
) -> None:
    tiny = test_data / "tiny" / "llama"
    convert(tiny / "f32.gguf", tmp_path / "original")
    conversion = converted(tmp_path, tiny / "q4_k_m.gguf")
    comparison = compare_with_reference(conversion.folder, read_reference(tmp_path / "original"))
    source = page(conversion, comparison)
    assert Read(source).elements <= ELEMENTS | VOID
    # Seven matrices in each of three layers have scales, and an error; three layers have a size.
    scales, errors = charts(source, "small")[:7], charts(source, "small")[7:]
    assert [len(chart.findall("g")) for chart in scales] == [3] * 7
    assert [len(chart.findall("rect")) for chart in errors] == [3] * 7
    (layers,) = charts(source, "wide")
    assert len(layers.findall("rect")) == 3 * 2 + 1  # Q4_K and F32 in each; the last has Q6_K too
    largest = max(error.relative or 0 for error in comparison.errors)
    assert f"{100 * largest:.3g} %" in source


def test_bars_are_as_long_as_the_shares_they_stand_for(test_data: Path, tmp_path: Path) -> None:
    conversion = converted(tmp_path, test_data / "tiny" / "llama" / "q4_k_m.gguf")
    types = conversion.quantization.types
    total = sum(share.weights for share in types.values())
    bars = charts(page(conversion), "bar")[0].findall("rect")
    assert len(bars) == len(types)
    for bar, share in zip(bars, types.values(), strict=True):
        # Two of a thousand are the gap to the next; no bar is narrower than one.
        assert float(bar.attrib["width"]) == pytest.approx(max(1000 * share.weights / total - 2, 1), abs=0.06)


@pytest.mark.parametrize(
    ("claim", "types", "says"),
    [
        (None, {"Q4_0": 10}, "does not say"),
        (
            Claim(77, None),
            {"Q4_0": 10},
            "calls itself <strong>unknown type 77</strong>. Its tensors are 1 Q4_0.",
        ),
        (Claim(2, "Q4_0"), {"Q4_0": 9, "F32": 1}, "are 1 Q4_0, 1 F32. 90 % of the weights are Q4_0."),
        (
            Claim(15, "Q4_K_M"),
            {"Q5_0": 9, "Q4_K": 3},
            "are 1 Q5_0, 1 Q4_K. Only 25 % of the weights are Q4_K.",
        ),
        (Claim(15, "Q4_K_M"), {"Q5_0": 9}, "<strong>None of them is Q4_K.</strong>"),
        (
            Claim(27, "IQ3_M"),
            {"IQ3_S": 9},
            "calls itself <strong>IQ3_M</strong>. Its tensors are 1 IQ3_S.</p>",
        ),
    ],
)
def test_the_page_compares_the_claim_with_the_actual_types(
    tmp_path: Path, claim: Claim | None, types: dict[str, int], says: str
) -> None:
    conversion = converted(tmp_path, tiny_llama())
    shares = {name: QuantShare(1, weights, weights) for name, weights in types.items()}
    assert says in page(replace(conversion, quantization=Quantization(claim, shares, (), {})))


def test_a_ninth_type_is_grey(tmp_path: Path) -> None:
    names = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "F32", "F16"]
    types = {name: QuantShare(1, 32, 32) for name in names}
    conversion = replace(converted(tmp_path, tiny_llama()), quantization=Quantization(None, types, (), {}))
    colours = re.findall(r'<span class="key (t\w)">(\w+)</span></td>', page(conversion))
    assert colours[:10] == [("t" + (str(n) if n < 8 else "x"), name) for n, name in enumerate(names)]


def test_a_model_that_is_not_quantized_has_a_page_too(tmp_path: Path) -> None:
    source = page(converted(tmp_path, random_llama()))
    assert "No tensor is stored in blocks" in source
    assert not charts(source, "small")
    Read(source)


def test_an_original_that_cannot_be_compared_is_reported(tmp_path: Path) -> None:
    conversion = converted(tmp_path, tiny_llama())
    save_file({"other": np.ones(2, np.float32)}, tmp_path / "original.safetensors")
    source = page(
        conversion,
        compare_with_reference(conversion.folder, read_reference(tmp_path / "original.safetensors")),
    )
    assert "none measured" in source
    assert "Only in the original (1)" in source
    assert f"Only in what was written ({len(conversion.tensors)})" in source


def test_the_page_of_a_real_model(real_model: Path, tmp_path: Path) -> None:
    """Counts from gguf-py's dump: 30 layers of 7 Q4_1 matrices, a Q8_0 embedding, 61 F32 norms."""
    source = page(converted(tmp_path, real_model))
    assert "calls itself <strong>Q4_1</strong>. Its tensors are 210 Q4_1, 1 Q8_0, 61 F32." in source
    assert "<dd>5.74</dd>" in source
    assert [len(chart.findall("g")) for chart in charts(source, "small")] == [30] * 7
    Read(source)


@given(st.floats(1e-12, 1e12))
def test_an_axis_ends_at_a_round_number_not_far_above_its_largest_value(value: float) -> None:
    end = rounded_up(value)
    assert value <= end <= 2 * value * (1 + 1e-12)
    assert float(f"{end:.0e}") == pytest.approx(end, rel=1e-12)
