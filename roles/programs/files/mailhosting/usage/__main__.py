# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run the service."""

from __future__ import annotations

import time
from pathlib import Path

from ..common import log, settings
from ..common.systemd import passed_text, ready
from .service import Service, Times
from .settings import Settings
from .sources import Directory, Mailboxes, Valkey

#: Seconds between two looks at Valkey.  If a look takes longer than Dovecot waits for Valkey, values are lost.
LOOK = 2


def main() -> None:
    """Look, and do due work, until a signal ends the process; it needs no cleanup."""
    found = settings.handed_over(Settings)
    service = Service(
        Directory(found.directory),
        Valkey(found.valkey_socket, found.valkey_user, passed_text("valkey")),
        Mailboxes(Path(found.mail_base)),
        Times(collect=found.collect, compare_at=found.compare_at),
    )
    ready()
    while True:
        service.look(time.time())
        time.sleep(LOOK)


if __name__ == "__main__":
    log.set_up()
    main()
