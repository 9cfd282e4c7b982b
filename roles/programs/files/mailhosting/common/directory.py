# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL: connections that are opened on demand, kept, and opened again after PostgreSQL was restarted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar

import psycopg

from .errors import DirectoryError, one_line

#: The database of a program whose settings name no other.
CONNINFO: Final = "dbname=mailhosting host=/var/run/postgresql"

Row: TypeAlias = tuple[Any, ...]
Connection: TypeAlias = "psycopg.Connection[Row]"
_T = TypeVar("_T")


class Connections:
    """Runs each call over a connection that no other thread uses meanwhile; `spare` idle connections stay open."""

    def __init__(self, conninfo: str, *, spare: int = 1) -> None:
        self._conninfo: Final = conninfo
        self._spare: Final = spare
        self._lock: Final = threading.Lock()
        self._idle: list[Connection] = []

    def ask(self, query: str, *arguments: object) -> list[Row]:
        """The rows of one statement.  Raises: DirectoryError."""
        return self.do(lambda connection: connection.execute(query.encode(), arguments).fetchall())

    def do(self, act: Callable[[Connection], _T]) -> _T:
        """The result of `act`, which runs again after a lost connection.  Raises: DirectoryError."""
        try:
            # PostgreSQL may have been restarted since these were used.
            while kept := self._take():
                with suppress(psycopg.OperationalError):
                    return self._over(kept, act)
            return self._over(psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=1), act)
        except psycopg.Error as error:
            raise DirectoryError(f"the directory: {one_line(error)}") from error

    def close(self) -> None:
        """Close the idle connections."""
        while kept := self._take():
            kept.close()

    def _take(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _over(self, connection: Connection, act: Callable[[Connection], _T]) -> _T:
        try:
            result = act(connection)
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if len(self._idle) < self._spare:
                self._idle.append(connection)
                return result
        connection.close()
        return result
