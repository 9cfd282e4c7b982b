# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A PostgreSQL of the test run's own: on a unix socket in a temporary folder, gone when the run ends."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.install import install
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Place

SUPERUSER = "postgres"
_TEMPLATE = "directory_template"
_numbers = count(1)


def _programs() -> Path:
    """Debian keeps the server's programs out of PATH, one folder a major version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    in_path = shutil.which("initdb")
    if in_path is None:
        pytest.exit("these tests need PostgreSQL's initdb: apt install postgresql", returncode=2)
    return Path(in_path).resolve().parent


def _unprivileged() -> dict[str, Any]:
    """How to start PostgreSQL, which refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def _running_cluster() -> Iterator[str]:
    """A new cluster; its socket directory, where everybody may be `postgres`."""
    folder = Path(tempfile.mkdtemp(prefix="mhpg"))
    try:
        start = _unprivileged()
        if start:
            os.chown(folder, start["user"], start["group"])
        programs, data = _programs(), folder / "data"
        initdb: list[str | Path] = [programs / "initdb", "--auth=trust", "--locale=C", "--encoding=UTF8", "--no-sync"]
        subprocess.run([*initdb, "-U", SUPERUSER, data], check=True, stdout=subprocess.DEVNULL, cwd="/", **start)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": folder,
            "fsync": "off",
            "full_page_writes": "off",
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        with (folder / "log").open("wb") as log, subprocess.Popen(
            [programs / "postgres", "-D", data, *options], stdout=log, stderr=log, cwd="/", **start
        ) as server:  # fmt: skip
            try:
                _wait(folder, server)
                yield str(folder)
            finally:
                server.send_signal(signal.SIGINT)  # "fast": ends sessions, then itself
                server.wait(60)
    finally:
        shutil.rmtree(folder)


def _wait(folder: Path, server: subprocess.Popen[bytes]) -> None:
    for _attempt in range(300):
        try:
            psycopg.connect(host=str(folder), user=SUPERUSER, dbname="postgres").close()
        except psycopg.OperationalError:
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()}")


@pytest.fixture(scope="session")
def cluster() -> Iterator[str]:
    """The socket directory of a cluster that has the roles and a template of the directory."""
    with _running_cluster() as host:
        install(Place(host, SUPERUSER, _TEMPLATE))
        yield host


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[str]:
    """The socket directory of a cluster where nothing of ours was ever done."""
    with _running_cluster() as host:
        yield host


@pytest.fixture
def place(cluster: str) -> Iterator[Place]:
    """An empty directory of this release, for one test."""
    name = f"directory_{next(_numbers)}"
    with psycopg.connect(host=cluster, user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} OWNER mailhosting")
        yield Place(cluster, "mailhosting", name)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
