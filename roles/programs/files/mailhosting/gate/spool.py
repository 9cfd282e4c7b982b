# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A mail on its way in as a file, octet for octet as Postfix passes it on, for the scan."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from threading import Lock
from typing import BinaryIO, Final, cast

from ..common.errors import ScannerError

#: Octets of a mail that stay in memory; a larger one is a file without a name, which ends with the process.
IN_MEMORY: Final = 1 << 18
#: Octets of a piece that `Spool.body` reads.
CHUNK: Final = 1 << 16


class Spools:
    """The spools of this process, which have at most `most` octets together.  Safe for many threads."""

    def __init__(self, folder: str, most: int) -> None:
        self._folder: Final = folder
        self._most: Final = most
        self._octets = 0
        self._lock: Final = Lock()

    def open(self) -> Spool:
        """A new spool, which is empty."""
        # SpooledTemporaryFile has all that a BinaryIO has.
        return Spool(self, cast("BinaryIO", tempfile.SpooledTemporaryFile(IN_MEMORY, dir=self._folder)))

    def take(self, octets: int) -> None:
        """Count octets that a spool gets, or (negative) gives back.  Raises: ScannerError if there is no room."""
        with self._lock:
            if octets > 0 and self._octets + octets > self._most:
                raise ScannerError(f"the spool is full: {self._octets} octets of {self._most}")
            self._octets += octets


class Spool:
    """Header, an empty line, and body, with CRLF.  Its room is given back when nothing refers to it any more."""

    def __init__(self, spools: Spools, file: BinaryIO) -> None:
        self._spools: Final = spools
        self.file: Final = file
        self.size = 0
        #: Where the body begins; None until it does.
        self.body_at: int | None = None

    def __del__(self) -> None:
        self.file.close()
        self._spools.take(-self.size)

    def write(self, octets: bytes) -> None:
        """Append octets.  Raises: ScannerError, OSError."""
        self._spools.take(len(octets))
        self.size += len(octets)
        self.file.write(octets)

    def header(self, name: str, value: str) -> None:
        """Append a header field, as libmilter passes it, with bare line feeds.  Raises: ScannerError, OSError."""
        self.write(f"{name}:{value}\n".replace("\n", "\r\n").encode("utf-8", "surrogateescape"))

    def begin_body(self) -> None:
        """Append the empty line, unless it is there.  Raises: ScannerError, OSError."""
        if self.body_at is None:
            self.write(b"\r\n")
            self.body_at = self.size

    def body(self) -> Iterator[bytes]:
        """The body, in pieces."""
        at = self.size if self.body_at is None else self.body_at
        self.file.seek(at)
        while chunk := self.file.read(CHUNK):
            yield chunk
