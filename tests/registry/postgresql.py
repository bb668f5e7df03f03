"""A PostgreSQL server for the tests: in a new folder, on a socket, as a user who is not root."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOT_ROOT = "nobody"

# The server ends with its standard input, and so with the tests, however these end; its files go with it.
WATCHED = '"$@" </dev/null & server=$!; cat; kill -QUIT $server; wait $server; rm -rf data'


def programs() -> Path | None:
    """Return the folder of initdb and pg_ctl of the newest installed version, or None."""
    found = shutil.which("pg_ctl")
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[4]))
    return Path(found).parent if found else folders[-1].parent if folders else None


@contextmanager
def server() -> Iterator[str]:
    """The URL of a running server's only database; skips the test where there is no server."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    binaries = programs()
    if binaries is None:
        pytest.skip("PostgreSQL's server is not installed")
    as_user = NOT_ROOT if os.geteuid() == 0 else None  # the server refuses to run as root
    with tempfile.TemporaryDirectory(prefix="llorch-pg-", ignore_cleanup_errors=True) as folder:
        if as_user:
            account = pwd.getpwnam(as_user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        data, url = f"{folder}/data", f"postgresql://llorch@/postgres?host={folder}"
        subprocess.run(
            [str(binaries / "initdb"), "-D", data, "-U", "llorch", "--auth=trust", "--no-sync"],
            user=as_user, cwd=folder, env=environment, capture_output=True, check=True,
        )  # fmt: skip
        settings = ["-k", folder, "-c", "listen_addresses=", "-c", "max_connections=60", "-c", "fsync=off"]
        watched = subprocess.Popen(
            ["sh", "-c", WATCHED, "sh", str(binaries / "postgres"), "-D", data, *settings],
            user=as_user, cwd=folder, env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            wait_until_it_answers(url)
            yield url
        finally:
            watched.communicate()


def wait_until_it_answers(url: str) -> None:
    """Wait until the server accepts connections."""
    import psycopg

    for _ in range(600):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    pytest.fail("the PostgreSQL server did not start within a minute")
