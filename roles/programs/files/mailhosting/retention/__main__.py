# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""retention run | dry-run | report: remove mail by the plans' retention, and report what was removed.

Runs as vmail, nightly.  The directory's view v1.retention has the rules of each account.  Dovecot lists and removes
mail, hundreds of accounts a process.  No server records when a mail was read, so a table has the first run that found
it read, by the account's number and the mail's GUID, which do not change if the account is renamed or the mail moved.
A run removes unread mail from the table, and all mail of an account under a legal hold: their time begins anew.

The exit code is 1 if Dovecot could not list some account or remove some mail; the next run tries again.
"""

from __future__ import annotations

import argparse
import fcntl
import logging
import os
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

import psycopg

from ..common import log, settings
from ..common.directory import CONNINFO
from .report import last_report, report_lines, table, write_report
from .run import ReadMail, Run
from .settings import Settings

LOG: Final = logging.getLogger(__name__)


def remove(arguments: argparse.Namespace) -> int:
    """One run and its report; the exit code."""
    configured = settings.handed_over(Settings, otherwise=arguments.settings)
    dry_run = arguments.do == "dry-run"
    shift = 86400 * (arguments.today - datetime.now(tz=UTC).date()).days if arguments.today else 0
    os.umask(0o077)
    with (arguments.state / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.warning("another run is under way")
            return 1
        began = time.time()
        with psycopg.connect(CONNINFO, autocommit=True) as directory:
            read_mail = ReadMail(arguments.state / "read.sqlite")
            run = Run(
                directory,
                read_mail,
                configured.mailboxes,
                dry_run=dry_run,
                clock=lambda: int(time.time()) + shift,
            )
            outcome = run.all()
        moment = datetime.fromtimestamp(began + shift, tz=UTC)
        lines = report_lines(outcome, moment, time.time() - began, dry_run=dry_run)
        name = f"{moment:%Y-%m-%dT%H%M%SZ}{'-dry-run' if dry_run else ''}"
        write_report(arguments.state / "reports", lines, name, configured.report_days, time.time())
        print("\n".join(table(lines)))
    return 1 if outcome.errors else 0


def main() -> int:
    """Do as the arguments say; the exit code."""
    parser = argparse.ArgumentParser(description="Remove the mail that its plan keeps no longer.")
    parser.add_argument("do", choices=["run", "dry-run", "report"], help="report: print the last one")
    parser.add_argument("--state", type=Path, default=Path("/var/lib/mailhosting/retention"), help="folder")
    parser.add_argument(
        "--settings",
        type=Path,
        default=Path("/etc/mailhosting/retention/settings.json"),
        help="file to read where systemd opens none",
    )
    parser.add_argument(
        "--today", type=date.fromisoformat, metavar="DATE", help="for tests: as if it were this day (UTC)"
    )
    arguments = parser.parse_args()
    if arguments.do != "report":
        return remove(arguments)
    try:
        print("\n".join(table(last_report(arguments.state / "reports"))))
    except OSError as error:
        LOG.error("%s", error)  # noqa: TRY400  what it is, is said
        return 1
    return 0


if __name__ == "__main__":
    log.set_up()
    sys.exit(main())
