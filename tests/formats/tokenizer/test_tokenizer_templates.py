"""Chat templates as text: copied byte for byte, and reported on without being run."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.formats.tokenizer import TokenizerFiles, build_tokenizer
from llorch.formats.tokenizer.templates import MOST, report
from tests.formats.tokenizer.vocabularies import Given, vocabulary_metadata


def files_of(tmp_path: Path, keys: dict[str, Given]) -> TokenizerFiles:
    base: dict[str, Given] = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["a", "b", "ab"],
        "tokenizer.ggml.merges": ["a b"],
    }
    return build_tokenizer(vocabulary_metadata(tmp_path / "v.gguf", {**base, **keys}))


def test_templates_are_written_to_the_byte(tmp_path: Path) -> None:
    default, tools = "{{ messages }}\r\n\u2028 é ", "{% if tools %}{{ tools }}{% endif %}"
    files = files_of(
        tmp_path,
        {
            "tokenizer.chat_template": default,
            "tokenizer.chat_template.tool_use": tools,
            "tokenizer.chat_templates": ["rag"],  # names a missing one, and lacks one that is present
        },
    )
    written = files.files()
    assert written["chat_template.jinja"] == default.encode()
    assert written["additional_chat_templates/tool_use.jinja"] == tools.encode()
    assert set(written) == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "chat_template.jinja",
        "additional_chat_templates/tool_use.jinja",
    }


def test_the_name_of_a_built_in_template_is_not_written(tmp_path: Path) -> None:
    files = files_of(tmp_path, {"tokenizer.chat_template": "chatml"})
    assert files.chat_template is None
    assert files.warnings == ["tokenizer.chat_template is 'chatml', which is no template: not written"]


def test_a_report_lists_what_a_template_refers_to() -> None:
    template = """{# see https://example.org/comment #}
    {%- set ns = namespace(seen=false) -%}
    {%- macro say(text, loud=true) -%}{{ text | upper }}{%- endmacro -%}
    {% for message in messages if message.role != 'system' %}
      {{- bos_token + say(message['content'] | trim) + 'https://example.org/x?y="not_a_name"' -}}
      {{ ''.__class__.__mro__ }} text with tools in it, and { one } brace
    {% endfor %}{{ strftime_now('%d') if add_generation_prompt }}"""
    found = report(template)
    assert found.characters == len(template)
    assert {"add_generation_prompt", "bos_token", "messages", "namespace", "strftime_now", "trim"} <= set(
        found.names
    )
    assert not {"ns", "say", "message", "tools", "not_a_name", "one", "for", "role"} & set(found.names)
    assert found.urls == ["https://example.org/comment", "https://example.org/x?y="]
    assert found.dunder_names == ["__class__", "__mro__"]


def test_a_name_that_leads_out_of_the_sandbox_is_a_finding(tmp_path: Path) -> None:
    files = files_of(
        tmp_path,
        {
            "tokenizer.chat_template": "{{ messages | attr('__class__') }}{{ self._TemplateReference__context }}",
            "tokenizer.chat_template.rag": "{{ x.__mro__ }}",
            "tokenizer.chat_template.honest": "{{ messages }} _____ a_b__c",
        },
    )
    found = {
        path: sorted({one.rule for one in report.findings}) for path, report in files.template_reports.items()
    }
    assert found == {
        "chat_template.jinja": ["attribute-filter", "code-name", "dunder-name"],
        "additional_chat_templates/rag.jinja": ["dunder-name"],
        "additional_chat_templates/honest.jinja": [],
    }
    assert set(files.template_reports) == {name for name in files.files() if name.endswith(".jinja")}


@pytest.mark.parametrize(
    "template",
    [
        "{{" * 200_000,
        "{% x '" * 100_000,
        "'\\" * 200_000,
        "{{ '" + "\\'" * 200_000,
        "{" * 400_000,
        "_" * 400_000,
        "_a" * 200_000,
        "",
    ],
)
def test_a_report_on_nonsense_is_bounded(template: str) -> None:
    found = report(template)
    assert len(found.names) <= MOST


def test_a_report_lists_a_bounded_number() -> None:
    found = report("".join(f"{{{{ name_{i} }}}} https://h{i}.example __n{i}__" for i in range(1000)))
    assert [len(found.names), len(found.urls), len(found.dunder_names)] == [MOST] * 3
