# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The queue of notices, in the directory."""

from __future__ import annotations

from collections.abc import Mapping
from select import select
from typing import Any, Final, NamedTuple

import psycopg
from psycopg.rows import class_row

#: What is notified when a notice was queued or a quota changed.
CHANNEL: Final = "mailhosting_notices"


class Notice(NamedTuple):
    """A row of v1.due_notices()."""

    id: int
    kind: str
    facts: Mapping[str, Any]
    attempts: int  # that failed so far
    seconds: int  # since it was queued
    reached: list[str]  # addresses that have it
    tenant: str | None  # by name
    language: str | None
    account: str | None  # an address, if it takes mail
    contact: str | None  # if it takes mail
    direct: bool  # the contact is a mailbox here, whose mail goes on to nobody
    unread: bool  # nobody can log in to read what the contact gets


class Directory:
    """One connection; psycopg.Error when it is lost."""

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._woken = False
        self._connection.add_notify_handler(self._wake)
        self._connection.execute(f"LISTEN {CHANNEL}")

    def _wake(self, _notify: psycopg.Notify) -> None:
        self._woken = True

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def wait(self, seconds: float) -> None:
        """Until something is queued, but no longer than `seconds`."""
        # One that came along with an answer has been handed over already; any other makes the socket readable.
        if not self._woken:
            select([self._connection.fileno()], [], [], seconds)
        self._woken = False

    def due(self) -> list[Notice]:
        """Some of the notices that are due, the oldest first."""
        with self._connection.cursor(row_factory=class_row(Notice)) as cursor:
            return cursor.execute("SELECT * FROM v1.due_notices()").fetchall()

    def next(self) -> float | None:
        """Seconds until a notice is due; None while none waits."""
        row = self._connection.execute("SELECT v1.next_notice()").fetchone()
        return row[0] if row else None

    def reached(self, notice: Notice, address: str) -> None:
        """Remember that `address` has it, or never will."""
        self._connection.execute("SELECT v1.notice_reached(%s, %s)", [notice.id, address])

    def put_off(self, notice: Notice, seconds: int) -> None:
        """Have it due in so many seconds."""
        self._connection.execute("SELECT v1.notice_put_off(%s, %s)", [notice.id, seconds])

    def end(self, notice: Notice, *, sent: bool) -> None:
        """It is due no more."""
        self._connection.execute("SELECT v1.notice_ended(%s, %s)", [notice.id, sent])

    def forget(self, days: int) -> None:
        """Remove what ended so long ago."""
        self._connection.execute("SELECT v1.forget_notices(%s)", [days])
