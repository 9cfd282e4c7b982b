# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""notices [--check FILE]: send queued notices until a signal ends the program, or only check the settings in a file."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Final

from ..common import log, settings
from ..common.errors import SettingsError, one_line
from ..common.systemd import ready
from .settings import Settings

#: Seconds between removals of old notices, and between attempts to reach a lost directory.
HOUR, BREATH = 3600, 2

LOG: Final = logging.getLogger(__name__)


def serve(configured: Settings) -> None:
    """Send until the connection to the directory is lost, then connect again."""
    import psycopg

    from .directory import Directory
    from .post import Post
    from .service import Service

    carrier = Post(configured.lmtp_socket, "/usr/sbin/sendmail")
    forgotten = float(-HOUR)
    said = ""
    ready()
    while True:
        try:
            directory = Directory(configured.directory)
            said = ""
            try:
                service = Service(directory, carrier, configured)
                while True:
                    seconds = service.work()
                    if time.monotonic() - forgotten >= HOUR:
                        directory.forget(configured.keep_days)
                        forgotten = time.monotonic()
                    directory.wait(seconds)
            finally:
                directory.close()
        except (psycopg.Error, OSError) as error:
            # Logged once for each outage.
            if said != (said := one_line(error)):
                LOG.warning("the directory: %s", said)
            time.sleep(BREATH)


def check(file: str) -> None:
    """Check the settings in a file; exit with 1 and the mistakes if they cannot be used."""
    try:
        settings.read(Settings, Path(file))
    except SettingsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    log.set_up()
    if sys.argv[1:2] == ["--check"]:
        check(sys.argv[2])
    else:
        serve(settings.handed_over(Settings))
