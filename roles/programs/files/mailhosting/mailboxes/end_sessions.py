# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""mailboxes.end_sessions: end all sessions by IMAP, POP3 and ManageSieve of one login, whose password was changed.

Standard input has the login in one line.  Prints `ended` when no session is left; errors go to standard error.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

from ..common import log

LOG: Final = logging.getLogger(__name__)

#: Dovecot's list of sessions; without this socket Dovecot does not run, and there are none.
ANVIL = Path("/run/dovecot/anvil")
DOVEADM = ("doveadm", "-c", "/usr/local/lib/mailhosting/doveadm.conf", "kick")
#: Seconds that Dovecot has to answer.
PATIENCE = 4
#: Logins that doveadm takes literally: * and ? are wildcards, a hyphen begins an option.
LOGIN = re.compile(r"(?!-)[^\s*?\\]{1,255}@[^\s*?\\]{1,255}\n")


def main() -> int:
    """Read the login and end its sessions; the exit code."""
    line = sys.stdin.readline(1024)
    if not LOGIN.fullmatch(line):
        LOG.warning("asked to end sessions of what is no login")
        return 1
    if ANVIL.exists():
        try:
            subprocess.run([*DOVEADM, line.rstrip("\n")], check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL)
        except (subprocess.SubprocessError, OSError) as error:
            LOG.warning("%s", error)
            return 1
    print("ended", flush=True)
    return 0


if __name__ == "__main__":
    log.set_up()
    sys.exit(main())
