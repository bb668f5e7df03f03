"""Tables fit the terminal for a person, and have full values for a program."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llorch.base.printable import width
from llorch.commands.cli.tables import (
    GAP,
    NARROWEST,
    Cell,
    age,
    digest,
    fit,
    paint,
    size,
    text,
    wrap,
    write_table,
)

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "brief"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (98_034_560, "98.0 MB"),
        (269_060_552, "269 MB"),
        (5 * 10**9, "5.0 GB"),
    ],
)
def test_sizes_are_read_in_powers_of_a_thousand(value: int, brief: str) -> None:
    assert size(value) == Cell(str(value), brief)


def test_a_size_that_rounds_up_to_a_thousand_takes_the_next_unit() -> None:
    assert size(999_950).brief == "1.0 MB"


@pytest.mark.parametrize(
    ("when", "brief"),
    [
        ("2026-11-24T12:00:00Z", "now"),
        ("2026-11-24T11:59:01Z", "now"),
        ("2026-11-24T11:58:59Z", "1 min ago"),
        ("2026-11-24T09:00:00Z", "3 h ago"),
        ("2026-11-22T11:00:00+00:00", "2 d ago"),
        ("2024-11-01T00:00:00Z", "2 y ago"),
        ("2026-11-24T12:00:01Z", "2026-11-24T12:00:01Z"),
    ],
)
def test_ages_count_whole_units_and_the_future_is_told_in_full(when: str, brief: str) -> None:
    assert age(when, NOW).brief == brief
    assert age(when, NOW).full == when


def test_a_digest_is_cut_to_its_label_and_twelve_digits() -> None:
    assert digest("tree1:" + "ab" * 32).brief == "tree1:abababababab"


def test_text_from_a_file_cannot_act_on_the_terminal_nor_break_a_row() -> None:
    assert text("a\x1b[2J\tb\nc").full == r"a\x1b[2J\tb\nc"


def cells(rows: list[list[str]]) -> list[list[Cell]]:
    return [[Cell(value, value) for value in row] for row in rows]


@given(
    st.integers(1, 6).flatmap(
        lambda n: st.lists(st.lists(st.text("abc", max_size=60), min_size=n, max_size=n), min_size=1)
    ),
    st.integers(20, 200),
)
def test_no_line_is_wider_than_the_terminal(rows: list[list[str]], width: int) -> None:
    assert all(len(line) <= width for line in fit(cells(rows), width))


@given(st.lists(st.lists(st.text("abc", min_size=1, max_size=9), min_size=3, max_size=3), min_size=1))
def test_nothing_is_cut_where_there_is_room(rows: list[list[str]]) -> None:
    for row, line in zip(rows, fit(cells(rows), 80), strict=True):
        assert line.split() == row


def test_the_widest_column_is_cut_first_and_shows_that_it_was() -> None:
    assert fit(cells([["name", "x" * 30]]), 20) == ["name" + GAP + "x" * 13 + "…"]


def test_columns_are_cut_to_no_less_than_six_characters() -> None:
    (line,) = fit(cells([["y" * 30, "x" * 30]]), 3 * NARROWEST)
    assert line == "y" * 7 + "…" + GAP + "x" * 7 + "…"


def test_without_a_terminal_values_are_whole_and_between_tabs_without_a_header(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_table(("name", "size"), [[text("m"), size(269_060_552)], [text("a\tb"), size(None)]])
    assert capsys.readouterr().out == "m\t269060552\na\\tb\t\n"


def test_on_a_terminal_there_is_a_header_in_upper_case(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llorch.commands.cli.tables.is_terminal", lambda _: True)
    write_table(("name", "size"), [[text("m"), size(269_060_552)]])
    assert capsys.readouterr().out == "NAME  SIZE\nm     269 MB\n"


def test_an_empty_table_prints_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llorch.commands.cli.tables.is_terminal", lambda _: True)
    write_table(("name",), [])
    assert capsys.readouterr().out == ""


LONG = "the layer 12, of which nobody knew that it would be so far off in its query projection"


def test_what_does_not_fit_is_wrapped_below_its_row_and_never_cut() -> None:
    rows = [[text("a"), Cell(LONG, LONG, below=True)], [text("b"), text("short")]]
    lines = fit(rows, 40)
    assert " ".join(" ".join(lines).split()) == f"a {LONG} b short"
    assert all(len(line) <= 40 for line in lines)
    assert fit(rows, 140) == [f"a  {LONG}", "b  short"]


def test_a_digest_is_not_cut_while_anything_else_can_be() -> None:
    (line,) = fit([[text("x" * 60), digest("sha256:" + "ab" * 32)]], 40)
    assert line.endswith("sha256:abababababab")


@pytest.mark.parametrize(
    ("terminal", "environment", "colour"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"NO_COLOR": "1"}, False),
        (False, {"FORCE_COLOR": "1"}, True),
        (True, {"NO_COLOR": "1", "FORCE_COLOR": "1"}, False),
    ],
)
def test_verdicts_are_coloured_where_colour_is_wanted(
    monkeypatch: pytest.MonkeyPatch, terminal: bool, environment: dict[str, str], colour: bool
) -> None:
    monkeypatch.setattr("llorch.commands.cli.tables.is_terminal", lambda _: terminal)
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (paint("x  PASSED  y") != "x  PASSED  y") is colour
    assert paint("UNPASSED") == "UNPASSED"


LISTED = ("name", "format", "dtype", "size", "source", "verified", "made", "digest")
SPARED = ("source", "dtype", "format", "made")


def listed(name: str) -> list[Cell]:
    return [
        text(name),
        text("llama hf-folder"),
        text("bfloat16"),
        size(269_060_552),
        text(f"{name}.Q4_K_M.gguf"),
        Cell("PASSED", "PASSED", whole=True),
        text("10 min ago"),
        digest("tree1:" + "ab" * 32),
    ]


@pytest.mark.parametrize(
    "name", ["tiny", "SmolLM2-135M-Instruct-Q4_1", "Meta-Llama-3.1-8B-Instruct", "模型" * 8]
)
def test_a_narrow_terminal_loses_columns_before_it_loses_names_and_digests(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llorch.commands.cli.tables.is_terminal", lambda _: True)
    monkeypatch.setenv("NO_COLOR", "1")
    for columns in (80, 140):
        monkeypatch.setenv("COLUMNS", str(columns))
        write_table(LISTED, [listed(name), listed("b")], spared=SPARED)
        header, row, _ = capsys.readouterr().out.splitlines()
        assert row.startswith(f"{name}  ")
        assert row.endswith("tree1:abababababab")
        assert width(row) <= columns
        assert header.split()[0] == "NAME"
        assert "DTYPE" in header or columns == 80


def test_columns_of_wide_letters_stand_below_one_another_and_are_cut_between_letters() -> None:
    rows = [[text("模型"), text("x")], [text("name"), text("y")]]
    assert fit(rows, 80) == ["模型  x", "name  y"]
    (line,) = fit([[text("模" * 40), digest("sha256:" + "ab" * 32)]], 40)
    assert line.endswith("…  sha256:abababababab")
    assert width(line) in (39, 40)


@given(st.text("ab 模型é\u0301", max_size=80), st.integers(4, 30))
def test_wrapped_text_fits_and_loses_nothing(words: str, room: int) -> None:
    lines = wrap(words, room)
    assert all(width(line) <= room for line in lines)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
