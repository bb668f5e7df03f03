# ruff: noqa: E501 - templates stand on one line
"""Malicious templates of every kind are found by their rule, obfuscated or not; published templates pass."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from llorch.formats.scan import RULES, Finding, scan_template, scan_text
from tests.formats.scan.hostile import HOSTILE

# A filter of llama.cpp's own, in templates that it wrote for models without one: in transformers they fail.
OF_LLAMA_CPP = "'from_json'"


def found_by(template: str) -> set[str]:
    return {one.rule for one in scan_template(template)}


@pytest.mark.parametrize(
    ("rule", "template"),
    [
        pytest.param(rule, template, id=f"{kind} {number}")
        for kind, (rule, templates) in HOSTILE.items()
        for number, template in enumerate(templates)
    ],
)
def test_a_hostile_template_is_found_by_the_rule_of_its_kind(rule: str, template: str) -> None:
    assert rule in found_by(template)


@pytest.mark.parametrize("folder", ["templates", "tiny", "families"])
def test_published_templates_raise_no_alarm(test_data: Path, folder: str) -> None:
    files = sorted((test_data / folder).rglob("*.jinja"))
    if not files:
        pytest.skip(f"no templates in {folder} of the test data")
    alarms = [
        str(one)
        for file in files
        for one in scan_template(file.read_text(), file.name)
        if one.level == "warning" and one.what != OF_LLAMA_CPP
    ]
    assert alarms == []


def test_templates_in_the_code_of_transformers_raise_no_alarm() -> None:
    models = Path(transformers.__file__).parent / "models"
    templates = [
        node.value
        for name in (
            "llama4/processing_llama4.py",
            "qwen2_audio/processing_qwen2_audio.py",
            "smolvlm/processing_smolvlm.py",
        )
        for node in ast.walk(ast.parse((models / name).read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "{%" in node.value
    ]
    assert len(templates) >= 3
    assert [str(one) for text in templates for one in scan_template(text)] == []


SOUND = [
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}You are a helpful assistant.{% endif %}",
    "Today Date: {{ strftime_now('%d %b %Y') }}",
    "{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}",
    "{% set c = messages[-1].content %}{% if '</think>' in c %}{{ c.split('</think>')[-1].lstrip('\\n') }}{% endif %}",
    "{% if (messages|length) % 2 == 0 %}{{ raise_exception('The roles must alternate, user first.') }}{% endif %}",
    "{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
    "{% if p.type == 'text' %}{{ p['text'] }}{% elif 'image' in p %}<image>{% endif %}{% endfor %}{% endif %}{% endfor %}",
    "{% set ns = namespace(seen=false) %}{% for m in messages[::-1] %}{% set ns.seen = true %}{% endfor %}",
    "{{ tools | tojson(indent=4) }}",
    "{% macro show(x) %}{% if x is mapping %}{% for k, v in x.items() %}{{ k }}{{ show(v) }}{% endfor %}{% else %}{{ x }}"
    "{% endif %}{% endmacro %}{{ show(tools) }}",
    "{{ messages[0]['content'].strip() + eos_token }}",
    "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
    "{% if not loop is defined and messages|length > 1 %}\n{% endif %}",
    "\u0647\u0644\u0627 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645 \U0001f468\u200d\U0001f469 1\ufe0f\u20e3 \u2764\ufe0f \u0939\u093f\u0928\u094d\u200d\u0926\u0940",
    "<\uff5cUser\uff5c>{{ messages[0].content }}<\uff5cend\u2581of\u2581sentence\uff5c>",
]


@pytest.mark.parametrize("template", SOUND)
def test_features_of_sound_templates_are_no_findings(template: str) -> None:
    assert scan_template(template) == []


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from(["__class__", "__globals__", "__init__", "__subclasses__"]), data=st.data())
def test_a_dunder_is_found_however_it_is_spelt(name: str, data: st.DataObject) -> None:
    expression = spelt(name, data, 3)
    reach = data.draw(
        st.sampled_from(["{{ ''[%s] }}", "{{ ''|attr(%s) }}", "{%% set k = %s %%}{{ messages[k] }}"])
    )
    assert "dunder-name" in found_by(reach % expression)


def spelt(text: str, data: st.DataObject, depth: int) -> str:
    """An expression whose value is `text`, in one of Jinja's ways to write it."""
    ways = ["literal", "hex", "unicode"]
    if depth and len(text) > 1:
        ways += [
            "concat",
            "plus",
            "join",
            "reverse",
            "slice",
            "format",
            "percent",
            "replace",
            "upper",
            "method",
        ]
    way = data.draw(st.sampled_from(ways))
    if way == "hex":
        return "'" + "".join(f"\\x{ord(c):02x}" for c in text) + "'"
    if way == "unicode":
        return "'" + "".join(f"\\u{ord(c):04x}" for c in text) + "'"
    if way == "literal":
        return repr(text)
    cut = data.draw(st.integers(1, len(text) - 1))
    first, second = text[:cut], text[cut:]
    if way in ("reverse", "slice"):
        return spelt(text[::-1], data, 0) + ("|reverse" if way == "reverse" else "[::-1]")
    if way == "replace":
        return f"({spelt(first + '#' + second, data, 0)}|replace('#', ''))"
    if way == "upper":
        return f"({spelt(text.swapcase(), data, 0)}.swapcase())"
    a, b = spelt(first, data, depth - 1), spelt(second, data, depth - 1)
    return {
        "concat": f"({a} ~ {b})",
        "plus": f"({a} + {b})",
        "join": f"([{a}, {b}]|join)",
        "format": f"('%s%s'|format({a}, {b}))",
        "percent": f"('%s%s' % ({a}, {b}))",
        "method": f"(''.join([{a}, {b}]))",
    }[way]


