# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The directory in PostgreSQL: read in one statement, written in one transaction.

PRIVATE to the collection: it can have breaking changes at any time.

Pure-Python psycopg takes about 10 µs for each value, so rows travel as one JSON text in either direction.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import legacy, statements, usage, views
from .changes import Changes
from .problems import DirectoryError
from .rows import AccountRow, AliasRow, Current, DomainRow, FormerDomainRow, HoldRow, TenantRow
from .schema import DATABASE, OWNER, VERSION

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

#: Debian's PostgreSQL has its sockets here.
SOCKET_DIRECTORY: Final = "/var/run/postgresql"

#: Advisory lock of all writers: runs, single-object modules and migrations.  The number is arbitrary.
LOCK: Final = 0x6D61696C

#: After this many new or changed rows ANALYZE runs at once, before autovacuum would.
_BULK: Final = 1000


class Dsn(NamedTuple):
    """Where the directory is, for libpq: a socket directory (or host), a role and a database."""

    host: str = SOCKET_DIRECTORY
    user: str = OWNER
    database: str = DATABASE


class NoDirectoryError(DirectoryError):
    """The directory cannot be reached, does not exist, or is of another release."""


def connect(place: Dsn) -> Connection:
    """A connection in autocommit mode.

    Raises: NoDirectoryError if PostgreSQL does not answer or the database does not exist.
    """
    import psycopg

    try:
        return psycopg.connect(
            host=place.host, user=place.user, dbname=place.database, application_name="mailhosting", autocommit=True
        )
    except psycopg.OperationalError as error:
        reason = " ".join(str(error).split())
        raise NoDirectoryError(
            f"cannot reach the directory: {reason}; the playbook mailhosting.stack.site sets it up"
        ) from error


@contextmanager
def understood() -> Iterator[None]:
    """Turn PostgreSQL's errors into DirectoryError, without their detail: it may show a row with its hash.

    Raises: DirectoryError for any error of psycopg.
    """
    import psycopg

    try:
        yield
    except psycopg.Error as error:
        reason = error.diag.message_primary or type(error).__name__
        raise DirectoryError(f"PostgreSQL: {reason}; run it again") from None


def version(connection: Connection) -> int:
    """The version of the schema; 0 if there is no schema."""
    if _one(connection, "SELECT to_regclass('directory.migration') IS NULL"):
        return 0
    found: int = _one(connection, "SELECT coalesce(max(version), 0) FROM directory.migration")
    return found


def view_digest(connection: Connection) -> str | None:
    """`views.digest()` of the release that defined the database's views; the schema must exist."""
    row = connection.execute("SELECT sha256 FROM directory.view_text").fetchone()
    return row[0] if row else None


@contextmanager
def locked(connection: Connection, patience: int = 60) -> Iterator[None]:
    """Keep every other writer out.

    Raises: DirectoryError if another one still writes after `patience` seconds.
    """
    from psycopg.errors import LockNotAvailable

    connection.execute(f"SET lock_timeout = '{patience}s'")
    try:
        connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    except LockNotAvailable:
        raise DirectoryError(
            f"another run holds the directory{_holder(connection)}; waited {patience} s for it. Nothing was changed"
        ) from None
    try:
        connection.execute("RESET lock_timeout")
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _holder(connection: Connection) -> str:
    row = connection.execute(statements.LOCK_HOLDER, [LOCK]).fetchone()
    if row is None:
        return ""
    since = f" since {row[1]}" if row[1] else ""
    return f" (PostgreSQL process {row[0]}{since})"


