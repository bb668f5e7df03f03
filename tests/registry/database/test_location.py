"""The database's location, and the part of a URL that is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.registry.database.location import FILE, VARIABLE, locate, without_password


def test_the_option_is_before_the_environment_and_that_before_the_folder(tmp_path: Path) -> None:
    (tmp_path / FILE).touch()
    env = {VARIABLE: "/team/registry.db"}
    assert locate("mine.db", env, tmp_path).url == str(tmp_path / "mine.db")
    assert locate(None, env, tmp_path).url == "/team/registry.db"
    assert locate(None, {VARIABLE: ""}, tmp_path).url == str(tmp_path / FILE)
    whys = [
        locate("mine.db", env, tmp_path).why,
        locate(None, env, tmp_path).why,
        locate(None, {}, tmp_path).why,
    ]
    assert ["--registry" in whys[0], VARIABLE in whys[1], FILE in whys[2]] == [True, True, True]


def test_without_any_it_is_in_the_platforms_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import platformdirs

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    expected = platformdirs.user_data_path("llorch", appauthor=False) / FILE
    assert locate(None, {}, tmp_path).url == str(expected)
    assert not expected.parent.exists()


def test_a_url_stays_as_it_is(tmp_path: Path) -> None:
    assert locate("postgresql://team/db", {}, tmp_path).url == "postgresql://team/db"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql+psycopg://me:a:b@c@host/db", "postgresql+psycopg://me:***@host/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("/a/registry.db", "/a/registry.db"),
    ],
)
def test_a_password_is_never_shown(url: str, shown: str) -> None:
    assert without_password(url) == shown
