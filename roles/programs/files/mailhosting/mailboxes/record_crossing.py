# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailboxes.record_crossing USERNAME over|under PERCENT: record in the directory that a mailbox crossed a threshold.

Runs as vmail, for a moment, and Dovecot does not wait for it.  A crossing that is lost while the directory is
down is found at night, when all mailboxes are compared with their quotas.
"""

from __future__ import annotations

import logging
import sys
import time
from typing import Final

import psycopg

from ..common import log
from ..common.directory import CONNINFO
from ..common.errors import one_line

LOG: Final = logging.getLogger(__name__)

#: Seconds before each attempt.
PAUSES = (0, 2, 10, 30)


def record(username: str, direction: str, percent: int) -> None:
    """Write to the directory.  Raises: psycopg.Error."""
    local_part, _at, domain = username.rpartition("@")
    with psycopg.connect(CONNINFO, user="vmail", connect_timeout=5, autocommit=True) as connection:
        connection.execute(
            "SELECT v1.record_crossing(%s, %s, %s, %s::integer)", [local_part, domain, direction, percent]
        )


def main(username: str, direction: str, percent: str) -> int:
    """The exit code; output goes to Dovecot's log."""
    reason = ""
    for pause in PAUSES:
        time.sleep(pause)
        try:
            record(username, direction, int(percent))
        except psycopg.Error as error:
            reason = one_line(error)
        else:
            return 0
    LOG.error("%s %s %s %% is not recorded: %s", username, direction, percent, reason)
    return 1


if __name__ == "__main__":
    log.set_up()
    sys.exit(main(*sys.argv[1:]))
