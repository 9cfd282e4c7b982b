# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""gate.rescan SOCKET: examine the mail that standard input is, a file, with today's signatures of clamd at SOCKET.

Prints the findings as a list in JSON.  It reads what strangers wrote, so it runs as the gate's user in the gate's
sandbox, and not as root.  The exit code is 75 if the mail cannot be examined.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from ..common.errors import ScannerError
from .scan.archives import Archives
from .scan.clamd import Clamd
from .scan.findings import Limits
from .scan.reader import examine


def main(socket: str) -> int:
    """Print the findings; the exit code."""
    try:
        with os.fdopen(0, "rb") as mail:
            report = examine(mail, Limits(), Clamd(Path(socket)), Archives())
    except ScannerError as error:
        print(error, file=sys.stderr)
        return os.EX_TEMPFAIL
    print(json.dumps([asdict(finding) for finding in report.findings]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
