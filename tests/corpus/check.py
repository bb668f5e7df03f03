"""Runs a command on every file of a corpus and says where it fails otherwise than it should.

    python -m tests.corpus.check FOLDER -- llorch-convert {} -o {out}

`{}` stands for the file and `{out}` for an output folder that does not exist yet. A malformed file has to end with
status 3 and one line on stderr that holds the needed words, no control character and no traceback; with at most
CPU_S and RSS_BYTES more than the command needs for an error without work; and with nothing left behind. A good one
has to end with 0 and an output. Prints each failing case and "N of M"; status 0 if there is none.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

CPU_S, RSS_BYTES = 0.1, 64 << 20
TIMEOUT_S, MOST_DATA, MOST_FILE = 30, 8 << 30, 1 << 30
TRIES = 3  # CPU times waver on a shared machine


@dataclass(frozen=True)
class Run:
    """How a run ended; status: 128 + signal as a shell has it, 124 for out of time."""

    status: int
    stderr: str
    cpu_s: float
    rss_bytes: int
    left: list[str]


def run(command: Sequence[str], path: Path) -> Run:
    """One run in a session of its own, of which nothing is left alive."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as stderr:
        work = Path(folder, "work")
        work.mkdir()
        args = [word.replace("{out}", str(work / "out")).replace("{}", str(path)) for word in command]
        process = subprocess.Popen(
            args,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=_limit,
        )
        end, pid, status, used = time.monotonic() + TIMEOUT_S, 0, 0, None
        while not pid and time.monotonic() < end:
            pid, status, used = os.wait4(process.pid, os.WNOHANG)
            if not pid:
                time.sleep(0.005)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        late = not pid
        if late:
            _, status, used = os.wait4(process.pid, 0)
        assert used is not None
        process.returncode = code = os.waitstatus_to_exitcode(status)
        stderr.seek(0)
        return Run(
            124 if late else code if code >= 0 else 128 - code,
            # Without the file's own name: it says what is wrong with it.
            stderr.read(1 << 20).decode("utf-8", "backslashreplace").replace(str(path), "FILE"),
            used.ru_utime + used.ru_stime,
            used.ru_maxrss << 10,
            sorted(str(left.relative_to(work)) for left in work.rglob("*"))[:5],
        )


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_FILE, MOST_FILE))


def baseline(command: Sequence[str], folder: Path) -> Run:
    """The dearer of two errors that need no work: no such file, and a header with nothing in it.

    The second is there because a command may look for the file before it imports its reader.
    """
    bare = b"GGUF" + (3).to_bytes(4, "little") + bytes(24)
    with tempfile.TemporaryDirectory() as other:
        path = Path(other, "bare.gguf")
        path.write_bytes(bare)
        tries = [[run(command, file) for _ in range(5)] for file in (folder / "no-such-file.gguf", path)]
    return max((min(runs, key=lambda r: r.cpu_s) for runs in tries), key=lambda r: r.cpu_s)


def complaints(run: Run, words: Sequence[str], base: Run) -> list[str]:
    """What is wrong with a refusal."""
    text, wrong = run.stderr.removesuffix("\n"), []
    if run.status != 3:
        wrong.append("it ran out of time" if run.status == 124 else f"exit status {run.status}, not 3")
    if not text:
        wrong.append("nothing on stderr")
    elif "Traceback (most recent call last)" in text:
        wrong.append("a traceback: " + text.splitlines()[-1][:160])
    elif len(text.splitlines()) > 1:
        wrong.append(f"{len(text.splitlines())} lines on stderr")
    if odd := {character for character in text if not character.isprintable() and character not in "\n\t"}:
        wrong.append("control characters on stderr: " + ascii("".join(sorted(odd))))
    said = text.lower()
    if lacking := [word for word in words if not any(part.lower() in said for part in word.split("|"))]:
        wrong.append(f"the message lacks {', '.join(lacking)}: {text[:240]!a}")
    if run.cpu_s > base.cpu_s + CPU_S:
        wrong.append(f"CPU {run.cpu_s:.2f} s, baseline {base.cpu_s:.2f}")
    if run.rss_bytes > base.rss_bytes + RSS_BYTES:
        wrong.append(f"memory {run.rss_bytes >> 20} MiB, baseline {base.rss_bytes >> 20}")
    if run.left:
        wrong.append("left behind: " + ", ".join(map(ascii, run.left)))
    return wrong


def judged(command: Sequence[str], path: Path, words: Sequence[str], base: Run) -> list[str]:
    """The complaints about a malformed file; one about CPU alone is tried again."""
    for _ in range(TRIES):
        wrong = complaints(run(command, path), words, base)
        if any(not complaint.startswith("CPU") for complaint in wrong) or not wrong:
            break
    return wrong


def main(folder: Path, command: Sequence[str]) -> int:
    """The number of files that were treated wrongly."""
    expected = json.loads((folder / "expected.json").read_text())
    base = baseline(command, folder)
    print(f"baseline: status {base.status}, {base.cpu_s:.2f} s, {base.rss_bytes >> 20} MiB")
    failed = 0
    for path, case in expected["cases"].items():
        wrong = judged(command, folder / path, case["words"], base)
        failed += bool(wrong)
        for complaint in wrong:
            print(f"{path} ({case['wrong']}): {complaint}")
    for path, what in expected["controls"].items():
        done = run(command, folder / path)
        if done.status or not done.left:
            failed += 1
            print(f"{path} ({what}): exit status {done.status}, {done.stderr[-240:]!a}")
    total = len(expected["cases"]) + len(expected["controls"])
    print(f"{total - failed} of {total}")
    return failed


if __name__ == "__main__":
    if len(sys.argv) < 4 or sys.argv[2] != "--" or not any("{}" in word for word in sys.argv[3:]):
        sys.exit("usage: python -m tests.corpus.check FOLDER -- COMMAND WITH {} FOR THE FILE")
    sys.exit(1 if main(Path(sys.argv[1]), sys.argv[3:]) else 0)