class Store:
    """One connection to a directory of this release.

    Raises: NoDirectoryError if the directory is of another release.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        found = version(connection)
        if found != VERSION:
            was = f"is of version {found}" if found else "was never set up"
            raise NoDirectoryError(
                f"the directory {was} and this release of mailhosting.stack needs version {VERSION}: "
                "run the playbook mailhosting.stack.site"
            )

    def require_views(self) -> None:
        """Check that this release defined the views, so that daemons get the answers they expect.

        Raises: NoDirectoryError if another release did.
        """
        if view_digest(self.connection) != views.digest():
            raise NoDirectoryError(
                "another release of mailhosting.stack set this host up. Nothing was changed: "
                "run the playbook mailhosting.stack.site first"
            )

    def load(self, tenants: frozenset[str] | None = None) -> Current:
        """The whole directory, or of addresses only those of `tenants`, in one statement and so in one snapshot."""
        names = None if tenants is None else sorted(tenants)
        row = self.connection.execute(statements.LOAD, {"tenants": names}).fetchone()
        plans, tenant_rows, domains, former, accounts, aliases, closed, holds = map(json.loads, row or ())
        current = Current(plans=plans, holds=[HoldRow._make(item) for item in holds], loaded=tenants)
        current.tenants = {item[0]: TenantRow._make(item) for item in tenant_rows}
        current.domains = {item[0]: DomainRow(item[0], item[1], tuple(item[2]), item[3]) for item in domains}
        current.former_domains = {item[0]: FormerDomainRow._make(item) for item in former}
        current.accounts = {f"{item[1]}@{item[2]}": AccountRow._make(item) for item in accounts}
        current.aliases = {f"{item[0]}@{item[1]}": AliasRow._make(item) for item in aliases}
        current.closed = {(item[3], f"{item[1]}@{item[2]}"): AccountRow._make(item) for item in closed}
        return current

    def owner(self, domain: str) -> str | None:
        """The tenant that has `domain`."""
        row = self.connection.execute(statements.OWNER, [domain]).fetchone()
        return row[0] if row else None

    def usage_days(self, tenant: str | None, first: date, last: date) -> list[dict[str, Any]]:
        """What one tenant or all (None) had, used, sent and received on these days, by day and name."""
        arguments = {"tenant": tenant, "first": first, "last": last}
        found: list[dict[str, Any]] = json.loads(_one(self.connection, usage.DAYS, arguments))
        return found

    def usage_now(self, tenant: str | None) -> dict[str, dict[str, Any]]:
        """What one tenant or all (None) have now, and the bytes in use as last seen."""
        found: dict[str, dict[str, Any]] = json.loads(_one(self.connection, usage.NOW, {"tenant": tenant}))
        return found

    def used(self) -> dict[int, int]:
        """Bytes in use as last seen, by account id."""
        return {int(number): size for number, size in json.loads(_one(self.connection, usage.USED)).items()}

    def without_login(self, usernames: list[str]) -> list[str]:
        """Those of `usernames` that do not exist or may not log in."""
        return [name for (name,) in self.connection.execute(statements.WITHOUT_LOGIN, [usernames])]

    def apply(self, changes: Changes, grace: int) -> None:
        """Write `changes` in one transaction; closed mailboxes are kept for `grace` seconds.

        Raises: DirectoryError if a row has changed since it was loaded.
        """
        with self.connection.transaction():
            for sql, rows in statements.writes(changes, grace):
                if not rows:
                    continue
                done = self.connection.execute(sql, [json.dumps(rows)]).rowcount
                if done != len(rows) and sql not in statements.OPEN_ENDED:
                    raise DirectoryError(
                        "the directory changed while this run looked at it. Nothing was changed; run it again"
                    )
        if len(changes.accounts) + len(changes.aliases) >= _BULK:
            self.connection.execute("ANALYZE directory.account, directory.address, directory.closed")

    def reencrypt(self, keys: Sequence[legacy.Key], check: bool = False) -> int:
        """Encrypt every secret with the first of `keys`, in one transaction; returns their number.

        With `check` it only counts them.  A password that is set meanwhile stays.

        Raises: DirectoryError with the account whose secret no key opens.
        """
        rows = []
        for account_id, address, secret in self.connection.execute(statements.OTHER_SECRETS, [[keys[0].id]]).fetchall():
            try:
                plain = legacy.decrypt(secret, keys)
            except DirectoryError as error:
                raise DirectoryError(
                    f"the secret of {address}: {error}. Bring the key back, or set the password again. "
                    "Nothing was changed"
                ) from None
            rows.append({"id": account_id, "before": secret, "after": legacy.encrypt(plain, keys[0])})
        if rows and not check:
            with self.connection.transaction():
                self.connection.execute(statements.REENCRYPT, [json.dumps(rows)])
        return len(rows)

    def secrets_of_other_keys(self, key_ids: list[str]) -> list[tuple[str, str]]:
        """(address, key id) of every secret that no key in `key_ids` opens."""
        rows = self.connection.execute(statements.OTHER_SECRETS, [key_ids]).fetchall()
        return [(address, secret.partition("$")[0]) for _id, address, secret in rows]

    def wrong_keys(self, keys: Sequence[legacy.Key]) -> list[tuple[str, str]]:
        """(key id, address) of each of `keys` that does not open that account's secret though its id says so.

        Tries one secret for each key.

        Raises: ImportError without python3-cryptography.
        """
        known, found = {key.id for key in keys}, []
        for address, secret in self.connection.execute(statements.SAMPLES).fetchall():
            key_id = secret.partition("$")[0]
            try:
                if key_id in known:
                    legacy.decrypt(secret, keys)
            except DirectoryError:
                found.append((key_id, address))
        return found


def _one(connection: Connection, query: str, arguments: dict[str, Any] | None = None) -> Any:
    row = connection.execute(query, arguments).fetchone()
    return row[0] if row else None
