# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Resources of one test run: PostgreSQL on a unix socket in a temporary folder, and a starter of Ansible."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import pytest
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.install import install
from ansible_collections.mailhosting.stack.plugins.module_utils._directory.store import Dsn
from ansible_collections.mailhosting.stack.tests.ansible_commands import Ansible

# No compiled copies of programs: roles would install them on hosts.
sys.dont_write_bytecode = True

SUPERUSER = "postgres"
#: A file system in memory: creating and removing a cluster's files is a third of its cost.
_MEMORY = Path("/dev/shm")  # noqa: S108  mkdtemp makes a folder of its own there
#: Free bytes that a cluster may need there.
_ROOM = 2 << 30
_TEMPLATE = "directory_template"


def _programs() -> Path:
    """The folder of the server's programs: Debian has one for each major version, outside PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    if found:
        return found[-1].parent
    in_path = shutil.which("initdb")
    if in_path is None:
        pytest.exit("these tests need PostgreSQL's initdb: apt install postgresql", returncode=2)
    return Path(in_path).resolve().parent


def _unprivileged() -> dict[str, Any]:
    """Options to start PostgreSQL with, which refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("postgres" if any(entry.pw_name == "postgres" for entry in pwd.getpwall()) else "nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@contextmanager
def _running_cluster() -> Iterator[str]:
    """A new cluster; yields its socket directory, where every user may connect as `postgres`."""
    in_memory = _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM
    folder = Path(mkdtemp(prefix="mhpg", dir=_MEMORY if in_memory else None))
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
                server.send_signal(signal.SIGINT)  # "fast": disconnects sessions, then stops
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
        install(Dsn(host, SUPERUSER, _TEMPLATE))
        yield host


@pytest.fixture(scope="module")
def bare_cluster() -> Iterator[str]:
    """The socket directory of a cluster without anything of ours."""
    with _running_cluster() as host:
        yield host


class _Directories:
    """Databases of this release, handed out empty: creating one takes thirty times as long as emptying it.

    A database that a test only read is still empty.  That is known from the cluster's log, which has not grown.
    """

    def __init__(self, host: str) -> None:
        self.host = host
        self.unused: list[str] = []
        self.made = 0
        self.written = ""
        self.server = self._connection("postgres")

    def take(self) -> str:
        """The name of an empty directory."""
        if not self.unused:
            self.made += 1
            self.unused.append(f"directory_{self.made}")
            self.server.execute(f"CREATE DATABASE {self.unused[-1]} TEMPLATE {_TEMPLATE} OWNER mailhosting")
        self.written = self._position()
        return self.unused.pop()

    def give_back(self, name: str) -> None:
        """Empty it for the next test, or drop it if it differs from the template in more than its rows."""
        self.server.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", [name])
        if self._position() == self.written:
            self.unused.append(name)
        elif self.server.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
            with self._connection(name) as connection:
                same = self._definition(connection) == self.definition
                if same:
                    connection.execute(f"TRUNCATE {self.tables} RESTART IDENTITY")
                    self.unused.append(name)
            if not same:
                self.server.execute(f"DROP DATABASE {name} WITH (FORCE)")

    @cached_property
    def definition(self) -> str:
        """The template's definition, without rows."""
        with self._connection(_TEMPLATE) as connection:
            return self._definition(connection)

    @cached_property
    def tables(self) -> str:
        """The tables that hold a test's rows, separated by commas."""
        with self._connection(_TEMPLATE) as connection:
            rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'directory'").fetchall()
        return ", ".join(f"directory.{name}" for (name,) in rows if name not in ("migration", "view_text"))

    def _position(self) -> str:
        """The position in the cluster's write-ahead log."""
        row = self.server.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        return str(row)

    def _definition(self, connection: psycopg.Connection[Any]) -> str:
        row = connection.execute(_DEFINITION).fetchone()
        return str(row)

    def _connection(self, name: str) -> psycopg.Connection[Any]:
        return psycopg.connect(host=self.host, user=SUPERUSER, dbname=name, autocommit=True)


# Statistics too: ANALYZE changes plans, and some tests check those.
_DEFINITION = """
SELECT (SELECT md5(string_agg(c::text, '')) FROM (
            SELECT oid, relname, relowner, relacl, reloptions FROM pg_class WHERE oid >= 16384 ORDER BY oid) c),
       (SELECT md5(string_agg(p::text, '')) FROM (
            SELECT oid, proacl, prosrc, proconfig FROM pg_proc WHERE oid >= 16384 ORDER BY oid) p),
       (SELECT md5(string_agg(n::text, '')) FROM (SELECT oid, nspname, nspacl FROM pg_namespace ORDER BY oid) n),
       (SELECT count(*) FROM pg_attribute), (SELECT count(*) FROM pg_constraint), (SELECT count(*) FROM pg_trigger),
       (SELECT count(*) FROM pg_rewrite), (SELECT count(*) FROM pg_default_acl), (SELECT count(*) FROM pg_statistic),
       (SELECT md5(string_agg(m::text, '' ORDER BY m::text)) FROM directory.migration m),
       (SELECT md5(string_agg(v::text, '' ORDER BY v::text)) FROM directory.view_text v),
       (SELECT md5(string_agg(r::text, '' ORDER BY r::text)) FROM pg_db_role_setting r)
"""


@pytest.fixture(scope="session")
def directories(cluster: str) -> Iterator[_Directories]:
    directories = _Directories(cluster)
    with directories.server:
        yield directories


@pytest.fixture
def place(directories: _Directories) -> Iterator[Dsn]:
    """An empty directory of this release, for one test."""
    name = directories.take()
    yield Dsn(directories.host, "mailhosting", name)
    directories.give_back(name)


@pytest.fixture(scope="session")
def ansible(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ansible]:
    with closing(Ansible(tmp_path_factory.mktemp("home"))) as commands:
        yield commands
