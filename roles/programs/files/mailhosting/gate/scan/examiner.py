# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What examines a mail's files, and what is found in a part."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from ...common.errors import ScannerError
from .archives import Unpacker
from .clamd import Clamd
from .content import Content, Store
from .findings import Finding, Kind

#: Characters of a member's name in a finding.
_LONGEST_NAME: Final = 200


@dataclass(frozen=True)
class Examiner:
    """What examines a mail, until `deadline` by time.monotonic(); `store` has what is unpacked."""

    clamd: Clamd
    unpacker: Unpacker
    store: Store
    deadline: float

    def scan(self, content: Content) -> str | None:
        """As Clamd.scan.

        Raises: ScannerError, also when the time is over.
        """
        if time.monotonic() > self.deadline:
            raise ScannerError("the mail takes too long")
        return self.clamd.scan(content.chunks(), self.deadline) if content.size else None


class Found:
    """The findings of one part, by its index in the report."""

    def __init__(self, index: int) -> None:
        self.findings: Final[list[Finding]] = []
        self._index: Final = index

    def add(self, kind: Kind, name: str, member: bytes | None = None) -> None:
        """Report something of the part, or of a file in it."""
        text = None if member is None else _printable(member)
        # One of a name is enough, and one password.
        if not any(found.kind == kind and (kind == "encrypted" or found.name == name) for found in self.findings):
            self.findings.append(Finding(kind, name, self._index, text))


def inside(outer: bytes | None, name: bytes) -> bytes:
    """The path of a file in an archive that is itself in another."""
    return name if outer is None else outer[-_LONGEST_NAME:] + b" > " + name


def _printable(name: bytes) -> str:
    """A name for the log: what is no character of UTF-8 or does not print is escaped, and a long name is cut."""
    text = name[:_LONGEST_NAME].decode("utf-8", "backslashreplace")
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)
