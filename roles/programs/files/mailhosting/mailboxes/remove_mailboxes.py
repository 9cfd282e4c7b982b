# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailboxes.remove_mailboxes BASE: delete the files of closed mailboxes after their grace period, and their rows.

Runs as vmail, who sees only these rows.  The exit code is 1 if a mailbox could not be removed.
"""

from __future__ import annotations

import logging
import shutil
import sys
from pathlib import Path
from typing import Final

import psycopg

from ..common import log
from ..common.directory import CONNINFO

LOG: Final = logging.getLogger(__name__)


def home(base: Path, account_id: int) -> Path:
    """The mailbox's folder: only digits below `base`, whatever the directory returns."""
    return base / f"{account_id % 100:02d}" / str(account_id)


def remove(connection: psycopg.Connection, base: Path, account_id: int) -> bool:
    """Remove a mailbox; False if its account was restored meanwhile.

    The transaction deletes the row first and commits last, so a restore either comes before, and the files
    stay, or finds no account.  The next run repeats an interrupted one.
    """
    with connection.transaction():
        found = connection.execute("SELECT FROM v1.expired_mailbox WHERE account_id = %s", [account_id]).fetchone()
        if found is None:
            return False
        connection.execute("SELECT v1.forget_mailbox(%s)", [account_id])
        folder = home(base, account_id)
        if folder.parent.is_symlink():
            raise OSError(f"{folder.parent} is a symbolic link")
        if folder.is_symlink() or folder.exists():
            shutil.rmtree(folder)
    return True


def main(base: Path) -> int:
    """Remove expired mailboxes below `base`; the exit code."""
    failed = 0
    with psycopg.connect(CONNINFO, autocommit=True) as connection:
        # With this, a restore between reading and deleting the row is an error, not a lost mailbox.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        expired = connection.execute("SELECT account_id FROM v1.expired_mailbox ORDER BY account_id").fetchall()
        for (account_id,) in expired:
            try:
                if remove(connection, base, int(account_id)):
                    LOG.info("removed %s", home(base, int(account_id)))
            except (OSError, psycopg.Error) as error:
                LOG.error("mailbox %s: %s", account_id, error)  # noqa: TRY400  the text has the error
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    log.set_up()
    sys.exit(main(Path(sys.argv[1])))
