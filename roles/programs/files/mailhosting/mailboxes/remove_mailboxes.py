# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailboxes.remove_mailboxes BASE: delete the files of mailboxes whose grace has ended; the directory forgets them.

Runs as vmail, to whom the directory shows nothing else.  Ends with 1 when a mailbox could not be removed.
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
    """The mailbox's folder: nothing but digits below `base`, whatever the directory answers."""
    return base / f"{account_id % 100:02d}" / str(account_id)


def remove(connection: psycopg.Connection, base: Path, account_id: int) -> bool:
    """Whether the mailbox is gone; not when its account has been restored meanwhile.

    The directory forgets first and commits last, so that a restore either comes before, and then the files
    stay, or finds no account any more.  An interrupted run is repeated by the next one.
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
    """Remove what has expired below `base`; the exit code."""
    failed = 0
    with psycopg.connect(CONNINFO, autocommit=True) as connection:
        # A restore that comes between reading and forgetting is an error then, not a lost mailbox.
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        expired = connection.execute("SELECT account_id FROM v1.expired_mailbox ORDER BY account_id").fetchall()
        for (account_id,) in expired:
            try:
                if remove(connection, base, int(account_id)):
                    LOG.info("removed %s", home(base, int(account_id)))
            except (OSError, psycopg.Error) as error:
                LOG.error("mailbox %s: %s", account_id, error)  # noqa: TRY400  what it is, is said
                failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    log.set_up()
    sys.exit(main(Path(sys.argv[1])))
