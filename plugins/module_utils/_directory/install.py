# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings a database to this release: roles, database, tables, views and rights.

PRIVATE to the collection: it can have breaking changes at any time.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from . import views
from .problems import DirectoryError
from .schema import FOUNDATION, MIGRATIONS, OWNER, VERSION
from .store import Dsn, connect, locked, understood, version, view_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .store import Connection


_ROLES: Final = (OWNER, *views.DAEMONS)

#: Seconds.  A change of tables waits for everybody who reads them, and later readers wait behind it.  So the change
#: waits a moment, gives way, and tries again after PAUSE until PATIENCE is over.
PAUSE: Final = 0.3
PATIENCE: Final = 60.0
#: In a deadlock PostgreSQL ends the transaction that checks first.  All others check after a second.
_GIVE_WAY: Final = "SET LOCAL deadlock_timeout = '100ms'; SET LOCAL lock_timeout = '1s'"


def install(place: Dsn, maintenance: str = "postgres", check: bool = False) -> list[str]:
    """Do what is missing, or with `check` only list it; `place.user` must be a superuser.

    Everything inside the database happens in one transaction.  `maintenance` is a database that
    exists in every cluster.

    Raises: DirectoryError if the directory is of a newer release than this one.
    """
    with understood():
        return _install(place, maintenance, check)


def _install(place: Dsn, maintenance: str, check: bool) -> list[str]:
    with connect(place._replace(database=maintenance)) as connection, locked(connection):
        steps = _roles(connection, check)
        exists = _exists(connection, "SELECT FROM pg_database WHERE datname = %s", place.database)
        if not exists:
            steps.append(f"create database {place.database}")
            if not check:
                _execute(
                    connection,
                    "CREATE DATABASE {} OWNER {} ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0",
                    place.database,
                    OWNER,
                )
    if check and not exists:
        return steps + everything(place.database)[len(_ROLES) + 1 :]
    with connect(place) as connection, locked(connection):
        steps += _inside(connection, place.database, check)
    return steps


def everything(database: str) -> list[str]:
    """What `install` does on a host without a directory."""
    roles = [f"create role {role}" for role in _ROLES]
    return [
        *roles,
        f"create database {database}",
        *(f"migrate to version {number}" for number, _sql in MIGRATIONS),
        "define the views",
    ]


def _roles(connection: Connection, check: bool) -> list[str]:
    missing = [
        role for role in _ROLES
        if not _exists(connection, "SELECT FROM pg_roles WHERE rolname = %s", role)
    ]  # fmt: skip
    for role in missing if not check else ():
        _execute(connection, "CREATE ROLE {} LOGIN", role)
    return [f"create role {role}" for role in missing]


def _inside(connection: Connection, database: str, check: bool) -> list[str]:
    found = version(connection)
    if found > VERSION:
        raise DirectoryError(
            f"the directory is of version {found}, and this release of mailhosting.stack knows only {VERSION}: "
            "install the newer release of the collection again"
        )
    missing = [(number, sql) for number, sql in MIGRATIONS if number > found]
    old_views = found == 0 or view_digest(connection) != views.digest()
    steps = [f"migrate to version {number}" for number, _sql in missing]
    steps += ["define the views"] if old_views else []
    if not check and steps:
        _giving_way(connection, lambda: _change(connection, database, missing, old_views))
    return steps


def _giving_way(connection: Connection, change: Callable[[], None]) -> None:
    """Do `change` in one transaction that never makes another one fail.

    Raises: DirectoryError if others used the tables for all of PATIENCE.
    """
    from psycopg.errors import DeadlockDetected, LockNotAvailable

    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            with connection.transaction():
                connection.execute(_GIVE_WAY)
                change()
                return
        except (DeadlockDetected, LockNotAvailable):
            if time.monotonic() > deadline:
                raise DirectoryError(
                    f"for {PATIENCE:.0f} s there was always somebody reading the directory, such as a backup; "
                    "nothing was changed. Run it again when that is over"
                ) from None
        time.sleep(PAUSE)


def _change(connection: Connection, database: str, missing: Sequence[tuple[int, str]], old_views: bool) -> None:
    _execute(connection, "SET LOCAL ROLE {}", OWNER)
    if old_views:
        # Views first: a reader locks its view before the tables of the view.
        connection.execute(views.REMOVAL)
    connection.execute(FOUNDATION)
    for number, sql in missing:
        connection.execute(sql)
        connection.execute("INSERT INTO directory.migration (version) VALUES (%s)", [number])
    if old_views:
        _define_views(connection, database)


def _define_views(connection: Connection, database: str) -> None:
    connection.execute(views.text())
    _execute(connection, "REVOKE ALL ON DATABASE {} FROM PUBLIC", database)
    for daemon in views.DAEMONS:
        _execute(connection, "GRANT CONNECT ON DATABASE {} TO {}", database, daemon)
    connection.execute(
        "INSERT INTO directory.view_text (sha256) VALUES (%s) "
        "ON CONFLICT (only_row) DO UPDATE SET sha256 = excluded.sha256",
        [views.digest()],
    )


def _exists(connection: Connection, query: str, name: str) -> bool:
    return connection.execute(query, [name]).fetchone() is not None


def _execute(connection: Connection, template: str, *names: str) -> None:
    """Run a statement whose `{}` are identifiers."""
    from psycopg import sql

    connection.execute(sql.SQL(template).format(*(sql.Identifier(name) for name in names)))
