# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for the journal: each with its priority, and those about a mail in fields.

A field is `name=value`; a missing value is `-`.  A value that is not plain is quoted as in JSON, so no text from
outside can end a value, a field or a line.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Final, TextIO

#: The first fields of a line about a mail, in this order.
FIELDS: Final = ("queue_id", "tenant", "sasl_username", "client_address", "from", "to")
#: The most characters of a value; an address has 320 at most.
MOST: Final = 320

_PLAIN: Final = re.compile(r"[\w.:@+<>/-]+", re.ASCII)
#: The journal's priorities (sd-daemon(3)).
_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}


def set_up() -> None:
    """Write everything of level INFO or above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(_WithPriority() if _is_journal(sys.stderr) else logging.Formatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler])


def fields(values: Mapping[str, str | None]) -> str:
    """FIELDS, also those that `values` lacks, and then the other `values`."""
    return " ".join(f"{name}={_value(value)}" for name, value in {**dict.fromkeys(FIELDS), **values}.items())


def quoted(text: str) -> str:
    """A text of several words as a value, cut off where it is longer than MOST."""
    return json.dumps(text if len(text) <= MOST else f"{text[:MOST]}...")


def _value(value: str | None) -> str:
    if not value:
        return "-"
    return value if _PLAIN.fullmatch(value) and len(value) <= MOST else quoted(value)


class _WithPriority(logging.Formatter):
    """Begins every line with its priority, which the journal removes and stores."""

    def format(self, record: logging.LogRecord) -> str:
        priority = f"<{_PRIORITIES[record.levelno]}>"
        return "\n".join(f"{priority}{line}" for line in super().format(record).split("\n"))


def _is_journal(stream: TextIO) -> bool:
    """Whether systemd has connected the stream to the journal; it passes device and inode (systemd.exec(5))."""
    found = os.fstat(stream.fileno())
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"