@settings(deadline=None)
@given(st.text(alphabet="{}%#'\"_ab.[]()|~*+-\n 01x=,\\", max_size=200) | st.text(max_size=100))
def test_whatever_the_text_a_scan_ends_with_findings(text: str) -> None:
    assert all(isinstance(one, Finding) and one.rule in RULES for one in scan_template(text))
    assert all(one.rule in RULES for one in scan_text(text, "x"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + " ~ ".join(["'a'"] * 20000) + " }}",
        "{% for a in 'x' * 64 %}" * 12 + "{{ a }}" + "{% endfor %}" * 12,
        "{{ '" + "_" * 200000 + "' }}",
        "{{ " + "'a'|replace('a', 'a' * 2000)|replace('a', 'a' * 2000)" * 3 + " }}",
        "{% if x %}" * 90 + "{% set a = 'b' %}" + "{% endif %}" * 90,
        "{{ " * 50000,
        "https://" * 30000,
        "ignore " * 30000,
        "{% set a = ['__','cl'] %}" + "{% set a = a + a %}" * 60 + "{{ ''[a|join] }}",
        "{% macro m(a) %}"
        + "{{ n(a) }}{{ n(a) }}" * 4
        + "{% endmacro %}{% macro n(a) %}"
        + "{{ o(a) }}" * 9
        + "{% endmacro %}"
        "{% macro o(a) %}"
        + "{{ p(a) }}" * 9
        + "{% endmacro %}{% macro p(a) %}{{ a }}{% endmacro %}"
        + "{{ m('x') }}" * 50,
        "{% if a %}" + "{% if '[' in messages[0].content and 'x' ~ 'y' %}" * 40 + "{% endif %}" * 41,
    ],
)
def test_a_scan_is_bounded_whatever_it_is_given(template: str) -> None:
    assert len(scan_template(template)) <= 100  # and it ends, although following every constant would not


def test_a_finding_names_its_line_and_is_safe_to_print() -> None:
    (one,) = [one for one in scan_template("a\nb\n{{ ''['\\x1b'] }}") if one.rule == "control-character"]
    assert (one.line, one.where) == (3, "chat_template.jinja")
    assert str(one).isprintable()
