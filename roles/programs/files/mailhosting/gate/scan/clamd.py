# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asks clamd (clamd(8), zINSTREAM and zVERSION).  Whatever is no clear answer is an error."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from math import inf
from pathlib import Path
from typing import Final

from ...common.errors import ScannerError
from .findings import DEPTH, MACROS, MEMBERS, UNPACKED, Kind

#: What `scan` returns where clamd takes no more octets (StreamMaxLength), named as clamd names its other limits.
STREAM_TOO_LONG: Final = "Heuristics.Limits.Exceeded.StreamMaxLength"

_LIMIT: Final = "Heuristics.Limits.Exceeded."
_LIMITS: Final = {
    "MaxScanSize": UNPACKED,
    "MaxFileSize": UNPACKED,
    "StreamMaxLength": UNPACKED,
    "MaxRecursion": DEPTH,
    "MaxFiles": MEMBERS,
}
#: clamd ends a scan before `Clamd.seconds` are over, so that no thread of its scans for nobody.  How long a scan takes
#: depends on what else the host does, so it is no limit of the mail.
_TOO_SLOW: Final = f"{_LIMIT}MaxScanTime"
_LONGEST_REPLY: Final = 4096


def classify(signature: str) -> tuple[Kind, str]:
    """The kind of a finding by the name that clamd gives, and the finding's name."""
    if signature.startswith(_LIMIT):
        limit = signature.removeprefix(_LIMIT).partition(".")[0]
        return "limit", _LIMITS.get(limit, signature)
    if signature.startswith("Heuristics.Encrypted."):
        return "encrypted", signature.removeprefix("Heuristics.Encrypted.").partition(".")[0]
    if signature.startswith("Heuristics.OLE2.ContainsMacros"):
        return "file_type", MACROS
    if signature.startswith(("Heuristics.", "PUA.")):
        return "heuristic", signature
    return "virus", signature


class Clamd:
    """The clamd at the socket `path`.  Threads may share it.

    Each question may take `seconds`, with the time that it waits for its turn: `at_once` scans at a time leave clamd
    threads for others.
    """

    def __init__(self, path: Path, seconds: float = 60, at_once: int = 8) -> None:
        self._path: Final = str(path)
        self._seconds: Final = seconds
        self._turns: Final = threading.BoundedSemaphore(at_once)

    def scan(self, chunks: Iterable[bytes], deadline: float = inf) -> str | None:
        """The name of what clamd finds in these octets, STREAM_TOO_LONG too; None if it finds nothing.

        `deadline`, by time.monotonic(), may leave it less time than `seconds`.

        Raises: ScannerError.
        """
        now = time.monotonic()
        deadline = min(deadline, now + self._seconds)
        if not self._turns.acquire(timeout=max(deadline - now, 0)):
            raise ScannerError(f"clamd: no turn within {deadline - now:.0f} s")
        try:
            with self._connected(deadline) as connection:
                # clamd closes a connection after it has said why; without a reason the reply below is none.
                with suppress(ConnectionError):
                    _send(connection, chunks, deadline)
                reply = _receive(connection, deadline)
        finally:
            self._turns.release()
        if reply == "stream: OK":
            return None
        if reply.startswith("stream: ") and reply.endswith(" FOUND") and _TOO_SLOW not in reply:
            return reply.removeprefix("stream: ").removesuffix(" FOUND")
        if reply.startswith("INSTREAM size limit exceeded"):
            return STREAM_TOO_LONG
        raise ScannerError(f"clamd: {reply or 'no reply'}")

    def version(self) -> str:
        """Such as `ClamAV 1.4.3/27500/Mon Nov 24 09:12:01 2026`.

        Raises: ScannerError.
        """
        deadline = time.monotonic() + self._seconds
        with self._connected(deadline) as connection:
            connection.sendall(b"zVERSION\0")
            reply = _receive(connection, deadline)
        if not reply.startswith("ClamAV "):
            raise ScannerError(f"clamd: {reply or 'no reply'}")
        return reply

    def signatures_made(self) -> datetime | None:
        """When the loaded signatures were made, in the host's time zone; None where clamd has none with a date.

        Raises: ScannerError.
        """
        _program, _number, made = [*self.version().split("/", 2), "", ""][:3]
        try:
            return datetime.strptime(made, "%a %b %d %H:%M:%S %Y").astimezone()
        except ValueError:
            return None

    @contextmanager
    def _connected(self, deadline: float) -> Iterator[socket.socket]:
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                _limit(connection, deadline)
                connection.connect(self._path)
                yield connection
        except OSError as error:
            raise ScannerError(f"clamd at {self._path}: {error or type(error).__name__}") from error


def _limit(connection: socket.socket, deadline: float) -> None:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("it took too long")
    connection.settimeout(left)


def _send(connection: socket.socket, chunks: Iterable[bytes], deadline: float) -> None:
    """Send octets as zINSTREAM wants them: each chunk after its length, and a length of 0 at the end."""
    connection.sendall(b"zINSTREAM\0")
    for chunk in chunks:
        if chunk:
            _limit(connection, deadline)
            connection.sendall(struct.pack(">I", len(chunk)) + chunk)
    connection.sendall(struct.pack(">I", 0))


def _receive(connection: socket.socket, deadline: float) -> str:
    """The reply; empty if it closes without one."""
    reply = b""
    while not reply.endswith(b"\0") and len(reply) < _LONGEST_REPLY:
        _limit(connection, deadline)
        try:
            piece = connection.recv(_LONGEST_REPLY)
        except ConnectionError:
            break
        if not piece:
            break
        reply += piece
    return reply.partition(b"\0")[0].decode("utf-8", "replace").strip() if b"\0" in reply else ""
