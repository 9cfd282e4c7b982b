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

#: The channel of NOTIFY after a notice was queued or a quota changed.
CHANNEL: Final = "mailhosting_notices"


class Notice(NamedTuple):
    """A row of v1.due_notices()."""

    id: int
    kind: str
    facts: Mapping[str, Any]
    attempts: int  # that have failed
    seconds: int  # since it was queued
    reached: list[str]  # addresses that already have the notice
    tenant: str | None  # by name
    language: str | None
    account: str | None  # an address, if it takes mail
    contact: str | None  # if it takes mail
    direct: bool  # the contact is a mailbox here without forwards
    unread: bool  # no login can read the contact's mail


class Directory:
    """One connection; its methods raise psycopg.Error when it is lost."""

    def __init__(self, conninfo: str) -> None:
        self._connection = psycopg.connect(conninfo, autocommit=True)
        self._woken = False
        self._connection.add_notify_handler(self._wake)
        self._connection.execute(f"LISTEN {CHANNEL}")

    def _wake(self, _notify: psycopg.Notify) -> None:
        self._woken = True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def wait(self, seconds: float) -> None:
        """Wait until a notice is queued, at most `seconds`."""
        # psycopg has delivered a notification that came with an answer; any other makes the socket readable.
        if not self._woken:
            select([self._connection.fileno()], [], [], seconds)
        self._woken = False

    def due(self) -> list[Notice]:
        """Some of the due notices, the oldest first."""
        with self._connection.cursor(row_factory=class_row(Notice)) as cursor:
            return cursor.execute("SELECT * FROM v1.due_notices()").fetchall()

    def next(self) -> float | None:
        """Seconds until a notice is due; None if no notice waits."""
        row = self._connection.execute("SELECT v1.next_notice()").fetchone()
        return row[0] if row else None

    def reached(self, notice: Notice, address: str) -> None:
        """Record that `address` has the notice, or never will."""
        self._connection.execute("SELECT v1.notice_reached(%s, %s)", [notice.id, address])

    def put_off(self, notice: Notice, seconds: int) -> None:
        """Make the notice due in so many seconds."""
        self._connection.execute("SELECT v1.notice_put_off(%s, %s)", [notice.id, seconds])

    def end(self, notice: Notice, *, sent: bool) -> None:
        """Record that the notice is done."""
        self._connection.execute("SELECT v1.notice_ended(%s, %s)", [notice.id, sent])

    def forget(self, days: int) -> None:
        """Remove notices that were done so long ago."""
        self._connection.execute("SELECT v1.forget_notices(%s)", [days])
