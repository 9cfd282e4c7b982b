# Copyright: (c) 2026, the mailhosting.stack authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Unpacks archives by libarchive, in a child that is started for a mail and can do nothing else (`child`)."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final, Literal

from ...common.errors import ScannerError
from .child import BAD, ENCRYPTED, LETTERS, MEMORY, PIECE
from .content import Content

#: Why something could not be unpacked.  bad: damaged, or in a way that libarchive does not know.
Failure = Literal["bad", "encrypted", "memory"]

_FAILURES: Final[dict[int, Failure]] = {BAD: "bad", ENCRYPTED: "encrypted", MEMORY: "memory"}
_LETTER_OF: Final = {name: letter for letter, name in LETTERS.items()}
_START: Final = Path(__file__).resolve().parents[3] / "start.py"


@dataclass
class Member:
    """A file in an archive.  `failure` is known when its chunks have come."""

    name: bytes
    is_encrypted: bool
    chunks: Iterator[bytes] = field(default_factory=lambda: iter(()))
    failure: Failure | None = None


class Archives:
    """Starts the children, `at_once` at a time, and none for longer than `seconds`.

    Files without names are put into `folder`.  Threads may share it.
    """

    def __init__(self, folder: Path | None = None, at_once: int = 2, seconds: float = 60) -> None:
        self.folder: Final = folder
        self._seconds: Final = seconds
        self._turns: Final = threading.BoundedSemaphore(at_once)

    @contextmanager
    def unpacker(self, deadline: float = inf) -> Iterator[Unpacker]:
        """For one mail, with a child until `deadline` at the latest, by time.monotonic()."""
        unpacker = Unpacker(self.folder, self._turns, min(deadline, time.monotonic() + self._seconds))
        try:
            yield unpacker
        finally:
            unpacker.stop()


class Unpacker:
    """Unpacks one archive after the other; its child starts with the first."""

    def __init__(self, folder: Path | None, turns: threading.BoundedSemaphore, deadline: float) -> None:
        self._folder: Final = folder
        self._turns: Final = turns
        self._deadline: Final = deadline
        self._child: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None

    def unpack(self, content: Content, archive_format: str) -> Iterator[Member | Failure]:
        """Each file of an archive, a format of `child.FORMATS`, and what cannot be unpacked beside them.

        A member's chunks that nobody takes are lost when the next member is asked for.  Whoever does not ask to the end
        calls `stop`.

        Raises: ScannerError.
        """
        self._start()
        self._send(content, archive_format)
        while (frame := self._receive())[0] != b"z":
            kind, text = frame
            if kind == b"f":
                yield _FAILURES[text[0]]
            elif kind == b"m":
                member = Member(text[1:], text[0] != 0)
                member.chunks = self._chunks(member)
                yield member
                for _chunk in member.chunks:
                    pass
            else:
                raise self._died(f"frame {kind!r}")

    def stop(self) -> None:
        """End the child, whatever it does, and give its turn to another mail."""
        child, link, self._child, self._link = self._child, self._link, None, None
        if link is not None:
            link.close()
        if child is not None:
            child.kill()
            child.wait()
            self._turns.release()

    def _start(self) -> None:
        if self._child is not None:
            return
        if not self._turns.acquire(timeout=max(self._deadline - time.monotonic(), 0)):
            raise ScannerError("archives: no turn in time")
        here, there = socket.socketpair()
        try:
            # No shell, no input of a mail's: the program is this package's own.
            command = [sys.executable, "-I", "-S", str(_START), "gate.scan.child"]
            self._child = subprocess.Popen(command, stdin=there.fileno(), stdout=subprocess.DEVNULL, env={})
        except OSError as error:
            here.close()
            self._turns.release()
            raise ScannerError(f"archives: {error}") from error
        finally:
            there.close()
        self._link = here

    def _send(self, content: Content, archive_format: str) -> None:
        assert self._link is not None  # noqa: S101 - _start has made it
        try:
            descriptor = content.copy(self._folder)
            try:
                self._link.settimeout(max(self._deadline - time.monotonic(), 0.001))
                socket.send_fds(self._link, [_LETTER_OF[archive_format]], [descriptor])
            finally:
                os.close(descriptor)
        except OSError as error:
            raise self._died(str(error)) from error

    def _chunks(self, member: Member) -> Iterator[bytes]:
        while (frame := self._receive())[0] != b"e":
            kind, text = frame
            if kind == b"d":
                yield text
            elif kind == b"f":
                member.failure = _FAILURES[text[0]]
            else:
                raise self._died(f"frame {kind!r}")

    def _receive(self) -> tuple[bytes, bytes]:
        kind, length = struct.unpack(">cI", self._exactly(5))
        if length > PIECE or (kind in (b"f", b"m") and not length):
            raise self._died(f"a frame of {length} octets")
        return kind, self._exactly(length)

    def _exactly(self, count: int) -> bytes:
        assert self._link is not None  # noqa: S101 - _start has made it
        data = bytearray()
        while len(data) < count:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise self._died("not ready in time")
            self._link.settimeout(left)
            try:
                piece = self._link.recv(count - len(data))
            except TimeoutError:
                continue
            except OSError as error:
                raise self._died(str(error) or type(error).__name__) from error
            if not piece:
                raise self._died("ended")
            data += piece
        return bytes(data)

    def _died(self, why: str) -> ScannerError:
        """What to raise when the child does not answer as it should; it is stopped."""
        status = self._child.poll() if self._child is not None else None
        self.stop()
        return ScannerError(f"archives: the child does not answer: {why}" + (f" ({status})" if status else ""))
