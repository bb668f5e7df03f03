"""Crashes, races and hostile neighbours at the place where a conversion is written."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from io import FileIO
from pathlib import Path

import pytest

from llorch.converter.errors import NotEnoughSpace, TargetBusy, TargetExists
from llorch.converter.write import target as target_module
from llorch.converter.write.journal import JOURNAL
from llorch.converter.write.staging import Staging
from llorch.converter.write.target import Target

KEY = "0" * 64
SIZES = {"model.safetensors": 100}
WRITTEN = ["config.json", "conversion.json", "model.safetensors"]
OURS = b'{"schema": "llorch.conversion/v1", "files": %s}'
LISTED = OURS % b'[{"path": "config.json"}, {"path": "model.safetensors"}]'


def write(target: Target, content: bytes = b"new", key: str = KEY) -> Staging:
    staging = target.stage(key, SIZES, 0)
    fd, _ = staging.open_file("model.safetensors", 100)
    os.pwrite(fd, content, 0)
    os.close(fd)
    staging.write_file("config.json", content)
    staging.write_file("conversion.json", LISTED)
    return staging


def publish(folder: Path, content: bytes = b"new", *, force: bool = False) -> None:
    with Target(folder, force=force) as target:
        write(target, content)
        target.publish()


def crash(folder: Path, content: bytes = b"half", key: str = KEY) -> None:
    """Leave what a killed process leaves: the staging, and an unlocked lock file."""
    target = Target(folder)
    target.__enter__()
    write(target, content, key)
    killed(target)
    os.close(target._parent_fd)


def killed(target: Target) -> None:
    """Release the lock as the end of a process does: the file stays."""
    assert target._lock is not None
    os.close(target._lock._fd)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_folder_appears_with_all_its_files_when_it_is_published(tmp_path: Path) -> None:
    with Target(tmp_path / "out") as target:
        write(target)
        assert not (tmp_path / "out").exists()
        target.publish()
        assert names(tmp_path / "out") == WRITTEN
    assert names(tmp_path) == ["out"]


def test_nothing_is_left_when_writing_fails(tmp_path: Path) -> None:
    def interrupted() -> None:
        with Target(tmp_path / "a" / "b" / "out") as target:
            write(target)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_missing_parents_are_created(tmp_path: Path) -> None:
    publish(tmp_path / "a" / "b" / "out")
    assert names(tmp_path / "a" / "b") == ["out"]


def test_folder_and_files_get_the_modes_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        publish(tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "out" / "config.json").stat().st_mode) == 0o640


def test_a_staging_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    with Target(tmp_path / "out") as target:
        assert stat.S_IMODE(write(target).path.stat().st_mode) == 0o700


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_an_existing_target_is_kept_without_force(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    if kind == "file":
        out.write_text("mine")
    elif kind == "dangling link":
        out.symlink_to(tmp_path / "nowhere")
    else:
        out.mkdir()
        (out / "mine").write_text("mine")
    before = out.lstat()
    with pytest.raises(TargetExists, match="exists already") as error:
        publish(out)
    assert error.value.filename == str(out)
    assert out.lstat() == before
    assert names(tmp_path) == ["out"]


def test_a_target_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with Target(out) as target:
        write(target)
        out.mkdir()
        (out / "mine").write_text("mine")
        with pytest.raises(TargetExists):
            target.publish()
    assert names(tmp_path) == ["out"]
    assert names(out) == ["mine"]


@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "in two steps"])
def test_an_empty_folder_needs_no_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(target_module, "_rename2", lambda *_: False)
    (tmp_path / "out").mkdir()
    publish(tmp_path / "out")
    assert names(tmp_path / "out") == WRITTEN
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_that_is_filled_after_the_last_check_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with Target(out) as target:
        write(target)
        monkeypatch.setattr(target, "_require_free", lambda: (out / "mine").write_text("mine"))
        monkeypatch.setattr(os, "listdir", lambda _: [])
        with pytest.raises(OSError, match="not empty"):
            target.publish()
        monkeypatch.undo()
    assert names(out) == ["mine"]


THESIS = {".git/HEAD": b"ref: refs/heads/main", "thesis.tex": b"forty pages", "data/a.csv": b"1"}


@pytest.mark.parametrize(
    ("files", "named"),
    [
        (THESIS, "'.git/', 'data/', 'thesis.tex'"),
        ({"conversion.json": LISTED, "note.txt": b"mine"}, "'note.txt'"),
        ({"conversion.json": LISTED, **THESIS}, "'.git/', 'data/', 'thesis.tex'"),
        ({"conversion.json": OURS % b'[{"path": "a/b.jinja"}]', "a/mine": b"mine"}, "'a/mine'"),
        ({"conversion.json": OURS % b"[]"}, "'conversion.json'"),
        (
            {"conversion.json": LISTED.replace(b"llorch.", b"others."), "config.json": b""},
            "'config.json', 'conversion.json'",
        ),
        ({"conversion.json": LISTED.replace(b'"schema"', b'"scheme"')}, "'conversion.json'"),
        ({"conversion.json": LISTED.replace(b'"llorch.conversion/v1"', b"1")}, "'conversion.json'"),
        ({"conversion.json": b"{"}, "'conversion.json'"),
        ({"conversion.json": LISTED, "1": b"", "2": b"", "3": b"", "4": b""}, "'1', '2', '3' and more"),
    ],
    ids=[
        "project",
        "a note",
        "project and conversion",
        "subfolder",
        "empty record",
        "another program's record",
        "a record of no schema",
        "an odd schema",
        "no record",
        "many",
    ],
)
def test_force_replaces_only_what_a_conversion_wrote(
    tmp_path: Path, files: dict[str, bytes], named: str
) -> None:
    out = tmp_path / "out"
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    with pytest.raises(TargetExists, match="no conversion wrote") as error:
        publish(out, force=True)
    assert f"holds {named}, which" in str(error.value)
    assert {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()} == files
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("exchange", [True, False], ids=["in one step", "in two steps"])
@pytest.mark.parametrize("kind", ["folder", "link to a folder"])
def test_force_replaces_a_link_and_not_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(target_module, "_rename2", lambda *_: False)
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine").write_text("mine")
    if kind == "folder":
        publish(out, b"old")
    else:
        out.symlink_to(elsewhere)
    publish(out, b"new", force=True)
    assert (out / "config.json").read_bytes() == b"new"
    assert names(out) == WRITTEN
    assert names(elsewhere) == ["mine"]
    assert names(tmp_path) == ["elsewhere", "out"]
    assert not out.is_symlink()


def test_force_never_removes_the_source(tmp_path: Path) -> None:
    source = tmp_path / "out" / "deep" / "model.gguf"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"GGUF")
    for out in (tmp_path / "out", source.parent, source):
        with (
            pytest.raises(TargetExists, match=r"no conversion wrote|is no folder"),
            Target(out, force=True, keep=[source]),
        ):
            pass
    assert source.read_bytes() == b"GGUF"


def test_force_never_removes_the_folder_that_we_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "out")
    monkeypatch.chdir(tmp_path / "out")
    with pytest.raises(TargetExists, match="is in it"), Target(".", force=True):
        pass


def test_the_root_folder_is_refused_as_target() -> None:
    with pytest.raises(TargetExists, match="root"), Target("/", force=True):
        pass


def test_a_second_writer_is_told_who_the_first_is(tmp_path: Path) -> None:
    with Target(tmp_path / "out") as first:
        write(first)
        with (
            pytest.raises(TargetBusy, match=rf"pid {os.getpid()} on .* since \d{{4}}-"),
            Target(tmp_path / "out"),
        ):
            pass
        first.publish()
    assert names(tmp_path) == ["out"]


def test_an_unlocked_lock_file_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".out.lock").write_text("pid 1 on moon")
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_a_lock_that_was_removed_while_it_was_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = fcntl.flock
    calls: list[int] = []

    def removed_first(fd: int, how: int) -> None:
        if not calls:
            (tmp_path / ".out.lock").unlink()
        calls.append(fd)
        real(fd, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with Target(tmp_path / "out"):
        assert (tmp_path / ".out.lock").exists()
    assert len(calls) == 2


def test_a_target_can_be_written_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", flock)
    with Target(tmp_path / "out") as first:
        write(first)
        with pytest.raises(TargetBusy, match=r"remove '\.out\.lock'"), Target(tmp_path / "out"):
            pass
        first.publish()
    assert names(tmp_path) == ["out"]


def test_a_link_planted_at_the_lock_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / ".out.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links") as error:
        publish(tmp_path / "out")
    assert error.value.filename == str(tmp_path / ".out.lock")
    assert victim.read_text() == "precious"


def test_links_and_folders_that_only_look_like_our_staging_are_left_alone(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / JOURNAL).write_text("{}")
    (victim / "precious").write_text("precious")
    (tmp_path / ".out.staging-link").symlink_to(victim)
    other = tmp_path / ".out.staging-other"
    other.mkdir()
    (other / "precious").write_text("precious")
    publish(tmp_path / "out")
    assert names(victim) == [JOURNAL, "precious"]
    assert names(other) == ["precious"]


def test_a_crashed_run_of_the_same_work_is_continued(tmp_path: Path) -> None:
    crash(tmp_path / "out")
    assert len(names(tmp_path)) == 2  # lock and staging
    with Target(tmp_path / "out") as target:
        staging = target.stage(KEY, SIZES, 0)
        fd, was_there = staging.open_file("model.safetensors", 100)
        assert was_there
        assert os.pread(fd, 4, 0) == b"half"
        os.close(fd)
        assert names(staging.folder) == ["model.safetensors"]  # small files are written again
        staging.write_file("config.json", b"new")
        target.publish()
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("change", ["key", "size", "link", "second name"])
def test_a_crashed_run_is_not_continued_if_anything_differs(tmp_path: Path, change: str) -> None:
    crash(tmp_path / "out", key="1" * 64 if change == "key" else KEY)
    left = (
        next(path for path in tmp_path.iterdir() if "staging" in path.name) / "folder" / "model.safetensors"
    )
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(100))
    if change == "size":
        left.write_bytes(b"short")
    elif change == "link":
        left.unlink()
        left.symlink_to(victim)
    elif change == "second name":
        left.unlink()
        left.hardlink_to(victim)
    with Target(tmp_path / "out") as target:
        staging = target.stage(KEY, SIZES, 0)
        fd, was_there = staging.open_file("model.safetensors", 100)
        assert not was_there
        os.pwrite(fd, b"x" * 100, 0)
        os.close(fd)
        target.publish()
    assert victim.read_bytes() == bytes(100)
    assert names(tmp_path) == ["out", "victim"]


def test_a_crash_right_after_the_staging_was_created_leaves_nothing_for_ever(tmp_path: Path) -> None:
    (tmp_path / ".out.staging-empty").mkdir()
    (tmp_path / ".out.staging-begun").mkdir()
    (tmp_path / ".out.staging-begun" / f"{JOURNAL}.tmp").write_text('{"form')
    publish(tmp_path / "out")
    assert names(tmp_path) == ["out"]


def test_a_crash_between_the_two_steps_of_replacing_is_rolled_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    publish(out, b"old")
    target = Target(out, force=True)
    target.__enter__()
    staging = write(target)
    staging.seal()
    os.rename("out", "old", src_dir_fd=target._parent_fd, dst_dir_fd=staging.fd)
    killed(target)
    assert not out.exists()
    with pytest.raises(TargetExists):
        publish(out)
    assert (out / "config.json").read_bytes() == b"old"


def test_a_crash_after_the_exchange_does_not_bring_the_old_files_back(tmp_path: Path) -> None:
    out = tmp_path / "out"
    publish(out, b"old")
    target = Target(out, force=True)
    target.__enter__()
    staging = write(target)
    staging.seal()
    assert target_module._rename2(
        staging.fd, "folder", target._parent_fd, "out", target_module.RENAME_EXCHANGE
    )
    killed(target)
    with Target(out, force=True) as again:
        assert names(again.stage(KEY, SIZES, 0).folder) == []


def test_too_little_space_is_found_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(tmp_path)
    fields = {name: getattr(real, name) for name in dir(real) if name.startswith("f_")}
    full = type("Full", (), {**fields, "f_bavail": 1000, "f_frsize": 1024})
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    with pytest.raises(NotEnoughSpace) as error, Target(tmp_path / "out") as target:
        target.stage(KEY, {"model.safetensors": 10**9}, 10**6)
    needed = (10**9 + 10**6) * 101 // 100 + (16 << 20)  # as docs/conversion.md says
    assert (error.value.needed_bytes, error.value.available_bytes) == (needed, 1_024_000)
    assert f"{needed:,}" in str(error.value)
    assert "1,024,000" in str(error.value)
    assert names(tmp_path) == []


def test_the_folder_has_its_name_only_after_its_bytes_are_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    real_fsync, real_rename = os.fsync, target_module._rename2

    def fsync(file: int | FileIO) -> None:
        fd = file if isinstance(file, int) else file.fileno()
        log.append(f"fsync {Path(f'/proc/self/fd/{fd}').readlink().name}")
        real_fsync(fd)

    def rename(*arguments: object) -> bool:
        log.append("rename")
        return real_rename(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(target_module, "_rename2", rename)
    publish(tmp_path / "out")
    at = log.index("rename")
    assert {"fsync config.json", "fsync folder"} <= set(log[:at])
    assert f"fsync {tmp_path.name}" in log[at:]


def test_a_failed_fsync_is_an_error_that_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(fd: int) -> None:
        raise OSError(5, "Input/output error")

    with Target(tmp_path / "out") as target:
        staging = target.stage(KEY, SIZES, 0)
        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(OSError, match="Input/output error") as error:
            staging.write_file("config.json", b"new")
    assert error.value.filename == str(staging.folder / "config.json")
    assert names(tmp_path) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_parent_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError) as error:
            publish(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)
    assert str(tmp_path) in str(error.value.filename)
