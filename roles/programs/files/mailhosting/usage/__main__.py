# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service; settings come from the environment."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..common import log
from ..common.systemd import passed_text, ready
from .service import Service, Times
from .sources import Directory, Mailboxes, Valkey

#: Seconds between two looks at Valkey.  If a look takes longer than Dovecot waits for Valkey, values are lost.
LOOK = 2


def main() -> None:
    """Look, and do due work, until a signal ends the process; it needs no cleanup."""
    service = Service(
        Directory(os.environ["USAGE_DIRECTORY"]),
        Valkey(os.environ["USAGE_VALKEY_SOCKET"], os.environ["USAGE_VALKEY_USER"], passed_text("valkey")),
        Mailboxes(Path(os.environ["USAGE_MAIL_BASE"])),
        Times(collect=int(os.environ["USAGE_COLLECT"]), compare_at=os.environ["USAGE_COMPARE_AT"]),
    )
    ready()
    while True:
        service.look(time.time())
        time.sleep(LOOK)


if __name__ == "__main__":
    log.set_up()
    main()
