# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""notices SETTINGS [--check]: send queued notices until a signal ends the program, or only check the settings."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Final

from ..common import log
from ..common.errors import one_line
from ..common.systemd import ready
from . import settings

#: Seconds between removals of old notices, and between attempts to reach a lost directory.
HOUR, BREATH = 3600, 2

LOG: Final = logging.getLogger(__name__)


def serve(configured: settings.Settings) -> None:
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
            directory = Directory(os.environ["NOTICES_DIRECTORY"])
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


def main(path: str, *, check: bool) -> int:
    """The exit code."""
    try:
        configured = settings.read(Path(path))
    except (OSError, KeyError, TypeError, json.JSONDecodeError) as error:
        print(f"{path}: {error!r}; the role notices writes it", file=sys.stderr)
        return 1
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not check:
        serve(configured)
    return 0


if __name__ == "__main__":
    log.set_up()
    sys.exit(main(sys.argv[1], check=sys.argv[2:] == ["--check"]))
