"""A name that requires a signature: an unsigned artifact cannot get it or be used by it, until it is signed."""

from __future__ import annotations

from pathlib import Path

import pytest

from llorch.commands.convert.command import main as convert
from llorch.commands.registry.command import main as registry
from llorch.commands.run import main as run
from llorch.commands.sign import main as sign
from llorch.commands.verify_signature import main as verify_signature
from tests.commands.conftest import invoke
from tests.commands.test_sign import key_pair


@pytest.fixture
def keys(alone: Path) -> tuple[Path, Path]:
    return key_pair(alone, "release")


def test_a_conversion_is_kept_and_recorded_and_named_only_once_it_is_signed(
    source: Path, alone: Path, keys: tuple[Path, Path]
) -> None:
    private, public = keys
    assert invoke(registry, "policy", "made", "--key", public, "--reason", "gate").exit_code == 0
    result = invoke(convert, source, "-o", "made", "--verify", "none")
    assert result.exit_code == 1
    assert "made@latest demands a signature by key:" in result.stderr
    assert (alone / "made" / "config.json").exists()
    assert invoke(registry, "show", "./made").exit_code == 0
    assert invoke(registry, "show", "made").exit_code == 3
    assert invoke(sign, "made", "--key", private).exit_code == 0
    verified = invoke(verify_signature, "made", "--key", public)
    assert (verified.exit_code, "recorded" in verified.stdout) == (0, True)
    assert invoke(registry, "tag", "./made", "made").exit_code == 0


def test_what_a_name_means_is_not_used_while_it_lacks_the_signature(
    source: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, alone: Path
) -> None:
    private, public = keys
    assert invoke(convert, source, "-o", "made", "--verify", "none", "--name", "tiny@prod").exit_code == 0
    assert invoke(registry, "policy", "tiny@prod", "--key", public).exit_code == 0
    for words in ((run, "info", "tiny@prod"), (run, "tokenize", "tiny@prod", "a")):
        refused = invoke(*words)
        assert (refused.exit_code, "tiny@prod demands a signature" in refused.stderr) == (1, True)
    assert invoke(run, "info", "made").exit_code == 0  # a path is not the name
    assert invoke(sign, "tiny@prod", "--key", private).exit_code == 0  # by which it is signed all the same
    assert invoke(verify_signature, "tiny@prod", "--key", public).exit_code == 0
    assert invoke(run, "info", "tiny@prod").exit_code == 0


def test_another_key_does_not_meet_a_policy_and_nothing_is_recorded_of_a_wrong_signature(
    source: Path, keys: tuple[Path, Path], alone: Path
) -> None:
    _, public = keys
    other, other_public = key_pair(alone, "other")
    invoke(convert, source, "-o", "made", "--verify", "none")
    invoke(registry, "policy", "made@prod", "--key", public)
    invoke(sign, "made", "--key", other)
    assert invoke(verify_signature, "made", "--key", public).exit_code == 1
    refused = invoke(registry, "tag", "./made", "made@prod")
    assert (refused.exit_code, "has no verified signature" in refused.stderr) == (1, True)
    assert invoke(verify_signature, "made", "--key", other_public, "--no-record").exit_code == 0
    assert "has no verified signature" in invoke(registry, "tag", "./made", "made@prod").stderr
    assert invoke(verify_signature, "made", "--key", other_public).exit_code == 0
    assert "alone" in invoke(registry, "tag", "./made", "made@prod").stderr
