# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Queries to the directory as root: the subject of a name, and the name of a subject."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from ..gate.model import HOST, Scope
from .host import CommandError, Host

if TYPE_CHECKING:
    import psycopg

#: Runs a query with its values; its rows.
Ask = Callable[..., list[tuple[Any, ...]]]
#: A host, tenant or account: a scope and an id.
Subject = tuple[Scope, int]

#: Root's user in the directory, and other settings that differ from the gate's connections.
_DIRECTORY: Final[dict[str, Any]] = {
    "user": "mailhosting",
    "application_name": "mailhosting",
    "options": "",
    "connect_timeout": "3",
}

# An account's id ends the path of its home.
_TENANTS: Final = "SELECT tenant_id, tenant FROM v1.tenant_settings"
_ACCOUNTS: Final = (
    "SELECT account_id, username FROM (SELECT *, split_part(home, '/', 2)::bigint AS account_id FROM v1.userdb)"
)
_BY_ID: Final[tuple[tuple[Scope, str], ...]] = (
    ("tenant", f"{_TENANTS} WHERE tenant_id = ANY(%s)"),
    ("account", f"{_ACCOUNTS} AS account WHERE account_id = ANY(%s)"),
)


def conninfo(on: Host) -> str:
    """The connection string of a host's directory."""
    # Imported here because psycopg takes long to import.
    from ..common.directory import CONNINFO

    return on.directory or CONNINFO


def connect(conninfo: str) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of the directory's owner.  Raises: CommandError."""
    import psycopg

    try:
        return psycopg.connect(conninfo, autocommit=True, **_DIRECTORY)
    except psycopg.Error as error:
        raise complaint(error) from error


def complaint(error: psycopg.Error) -> CommandError:
    """PostgreSQL's message in one line."""
    return CommandError(f"the directory: {' '.join(str(error).split())}")


def resolve(ask: Ask, name: str) -> tuple[Scope, int, str]:
    """The scope, id and present name of a NAME.  Raises: CommandError."""
    if name == "host":
        return "host", HOST, name
    if name.startswith("#") and name[1:].isascii() and name[1:].isdigit():
        return "account", int(name[1:]), name
    written = name.lower()
    if not name.isascii():
        # With U-labels too, as in logins.
        octets = name.encode("utf-8", "surrogateescape").hex()
        written = next((username for (username,) in ask("SELECT username FROM v1.spelled(%s)", octets)), written)
    local_part, at, domain = written.rpartition("@")
    if at:
        rows = ask(f"{_ACCOUNTS} AS account WHERE local_part = %s AND domain = %s", local_part, domain)
    else:
        rows = ask(f"{_TENANTS} WHERE tenant = %s", name)
    for number, called in rows:
        return ("account" if at else "tenant"), number, called
    raise CommandError(f"{name}: there is no such {'account' if at else 'tenant'}")


def names_of(ask: Ask, subjects: Iterable[Subject]) -> dict[Subject, str]:
    """The name of each; its number if the directory does not have it, or is down."""
    names = {subject: "host" if subject[0] == "host" else f"#{subject[1]}" for subject in subjects}
    try:
        for scope, query in _BY_ID:
            numbers = [number for of, number in names if of == scope]
            names |= {(scope, number): name for number, name in (ask(query, numbers) if numbers else [])}
    except CommandError as error:
        print(error, file=sys.stderr)
    return names


def ask(conninfo: str, query: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of one statement, over a connection of its own.  Raises: CommandError."""
    import psycopg

    try:
        with connect(conninfo) as connection:
            return connection.execute(query.encode(), values).fetchall()
    except psycopg.Error as error:
        raise complaint(error) from error
